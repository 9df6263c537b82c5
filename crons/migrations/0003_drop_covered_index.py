from django.db import migrations, models
from django.db.models import deletion


class Migration(migrations.Migration):
    # DROP INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("crons", "0002_catch_up")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # `cron_firings_by_cron` covers it.
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX CONCURRENTLY IF EXISTS cron_firings_cron_id_8261539e",
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS "
                    "cron_firings_cron_id_8261539e ON cron_firings (cron_id)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    "cronfiring",
                    "cron",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=deletion.CASCADE,
                        related_name="firings",
                        to="crons.cron",
                    ),
                )
            ],
        )
    ]
