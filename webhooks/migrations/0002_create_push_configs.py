import django.db.models.functions.datetime
from django.db import migrations, models

import spool.database.ids


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_take_over_deliveries")]

    operations = [
        migrations.CreateModel(
            name="PushConfig",
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
                ("thread_id", models.UUIDField(db_index=True)),
                ("first_run_id", models.UUIDField()),
                ("config_id", models.TextField()),
                ("url", models.TextField()),
                (
                    "protocol",
                    models.TextField(choices=[("1.0", "V1 0"), ("0.3", "V0 3")]),
                ),
                ("secrets", models.TextField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now()
                    ),
                ),
            ],
            options={"db_table": "push_configs"},
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="push_config_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="pushconfig",
            constraint=models.UniqueConstraint(
                fields=("first_run_id", "config_id"), name="one_push_config_per_id"
            ),
        ),
    ]
