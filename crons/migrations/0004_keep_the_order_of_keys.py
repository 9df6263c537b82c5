from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crons", "0003_drop_covered_index")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # `json`, not `jsonb`, which sorts keys. Without a default no row is rewritten.
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE crons ADD COLUMN given json",
                    "ALTER TABLE crons DROP COLUMN given",
                )
            ],
            state_operations=[
                migrations.AddField(
                    "cron",
                    "given",
                    models.JSONField(blank=True, editable=False, null=True),
                )
            ],
        )
    ]
