from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0003_keep_trace_context"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookdelivery",
            name="earlier_attempts",
            field=models.IntegerField(db_default=0),
        ),
    ]
