from django.db import migrations, models

NAME = "webhook_deliveries_thread"
DROP = f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}"


class Migration(migrations.Migration):
    # CREATE INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("webhooks", "0005_record_attempts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # The invalid index of a migration that was killed.
                migrations.RunSQL(DROP, migrations.RunSQL.noop),
                migrations.RunSQL(
                    f"CREATE INDEX CONCURRENTLY {NAME} "
                    "ON webhook_deliveries (thread_id)",
                    DROP,
                ),
            ],
            state_operations=[
                migrations.AddIndex(
                    "webhookdelivery",
                    models.Index(fields=["thread_id"], name=NAME),
                )
            ],
        )
    ]
