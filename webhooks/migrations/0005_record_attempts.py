from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0004_count_earlier_attempts")]

    operations = [
        # With a default of the database: workers of the version before add rows, too.
        migrations.AddField(
            "webhookdelivery",
            "recorded",
            models.JSONField(
                blank=True,
                db_default=models.Value([], models.JSONField()),
                default=list,
                editable=False,
            ),
        ),
    ]
