import django.db.models.deletion
from django.db import migrations, models

import spool.database.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="PreparedGroup",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "permissions",
                    spool.database.fields.JSONField(default=list),
                ),
                (
                    "group",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="auth.group",
                    ),
                ),
            ],
            options={"db_table": "console_groups"},
        ),
    ]
