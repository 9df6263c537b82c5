from django.db import migrations

# While a long queue is claimed, the index of claims keeps an entry of each claimed run in
# front of the next one until a vacuum, which by default comes only after a fifth of the
# table has changed, and may leave out the indexes. A vacuum of a million rows takes a
# second, now for each 10,000 claims.
VACUUM_EARLY = """
ALTER TABLE runs SET (
    autovacuum_vacuum_scale_factor = 0.02, vacuum_index_cleanup = on
)
"""
BY_DEFAULT = """
ALTER TABLE runs RESET (autovacuum_vacuum_scale_factor, vacuum_index_cleanup)
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0018_measure_memory_of_workers")]

    operations = [migrations.RunSQL(VACUUM_EARLY, BY_DEFAULT)]
