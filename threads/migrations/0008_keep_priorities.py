from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("threads", "0007_count_events")]

    operations = [
        migrations.AddField(
            "thread", "priority", models.SmallIntegerField(blank=True, null=True)
        ),
        migrations.AddField(
            "thread", "fairness_group", models.TextField(blank=True, null=True)
        ),
    ]
