"""All pages of the console: few queries, and no operations for viewers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from spool.access.models import ApiKey
from spool.assistants.models import Assistant, AssistantVersion
from spool.console.groups import prepare_groups
from spool.console.operations import OperatedAdmin
from spool.crons.models import Cron, CronFiring
from spool.runs.models import Run, Worker
from spool.store.models import StoreItem
from spool.threads.models import Thread
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

# Enough rows of each kind to notice a query for each row.
ROWS = 25
MAX_QUERIES = 20
MODELS = (
    ApiKey,
    Assistant,
    Cron,
    Run,
    StoreItem,
    Thread,
    WebhookDelivery,
    Worker,
)
OTHER_PAGES = (
    ("index", ()),
    ("admin_logentry_changelist", ()),
    ("store_storeitem_tree", ()),
    ("auth_user_changelist", ()),
    ("django_celery_beat_periodictask_changelist", ()),
)


@pytest.fixture
def rows(make_run: Callable[..., Run]) -> dict[type[Model], Any]:
    """Create many rows of each kind; return one of each."""
    assistant = Assistant.objects.create(graph_id="echo", metadata={"owner": "alice"})
    for number in range(ROWS):
        thread = Thread.objects.create(metadata={"owner": "alice"})
        run = make_run(thread_id=thread.pk)
        Assistant.objects.create(graph_id="echo", metadata={"owner": "alice"})
        StoreItem.objects.create(owner="alice", path="users", key=str(number), value=1)
        Worker.objects.create(hostname="here", pid=number, capacity=2)
        WebhookDelivery.objects.create(
            run_id=run.pk, thread_id=thread.pk, url="https://example.com/", payload={}
        )
        ApiKey.objects.create(owner="alice", prefix=f"p{number}", digest=f"d{number}")
        cron = Cron.objects.create(
            assistant_id=assistant.pk, schedule="* * * * *", next_run_date=Now()
        )
        CronFiring.objects.create(cron=cron, status="success")
    return {model: model._default_manager.order_by("-pk")[0] for model in MODELS}


@pytest.fixture
def viewer(db: None) -> Client:
    prepare_groups()
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client


def page(model: type[Model], name: str, *arguments: Any) -> str:
    options = model._meta
    where = f"admin:{options.app_label}_{options.model_name}_{name}"
    return reverse(where, args=arguments)


def test_every_page_has_few_queries(
    admin_client: Client,
    rows: dict[type[Model], Any],
    django_assert_max_num_queries: Any,
) -> None:
    pages = [
        *(reverse(f"admin:{name}", args=args) for name, args in OTHER_PAGES),
        *(page(model, "changelist") for model in MODELS),
        *(page(model, "change", row.pk) for model, row in rows.items()),
        reverse("console-owner", args=["alice"]),
    ]

    for path in pages:
        with django_assert_max_num_queries(MAX_QUERIES, info=path):
            assert admin_client.get(path, follow=True).status_code == 200, path


def test_a_viewer_can_post_nothing(
    viewer: Client, rows: dict[type[Model], Any]
) -> None:
    before = counts()

    for model, row in rows.items():
        for path in writing(model, row):
            assert viewer.post(path, {"post": "yes"}).status_code == 403, path
        chosen = {"_selected_action": [str(row.pk)], "confirmed": "1"}
        for action in ("delete_selected", *operations(model)):
            viewer.post(page(model, "changelist"), {**chosen, "action": action})
    owner = reverse("console-owner", args=["alice"])
    assert viewer.post(owner, {"form": "delete", "name": "alice"}).status_code == 403

    assert counts() == before
    assert set(Run.objects.values_list("status", flat=True)) == {"pending"}
    assert not ApiKey.objects.exclude(revoked_at=None).exists()
    assert not Cron.objects.filter(enabled=False).exists()


def operations(model: type[Model]) -> list[str]:
    model_admin = admin.site.get_model_admin(model)
    if not isinstance(model_admin, OperatedAdmin):
        return []
    return [operation.name for operation in model_admin.operations]


def writing(model: type[Model], row: Any) -> Iterator[str]:
    """The URLs of a model's pages that change something."""
    yield page(model, "add")
    yield page(model, "change", row.pk)
    yield page(model, "delete", row.pk)
    for name in operations(model):
        yield page(model, "operation", row.pk, name)


def counts() -> dict[str, int]:
    return {str(model): model._default_manager.count() for model in MODELS}


def test_a_viewer_sees_no_secret(
    viewer: Client, admin_client: Client, rows: dict[type[Model], Any]
) -> None:
    hidden = {"configurable": {"api_key": "hidden-key"}, "x": "http://me:hidden@b.c/"}
    Run.objects.update(kwargs={"input": hidden, "config": hidden}, metadata=hidden)
    Run.objects.update(user=hidden)
    values = {"messages": [{"role": "user", "content": "token: hidden"}], **hidden}
    Thread.objects.update(metadata=hidden, config=hidden, values=values)
    Assistant.objects.update(config=hidden, context=hidden, metadata=hidden)
    AssistantVersion.objects.update(config=hidden, context=hidden, metadata=hidden)
    StoreItem.objects.update(value=hidden, metadata=hidden)
    Cron.objects.update(payload=hidden, metadata=hidden)
    WebhookDelivery.objects.update(payload=hidden, url=hidden["x"])
    pages = [
        *(page(model, "changelist") for model in MODELS if model is not ApiKey),
        *(
            page(model, "change", row.pk)
            for model, row in rows.items()
            if model is not ApiKey
        ),
        page(Thread, "values", rows[Thread].pk),
        page(StoreItem, "value", rows[StoreItem].pk),
        page(WebhookDelivery, "body", rows[WebhookDelivery].pk),
    ]

    for path in pages:
        text = viewer.get(path).content.decode()
        assert "hidden-key" not in text, path
        assert "hidden@" not in text, path
        assert "token: hidden" not in text, path
    shown = admin_client.get(page(Run, "change", rows[Run].pk)).content.decode()
    assert "hidden-key" in shown
