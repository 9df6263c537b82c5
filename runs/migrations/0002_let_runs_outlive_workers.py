import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_create_runs")]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="worker",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="runs",
                to="runs.worker",
            ),
        ),
    ]
