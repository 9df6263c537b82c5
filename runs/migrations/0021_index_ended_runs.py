from django.db import migrations, models
from django.db.models import deletion

ENDED = ["success", "error", "timeout", "interrupted"]
FAILED = ENDED[1:]
ADDED = (
    ("runs_ended_of_owner", ["owner", "-created_at"], ENDED),
    ("runs_ended_of_assistant", ["assistant_id", "-created_at"], ENDED),
    ("runs_not_successful", ["-created_at", "status"], FAILED),
)
# A run had three entries in each of the last two, and few statements used them.
DROPPED = (
    ("runs_failed", "created_at DESC", FAILED),
    ("runs_assistant_id_f7541962", "assistant_id", None),
    ("runs_worker_id_18f667c9", "worker_id", None),
)


def _create(name, columns, statuses):
    where = f" WHERE status IN ({', '.join(map(repr, statuses))})" if statuses else ""
    return f"CREATE INDEX CONCURRENTLY {name} ON runs ({columns}){where}"


def _columns(fields):
    return ", ".join(f"{one[1:]} DESC" if one[0] == "-" else one for one in fields)


def _drop(name):
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


def _added(name, fields, statuses):
    """Its SQL; an invalid index of a migration that was killed is dropped before."""
    return [
        migrations.RunSQL(_drop(name), migrations.RunSQL.noop),
        migrations.RunSQL(_create(name, _columns(fields), statuses), _drop(name)),
    ]


class Migration(migrations.Migration):
    # Indexes are created and dropped concurrently outside a transaction.
    atomic = False

    dependencies = [("runs", "0020_drop_index_of_messages")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                *(statement for one in ADDED for statement in _added(*one)),
                *(
                    migrations.RunSQL(_drop(one[0]), [_drop(one[0]), _create(*one)])
                    for one in DROPPED
                ),
            ],
            state_operations=[
                *(
                    migrations.AddIndex(
                        "run",
                        models.Index(
                            fields=fields,
                            condition=models.Q(("status__in", statuses)),
                            name=name,
                        ),
                    )
                    for name, fields, statuses in ADDED
                ),
                migrations.RemoveIndex("run", "runs_failed"),
                migrations.AlterField("run", "assistant_id", models.UUIDField()),
                migrations.AlterField(
                    "run",
                    "worker",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=deletion.DO_NOTHING,
                        related_name="runs",
                        to="runs.worker",
                    ),
                ),
            ],
        ),
    ]
