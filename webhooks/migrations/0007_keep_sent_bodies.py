from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0006_index_threads_of_deliveries")]

    operations = [
        migrations.AddField(
            "webhookdelivery",
            "sent_bodies",
            models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
