from django.db import migrations, models


class Migration(migrations.Migration):
    # The statement that ends a run reads the push configurations.
    dependencies = [
        ("runs", "0004_hand_over_deliveries"),
        ("webhooks", "0002_create_push_configs"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="first_run_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("first_run_id__isnull", False)),
                fields=["assistant_id", "-updated_at", "-id"],
                name="runs_of_tasks",
            ),
        ),
    ]
