from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0011_find_runs_by_words_of_their_error")]

    operations = [
        migrations.AddField(
            "run", "cancel_reason", models.TextField(blank=True, null=True)
        )
    ]
