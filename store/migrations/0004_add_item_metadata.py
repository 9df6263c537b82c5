import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("store", "0003_index_newest_store_items")]

    operations = [
        # A database default, because the previous version still inserts rows.
        migrations.AddField(
            model_name="storeitem",
            name="metadata",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
            ),
        ),
        migrations.AddIndex(
            model_name="storeitem",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["metadata"],
                name="store_items_metadata",
                opclasses=["jsonb_path_ops"],
            ),
        ),
    ]
