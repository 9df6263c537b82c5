from django.db import migrations, models
from django.db.models import deletion


class Migration(migrations.Migration):
    # DROP INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("assistants", "0002_index_lists")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # `one_row_per_assistant_version` covers it.
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX CONCURRENTLY IF EXISTS assistant_versions_assistant_id_0aa48e46",
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS "
                    "assistant_versions_assistant_id_0aa48e46 ON assistant_versions (assistant_id)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    "assistantversion",
                    "assistant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=deletion.CASCADE,
                        related_name="versions",
                        to="assistants.assistant",
                    ),
                )
            ],
        )
    ]
