from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_let_runs_outlive_workers")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status__in", ["error", "timeout", "interrupted"])),
                fields=["-created_at"],
                name="runs_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(
                    ("delivered_at__isnull", True), ("next_attempt_at__isnull", True)
                ),
                fields=["-created_at"],
                name="webhook_deliveries_given_up",
            ),
        ),
    ]
