from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0002_create_push_configs"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookdelivery",
            name="trace_context",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
