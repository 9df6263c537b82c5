from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0003_find_what_failed"),
        ("webhooks", "0001_take_over_deliveries"),
    ]

    operations = [
        # Its table belongs to the app `webhooks` now.
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.DeleteModel(name="WebhookDelivery")]
        )
    ]
