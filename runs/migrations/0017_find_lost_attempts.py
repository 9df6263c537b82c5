from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0016_pause_assistants_and_limit_owners")]

    operations = [
        migrations.AddIndex(
            "runattempt",
            models.Index(
                fields=["-ended_at"],
                condition=models.Q(("outcome", "lost")),
                name="run_attempts_lost",
            ),
        ),
    ]
