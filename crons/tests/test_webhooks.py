from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spool.crons.models import Cron
from spool.crons.services import make_run
from spool.webhooks import addresses

pytestmark = pytest.mark.django_db

BODY = {"assistant_id": "echo", "schedule": "0 9 * * 1"}
URL = "https://hooks.example.com/x"


@pytest.fixture(autouse=True)
def _policy_of_this_server() -> Iterator[None]:
    addresses.policy.cache_clear()
    yield
    addresses.policy.cache_clear()


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that sets the address to which every name resolves; "" for none."""

    def resolve_to(address: str) -> None:
        def answer(*_: Any, **__: Any) -> list[Any]:
            if not address:
                raise socket.gaierror("unknown")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

        monkeypatch.setattr("spool.webhooks.addresses.socket.getaddrinfo", answer)

    return resolve_to


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", ""])
def test_a_webhook_that_may_not_be_called_is_refused(
    alice_client: Any, resolves: Callable[[str], None], address: str
) -> None:
    resolves(address)

    response = alice_client.call("post", "/runs/crons", {**BODY, "webhook": URL})

    assert response.status_code == 422
    assert response.json()["detail"].startswith("webhook: ")
    assert not Cron.objects.exists()


def test_a_change_to_such_a_webhook_is_refused(
    alice_client: Any, make_cron: Callable[..., Cron], resolves: Callable[[str], None]
) -> None:
    cron = make_cron()
    resolves("192.168.0.1")

    response = alice_client.call("patch", f"/runs/crons/{cron.id}", {"webhook": URL})

    cron.refresh_from_db()
    assert response.status_code == 422
    assert cron.payload.get("webhook") is None


def test_a_slot_is_not_lost_to_a_name_server(
    alice_client: Any, resolves: Callable[[str], None]
) -> None:
    resolves("93.184.215.14")
    alice_client.call("post", "/runs/crons", {**BODY, "webhook": URL})
    resolves("")

    # The address is checked again when the webhook is called.
    run = make_run(Cron.objects.get())

    assert run.kwargs["webhook"] == URL
