"""Runs, and the workers that execute them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from spool.access.policy import Scope
from spool.database.fields import JSONField, OrderedJSONField
from spool.database.ids import uuid7
from spool.runs import periods as periods  # Django finds its models here.
from spool.threads.models import Thread

ERROR_WORDS = SearchVector(
    KeyTextTransform("error", "error"),
    KeyTextTransform("message", "error"),
    config="simple",
)


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        lease = timedelta(seconds=settings.WORKER_LEASE_SECS)
        return self.filter(expired_at=None, heartbeat_at__gt=Now() - lease)

    def silent(self) -> WorkerQuerySet:
        lease = timedelta(seconds=settings.WORKER_LEASE_SECS)
        return self.filter(expired_at=None, heartbeat_at__lte=Now() - lease)


class Worker(models.Model):
    """One worker process. A restarted worker is a new row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    hostname = models.TextField()
    pid = models.IntegerField()
    capacity = models.IntegerField()
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    # Resident memory at the last heartbeat; null if the system does not report it.
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    # Set when its runs are taken away. The process may be alive, but it holds no runs.
    expired_at = models.DateTimeField(null=True, blank=True)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        db_table = "workers"
        indexes = [
            models.Index(
                fields=["heartbeat_at"],
                name="workers_alive",
                condition=Q(expired_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, scope: Scope) -> RunQuerySet:
        return self.filter(thread__in=Thread.objects.visible_to(scope))

    def joinable_by(self, scope: Scope) -> RunQuerySet:
        """Also include runs of temporary threads for a while after their end."""
        return self.filter(thread__in=Thread.objects.joinable_by(scope))

    def active(self) -> RunQuerySet:
        return self.filter(status__in=Run.ACTIVE)

    def pending(self) -> RunQuerySet:
        return self.filter(status=Run.Status.PENDING)

    def running(self) -> RunQuerySet:
        return self.filter(status=Run.Status.RUNNING)

    def failed(self) -> RunQuerySet:
        return self.filter(status__in=Run.FAILED)

    def failed_with(self, words: str) -> RunQuerySet:
        """Runs whose error has all of these words, by the index `runs_error_words`."""
        query = SearchQuery(words, config="simple", search_type="websearch")
        failed = self.filter(error__isnull=False)
        return failed.annotate(words=ERROR_WORDS).filter(words=query)

    def newest_first(self) -> RunQuerySet:
        return self.order_by("-created_at", "-id")

    def oldest_first(self) -> RunQuerySet:
        return self.order_by("created_at", "id")


class Run(models.Model):
    class Status(models.TextChoices):  # The wire's own words.
        PENDING = "pending"
        RUNNING = "running"
        SUCCESS = "success"
        ERROR = "error"
        TIMEOUT = "timeout"
        INTERRUPTED = "interrupted"

    class CancelAction(models.TextChoices):
        INTERRUPT = "interrupt"
        ROLLBACK = "rollback"

    class MultitaskStrategy(models.TextChoices):
        REJECT = "reject"
        ENQUEUE = "enqueue"
        INTERRUPT = "interrupt"
        ROLLBACK = "rollback"

    class RunClass(models.TextChoices):
        """What kind of client waits for the run, if any."""

        INTERACTIVE = "interactive"
        BACKGROUND = "background"
        CRON = "cron"

    ACTIVE = (Status.PENDING, Status.RUNNING)
    ENDED = (Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.INTERRUPTED)
    FAILED = (Status.ERROR, Status.TIMEOUT)
    # Reasons for stopping a run. There is one more, which names the superseding run.
    BY_API = "cancelled by the API"
    BY_OPERATOR = "cancelled by an operator"
    CLIENT_IS_GONE = "its client went away"
    ASSISTANT_DELETED = "its assistant was deleted"
    # A `cancel_action` that no client can request, and the error of such a run.
    OVER_BUDGET = "over_budget"
    BUDGET_ERROR = {
        "error": "BudgetExceeded",
        "message": "The budget of the run's owner or API key is used up.",
    }

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    thread = models.ForeignKey(
        Thread,
        on_delete=models.CASCADE,
        related_name="runs",
        db_index=False,  # `runs_by_thread` covers it.
    )
    # No foreign key: a run outlives its assistant.
    assistant_id = models.UUIDField()
    graph_id = models.TextField()
    status = models.TextField(choices=Status.choices, default=Status.PENDING)
    metadata = JSONField(default=dict)
    # The request as the wire shows it; see `runs.run_request.RunKwargs`.
    kwargs = JSONField(default=dict)
    # The parts of `kwargs` whose keys keep the client's order, which `jsonb` does not.
    # They are stored only here. Null in rows of the version before.
    given = OrderedJSONField(null=True, blank=True, editable=False)
    multitask_strategy = models.TextField(
        choices=MultitaskStrategy.choices, default=MultitaskStrategy.ENQUEUE
    )
    # A stateless run deletes its thread at the end.
    is_temporary = models.BooleanField(default=False)
    # The owner of the run. Its graph gets this owner's partition of the store.
    owner = models.TextField(default="", blank=True)
    run_class = models.TextField(  # noqa: DJ001 - null: from before there was one
        choices=RunClass.choices, null=True, blank=True
    )
    # The API key of the request, to count its usage.
    api_key_id = models.UUIDField(null=True, blank=True)
    # The revision of the graph in the process that claimed the run last.
    revision = models.TextField(null=True, blank=True)  # noqa: DJ001 - as above
    # The user as graphs see it. Not in `kwargs`, which clients can read.
    user = JSONField(null=True, blank=True)
    # The group that fair queueing counts the run in, and the run's rank in the group,
    # from its priority and class.
    fairness_group = models.TextField(blank=True, db_default="")
    queue_rank = models.SmallIntegerField(db_default=1)
    # The trace of its request, see `telemetry.traces`; null while traces are off.
    trace_context = JSONField(null=True, blank=True, editable=False)
    # The fence: every write by a worker names the attempt that it belongs to.
    attempt = models.IntegerField(default=0)
    # Attempts whose worker died. Runs that a stopping worker hands back don't count.
    losses = models.IntegerField(default=0)
    # No constraint: a run outlives the row of a worker that is long gone, and every
    # claim would look that row up.
    worker = models.ForeignKey(
        Worker,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,  # `runs_running` covers the queries by worker.
        related_name="runs",
    )
    # The first run of the A2A task that this run belongs to; its own id if it is first.
    first_run_id = models.UUIDField(null=True, blank=True)
    cancel_action = models.TextField(  # noqa: DJ001 - null means "not asked to stop"
        choices=CancelAction.choices, null=True, blank=True
    )
    # Why it was stopped, on the wire and for operators.
    cancel_reason = models.TextField(null=True, blank=True)  # noqa: DJ001 - as above
    error = JSONField(null=True, blank=True)
    # In the future for a delayed run (`after_seconds`). A thread's runs are executed in
    # the order of this time.
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    # When its wake-up message was last sent; null while its turn has not come.
    dispatched_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    # When its current attempt began.
    claimed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        db_table = "runs"
        constraints = [
            # A graph has one state per thread: two runs must never write it at once.
            models.UniqueConstraint(
                fields=["thread"],
                condition=Q(status="running"),
                name="one_running_run_per_thread",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "pending",
                        "running",
                        "success",
                        "error",
                        "timeout",
                        "interrupted",
                    ]
                ),
                name="run_status_is_known",
            ),
        ]
        indexes = [
            models.Index(
                F("thread"),
                F("created_at").desc(),
                F("id").desc(),
                name="runs_by_thread",
            ),
            # Runs whose turn it is, for claims: see `spool_next_run_1`. Runs behind another
            # run of their thread are left out.
            models.Index(
                fields=["graph_id", "fairness_group", "queue_rank", "created_at", "id"],
                name="runs_queue",
                condition=Q(status="pending", dispatched_at__isnull=False),
            ),
            models.Index(
                fields=["created_at"],
                name="runs_waiting",
                condition=Q(status="pending", dispatched_at__isnull=True),
            ),
            models.Index(
                fields=["thread", "created_at", "id"],
                name="runs_active",
                condition=Q(status__in=["pending", "running"]),
            ),
            models.Index(
                fields=["worker"], name="runs_running", condition=Q(status="running")
            ),
            models.Index(fields=["-created_at"], name="runs_by_created"),
            # For an agent's tasks, which are listed by their last update.
            models.Index(
                fields=["assistant_id", "-updated_at", "-id"],
                name="runs_of_tasks",
                condition=Q(first_run_id__isnull=False),
            ),
            # For operators: finds a few failed runs among millions.
            models.Index(
                fields=["-created_at", "status"],
                name="runs_not_successful",
                condition=Q(status__in=["error", "timeout", "interrupted"]),
            ),
            # For operators too: the runs of an owner or an assistant. Active runs are
            # left out, so that a run gets one entry when it ends, instead of one with
            # each change of its status.
            models.Index(
                fields=["owner", "-created_at"],
                name="runs_ended_of_owner",
                condition=Q(status__in=["success", "error", "timeout", "interrupted"]),
            ),
            models.Index(
                fields=["assistant_id", "-created_at"],
                name="runs_ended_of_assistant",
                condition=Q(status__in=["success", "error", "timeout", "interrupted"]),
            ),
            GinIndex(
                ERROR_WORDS, name="runs_error_words", condition=Q(error__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def from_db(
        cls,
        db: str | None,
        field_names: Collection[str],
        values: Collection[Any],
        **more: Any,
    ) -> Self:
        """Merge the column `given` into `kwargs`."""
        run = super().from_db(db, field_names, values, **more)
        if "kwargs" in run.__dict__:
            run.kwargs = {**run.kwargs, **(run.given or {})}
        return run

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE


class RunAttempt(models.Model):
    """One attempt of a run, written when it ended; see `runs.record`.

    Attempt 0 is the end of a run that was pending: no worker was executing it.
    """

    class Outcome(models.TextChoices):
        SUCCESS = "success"
        ERROR = "error"
        TIMEOUT = "timeout"
        INTERRUPTED = "interrupted"
        ROLLED_BACK = "rolled_back"
        # The worker stopped; another one resumed the run.
        HANDED_BACK = "handed_back"
        # The worker died.
        LOST = "lost"

    pk = models.CompositePrimaryKey("run_id", "attempt")
    run_id = models.UUIDField()
    attempt = models.IntegerField()
    # Null if a client has deleted the run or its thread before it was counted.
    thread_id = models.UUIDField(null=True, blank=True)
    # The identity that created the run.
    owner = models.TextField(default="", blank=True)
    assistant_id = models.UUIDField(null=True, blank=True)
    graph_id = models.TextField()
    run_class = models.TextField(default="", blank=True)
    revision = models.TextField(default="", blank=True)
    worker_id = models.UUIDField(null=True, blank=True)
    # The time from which the run could be claimed.
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    outcome = models.TextField(choices=Outcome.choices)
    error = JSONField(null=True, blank=True)
    # The innermost node that raised the error, if a node did.
    node = models.TextField(blank=True, db_default="")
    # For operators only.
    traceback = models.TextField(default="", blank=True)
    # Null if its worker died first.
    steps = models.IntegerField(null=True, blank=True)
    # By model, see `usage.tokens.Tokens`.
    tokens = JSONField(null=True, blank=True)

    class Meta:
        db_table = "run_attempts"
        indexes = [
            models.Index(fields=["thread_id"], name="run_attempts_by_thread"),
            models.Index(fields=["ended_at"], name="run_attempts_by_end"),
            # For operators: failed attempts, which are few.
            models.Index(
                fields=["-ended_at"],
                name="run_attempts_lost",
                condition=Q(outcome="lost"),
            ),
            # For the sweep: attempts whose runs are deleted.
            models.Index(
                fields=["ended_at"],
                name="run_attempts_forgotten",
                condition=Q(thread_id__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.attempt} of run {self.run_id}"


class RunStep(models.Model):
    """One execution of a node. For a long attempt only the first and last are kept."""

    class Outcome(models.TextChoices):
        SUCCESS = "success"
        ERROR = "error"
        # It waits for an answer to an interrupt.
        INTERRUPTED = "interrupted"
        # The run ended first.
        CANCELLED = "cancelled"

    pk = models.CompositePrimaryKey("run_id", "attempt", "slot")
    run_id = models.UUIDField()
    attempt = models.IntegerField()
    slot = models.IntegerField()
    # Steps are numbered from 0, in the order in which they start.
    number = models.IntegerField()
    node = models.TextField()
    # The namespace of the subgraph; "" is the graph itself.
    namespace = models.TextField(default="", blank=True)
    task_id = models.TextField(default="", blank=True)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField()
    outcome = models.TextField(choices=Outcome.choices)
    tokens = JSONField(default=dict)
    # Its tool calls: a list of objects with name, duration_ms and outcome.
    tools = JSONField(default=list)
    error = JSONField(null=True, blank=True)
    traceback = models.TextField(default="", blank=True)

    class Meta:
        db_table = "run_steps"

    def __str__(self) -> str:
        return f"step {self.number} ({self.node}) of run {self.run_id}"


class QueueEntry(models.Model):
    """A graph and group that may have waiting runs. Claims read these rows.

    An entry may be stale. It may also be missing for a moment, until the tick adds it.
    """

    pk = models.CompositePrimaryKey("graph_id", "fairness_group")
    graph_id = models.TextField()
    fairness_group = models.TextField(blank=True)
    # When a run of the group was last claimed, or the entry was added. `infinity` if a
    # claim has found that the owner is paused.
    since = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "run_queue"
        verbose_name_plural = "queue entries"
        indexes = [
            models.Index(fields=["graph_id", "since"], name="run_queue_since"),
            models.Index(fields=["fairness_group"], name="run_queue_group"),
        ]

    def __str__(self) -> str:
        return f"{self.graph_id} of {self.fairness_group!r}"


class Pause(models.Model):
    """Holds back the pending runs of an owner, graph, assistant or worker.

    Running ones continue.
    """

    class Kind(models.TextChoices):
        OWNER = "owner"  # Or a fairness group, which stands for the owner in the queue.
        GRAPH = "graph"
        ASSISTANT = "assistant"  # By its id.
        WORKER = "worker"

    kind = models.TextField(choices=Kind.choices)
    name = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "run_pauses"
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="one_pause_of_each")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class OwnerLimit(models.Model):
    """The limit of one owner's running runs; see `SPOOL_MAX_RUNNING_PER_OWNER`."""

    owner = models.TextField(primary_key=True)  # Or a fairness group, as for pauses.
    max_running = models.PositiveIntegerField()  # 0 for no limit.

    class Meta:
        db_table = "run_limits"

    def __str__(self) -> str:
        return f"{self.owner}: {self.max_running}"
