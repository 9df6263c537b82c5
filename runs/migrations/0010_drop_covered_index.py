from django.db import migrations, models
from django.db.models import deletion


class Migration(migrations.Migration):
    # DROP INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("runs", "0009_count_over_time")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # `runs_by_thread` covers it.
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX CONCURRENTLY IF EXISTS runs_thread_id_54aeeeaf",
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS "
                    "runs_thread_id_54aeeeaf ON runs (thread_id)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    "run",
                    "thread",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=deletion.CASCADE,
                        related_name="runs",
                        to="threads.thread",
                    ),
                )
            ],
        )
    ]
