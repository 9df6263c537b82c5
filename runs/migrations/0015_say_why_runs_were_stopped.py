from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0014_end_and_claim_at_once")]

    operations = [
        migrations.AddField(
            "run", "cancel_reason", models.TextField(blank=True, null=True)
        )
    ]
