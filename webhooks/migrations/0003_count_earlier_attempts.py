from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0002_create_push_configs"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookdelivery",
            name="earlier_attempts",
            field=models.IntegerField(db_default=0),
        ),
    ]
