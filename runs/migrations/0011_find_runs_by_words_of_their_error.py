from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import migrations, models
from django.db.models.fields.json import KeyTextTransform


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0010_drop_covered_index"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=GinIndex(
                SearchVector(
                    KeyTextTransform("error", "error"),
                    KeyTextTransform("message", "error"),
                    config="simple",
                ),
                condition=models.Q(("error__isnull", False)),
                name="runs_error_words",
            ),
        ),
    ]
