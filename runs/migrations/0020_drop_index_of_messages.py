from django.db import migrations


class Migration(migrations.Migration):
    """The tick finds waiting runs by the index of claims."""

    dependencies = [("runs", "0019_vacuum_runs_early")]

    operations = [migrations.RemoveIndex("run", "runs_dispatched")]
