from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("threads", "0005_index_threads_by_owner_and_id"),
    ]

    operations = [
        migrations.AddField(
            model_name="thread",
            name="interrupt_order",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
