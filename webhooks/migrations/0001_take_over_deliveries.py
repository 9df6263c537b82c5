from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Now

import spool.database.ids


def take_content_type(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Keep the permissions of groups: they reference the content type's row."""
    _rename(apps, "runs", "webhooks")


def give_content_type_back(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _rename(apps, "webhooks", "runs")


def _rename(apps: Apps, source: str, target: str) -> None:
    rows = apps.get_model("contenttypes", "ContentType").objects.filter(
        model="webhookdelivery"
    )
    # A process of the other version may have created its own row again.
    if not rows.filter(app_label=target).exists():
        rows.filter(app_label=source).update(app_label=target)


class Migration(migrations.Migration):
    """The table, its rows and its indexes stay: only the app that owns them changes."""

    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("runs", "0003_find_what_failed"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="WebhookDelivery",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=spool.database.ids.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("run_id", models.UUIDField(db_index=True)),
                        ("thread_id", models.UUIDField()),
                        ("url", models.TextField()),
                        ("payload", models.JSONField()),
                        ("created_at", models.DateTimeField(db_default=Now())),
                        (
                            "next_attempt_at",
                            models.DateTimeField(
                                blank=True, db_default=Now(), null=True
                            ),
                        ),
                        ("attempts", models.IntegerField(default=0)),
                        ("delivered_at", models.DateTimeField(blank=True, null=True)),
                        ("last_status", models.IntegerField(blank=True, null=True)),
                        ("last_error", models.TextField(blank=True, default="")),
                    ],
                    options={
                        "db_table": "webhook_deliveries",
                        "verbose_name_plural": "webhook deliveries",
                        "indexes": [
                            models.Index(
                                condition=models.Q(("next_attempt_at__isnull", False)),
                                fields=["next_attempt_at"],
                                name="webhook_deliveries_due",
                            ),
                            models.Index(
                                fields=["-created_at"], name="webhook_deliveries_newest"
                            ),
                            models.Index(
                                condition=models.Q(
                                    ("delivered_at__isnull", True),
                                    ("next_attempt_at__isnull", True),
                                ),
                                fields=["-created_at"],
                                name="webhook_deliveries_given_up",
                            ),
                        ],
                    },
                )
            ]
        ),
        migrations.RunPython(take_content_type, give_content_type_back),
    ]
