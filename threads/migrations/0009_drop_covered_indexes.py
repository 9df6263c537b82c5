from django.db import migrations

# The primary key of each begins with the same column.
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


class Migration(migrations.Migration):
    # DROP INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("threads", "0008_keep_priorities")]

    operations = [
        migrations.RunSQL(
            f"DROP INDEX CONCURRENTLY IF EXISTS {table}_thread_id_idx",
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {table}_thread_id_idx "
            f"ON {table} (thread_id)",
        )
        for table in TABLES
    ]
