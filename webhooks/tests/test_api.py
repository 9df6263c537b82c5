from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from spool.config.langgraph_json import langgraph_json
from spool.runs.models import Run
from spool.threads.models import Thread
from spool.webhooks import addresses
from spool.webhooks.addresses import Policy, Refused

Configure = Callable[..., None]
PUBLIC = "93.184.215.14"


# --- Addresses --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%1", "link-local"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("64:ff9b::a00:1", "private"),
        ("100.64.0.1", "private"),
        ("0.0.0.0", "private"),  # noqa: S104 - nothing is bound to it
        ("::", "private"),
        ("::7f00:1", "private"),
        ("fd00::1", "private"),
        ("fec0::1", "private"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("2001:db8::1", "private"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
    ],
)
def test_no_address_of_the_inside_may_be_called(address: str, kind: str) -> None:
    with pytest.raises(Refused, match=f"is the {kind} address"):
        Policy().check_addresses("name", [address])


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_may_be_called(address: str) -> None:
    Policy().check_addresses("name", [address])


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        Policy().check_addresses("name", [PUBLIC, "10.0.0.1"])


def test_operators_may_allow_a_network(
    settings: Any, webhook_config: Configure
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.1.0.0/16", "fd00::/8"]
    webhook_config()

    addresses.policy().check_addresses(
        "name", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"]
    )
    with pytest.raises(Refused):
        addresses.policy().check_addresses("name", ["10.2.0.1"])


# --- URLs -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    ["/hook", "hook", "//host/x", "ftp://host/x", "http://", "http:///x"],
)
def test_only_absolute_http_urls_are_called(url: str) -> None:
    with pytest.raises(Refused):
        Policy().check_url(url)


def test_a_port_that_there_is_not_is_refused() -> None:
    Policy().check_url("http://host:65535/")

    with pytest.raises(Refused, match="65536 is not a valid port"):
        Policy().check_url("http://host:65536/")


def test_a_url_policy_asks_for_https(webhook_config: Configure) -> None:
    Policy().check_url("http://example.com/hook")
    webhook_config(url={})

    addresses.policy().check_url("https://example.com/hook")
    with pytest.raises(Refused, match="must be https"):
        addresses.policy().check_url("http://example.com/hook")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.com/x", True),
        ("https://HOOKS.example.com./x", True),
        ("https://a.b.example.org:8443/x", True),
        ("https://example.org/x", False),
        ("https://evilexample.org/x", False),
        ("https://hooks.example.com.evil.org/x", False),
        ("https://hooks.example.com@evil.org/x", False),
        ("https://hooks.example.com:9000/x", False),
    ],
)
def test_domains_and_ports_can_be_listed(
    webhook_config: Configure, url: str, allowed: bool
) -> None:
    domains = ["hooks.example.com", "*.example.org"]
    webhook_config(url={"allowed_domains": domains, "allowed_ports": [443, 8443]})

    assert is_allowed(url) == allowed


def is_allowed(url: str) -> bool:
    try:
        addresses.policy().check_url(url)
    except Refused:
        return False
    return True


def test_urls_have_a_longest_length(webhook_config: Configure) -> None:
    webhook_config(url={"max_url_length": 30})

    assert is_allowed("https://example.com/" + "x" * 10)
    assert not is_allowed("https://example.com/" + "x" * 11)


# --- Configuration ------------------------------------------------------------------
def test_headers_take_values_from_the_environment(
    webhook_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LG_WEBHOOK_TOKEN", "s3cret")
    webhook_config(headers={"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}"})

    assert addresses.policy().headers == {"Authorization": "Bearer s3cret"}


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"headers": {"X": "${{ env.DATABASE_URL }}"}}, "does not start with"),
        ({"headers": {"X": "${{ env.LG_WEBHOOK_NONE }}"}}, "is not set"),
        ({"headers": ["X"]}, "headers must be an object"),
        ({"url": []}, "url must be an object"),
        ({"url": {"require_http": True}}, "url.require_http: unknown option"),
        ({"url": {"allowed_domains": "example.com"}}, "allowed_domains"),
        ({"url": {"allowed_ports": ["443"]}}, "allowed_ports"),
        ({"url": {"max_url_length": "long"}}, "max_url_length"),
    ],
)
def test_a_bad_configuration_stops_the_start(
    webhook_config: Configure, section: dict[str, Any], complaint: str
) -> None:
    webhook_config(**section)

    with pytest.raises(SystemExit, match=complaint):
        addresses.check_settings()


@pytest.mark.parametrize(
    ("url", "warnings"), [({}, 1), ({"allowed_domains": ["example.com"]}, 0)]
)
def test_headers_for_any_url_cause_a_warning(
    webhook_config: Configure,
    caplog: pytest.LogCaptureFixture,
    url: dict[str, Any],
    warnings: int,
) -> None:
    webhook_config(headers={"X-Token": "t"}, url=url)

    addresses.check_settings()

    assert len(caplog.records) == warnings


# --- Create ---------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/hook", "absolute"),
        ("http://127.0.0.1:1/", "loopback"),
        ("http://localhost/", "loopback"),
        ("http://2130706433/", "loopback"),
        ("http://[::ffff:10.0.0.1]/", "private"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://no-such-host.invalid/", "can't be resolved"),
        ("http://" + "x" * 70 + ".invalid/", ""),
        ("", "blank"),
        (7, ""),
    ],
)
def test_create_says_why_a_url_is_refused(
    client: APIClient, thread: Thread, url: Any, why: str
) -> None:
    body = {"assistant_id": "echo", "webhook": url}

    response = client.post(f"/threads/{thread.id}/runs", body, format="json")

    assert response.status_code == 422
    assert response.json()["detail"].startswith("webhook: ")
    assert why in response.json()["detail"]
    assert not Run.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/runs", "/runs/wait", "/runs/stream", "/runs/batch"])
def test_every_way_to_make_a_run_refuses(client: APIClient, path: str) -> None:
    body: Any = {"assistant_id": "echo", "webhook": "http://10.0.0.1/"}

    response = client.post(
        path, [body] if path.endswith("batch") else body, format="json"
    )

    assert response.status_code == 422
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_webhooks_can_be_disabled(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGGRAPH_HTTP", '{"disable_webhooks": true}')
    langgraph_json.cache_clear()
    body = {"assistant_id": "echo", "webhook": "https://example.com/"}

    response = client.post("/runs", body, format="json")

    langgraph_json.cache_clear()
    assert response.status_code == 422
    assert "disabled" in response.json()["detail"]


@pytest.mark.django_db
def test_a_name_server_that_does_not_answer_refuses_no_run(
    client: APIClient, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **kw: answers.wait(60) or [])
    monkeypatch.setattr(addresses, "RESOLVE_TIMEOUT_SECS", 0.05)
    body = {"assistant_id": "echo", "webhook": "https://slow.example.com/"}

    response = client.post(f"/threads/{thread.id}/runs", body, format="json")
    answers.set()

    assert response.status_code == 200
    assert response.json()["kwargs"]["webhook"] == "https://slow.example.com/"
