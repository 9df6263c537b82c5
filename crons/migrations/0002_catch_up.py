from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crons", "0001_create_crons")]

    operations = [
        migrations.AddField(
            "cron", "catch_up", models.TextField(blank=True, db_default="once")
        )
    ]
