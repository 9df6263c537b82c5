"""The tables of langgraph-checkpoint-postgres, created by its own statements."""

from django.db import migrations
from langgraph.checkpoint.postgres import PostgresSaver


def create_tables(apps, schema_editor):
    connection = schema_editor.connection
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute(PostgresSaver.MIGRATIONS[0])
        cursor.execute("SELECT coalesce(max(v), -1) FROM checkpoint_migrations")
        (applied,) = cursor.fetchone()
        for version, statement in enumerate(PostgresSaver.MIGRATIONS):
            if version <= applied:
                continue
            cursor.execute(statement)
            cursor.execute(
                "INSERT INTO checkpoint_migrations (v) VALUES (%s)", [version]
            )


class Migration(migrations.Migration):
    # CREATE INDEX CONCURRENTLY runs outside a transaction.
    atomic = False

    dependencies = [("threads", "0001_create_threads")]

    operations = [migrations.RunPython(create_tables, migrations.RunPython.noop)]
