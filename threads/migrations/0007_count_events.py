from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("threads", "0006_keep_the_order_of_interrupts")]

    operations = [
        migrations.AddField(
            model_name="thread",
            name="event_seq",
            field=models.BigIntegerField(db_default=0, editable=False),
        ),
    ]
