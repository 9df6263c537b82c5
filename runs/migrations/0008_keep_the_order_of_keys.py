from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0007_queue_fairly"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            # `json`, not `jsonb`, which sorts keys. Without a default no row is rewritten.
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE runs ADD COLUMN given json",
                    "ALTER TABLE runs DROP COLUMN given",
                )
            ],
            state_operations=[
                migrations.AddField(
                    model_name="run",
                    name="given",
                    field=models.JSONField(blank=True, editable=False, null=True),
                )
            ],
        ),
    ]
