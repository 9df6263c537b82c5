from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0017_find_lost_attempts")]

    operations = [
        migrations.AddField(
            "worker", "memory_bytes", models.BigIntegerField(null=True, blank=True)
        ),
    ]
