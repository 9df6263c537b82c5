from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from spool.access import keys
from spool.access.models import ApiKey
from spool.access.tests.people import Client, Person

pytestmark = pytest.mark.django_db


def test_the_key_itself_is_stored_nowhere() -> None:
    key, text = keys.create_key(owner="alice")

    row = ApiKey.objects.values().get()
    assert text not in str(row)
    assert text.startswith(key.prefix)
    assert len(key.prefix) < len(text) / 3


def test_requests_without_a_key_are_refused(api_keys: None, client: Browser) -> None:
    response = client.post("/threads", {}, content_type="application/json")

    assert response.status_code == 401
    assert response.json() == {
        "detail": "Not authenticated: send an API key or a token"
    }
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "spool_guess"},
        {"Authorization": "Bearer spool_guess"},
        {"x-api-key": "\udcff"},
    ],
)
def test_a_wrong_key_is_refused(
    api_keys: None, client: Browser, headers: dict[str, str]
) -> None:
    response = client.get("/threads/nonsense", headers=headers)

    assert response.status_code == 401
    assert response.json() == {"detail": "Invalid API key"}


def test_other_schemes_are_no_keys(alice: Person, client: Browser) -> None:
    headers = {"Authorization": f"Basic {alice.key}"}

    assert client.get("/threads/nonsense", headers=headers).status_code == 401


@pytest.mark.parametrize("bearer", [True, False])
def test_both_headers_are_taken(alice: Person, client: Browser, bearer: bool) -> None:
    headers = {"x-api-key": alice.key}
    if bearer:
        # An explicit header overrides the one that an SDK adds.
        headers = {"Authorization": f"bearer {alice.key}", "x-api-key": "lsv2_other"}

    response = client.post(
        "/threads/count", {}, content_type="application/json", headers=headers
    )

    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/ok", "/info", "/docs", "/openapi.json", "/metrics"])
def test_what_is_about_the_server_asks_for_no_key(
    api_keys: None, client: Browser, path: str
) -> None:
    assert client.get(path).status_code == 200


def test_unknown_paths_tell_nothing_without_a_key(
    alice_client: Client, client: Browser
) -> None:
    assert client.get("/nothing/here").status_code == 401
    assert alice_client.get("/nothing/here").status_code == 404


def test_an_expired_key_is_refused_also_where_it_is_remembered(
    api_keys: None, client: Browser
) -> None:
    soon = timezone.now() + timedelta(seconds=2)
    _, text = keys.create_key(owner="alice", expires_at=soon)
    headers = {"x-api-key": text}

    before = client.get("/threads/nonsense", headers=headers).status_code
    while timezone.now() < soon:
        pass
    after = client.get("/threads/nonsense", headers=headers).status_code

    assert (before, after) == (422, 401)


def test_a_revoked_key_is_refused(alice_client: Client) -> None:
    assert alice_client.get("/threads/nonsense").status_code == 422

    keys.revoke(ApiKey.objects.filter(owner="alice"))

    assert alice_client.get("/threads/nonsense").status_code == 401


def test_a_key_revoked_elsewhere_is_refused_once_it_is_forgotten(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "REMEMBERED_SECS", 0.05)
    assert alice_client.get("/threads/nonsense").status_code == 422

    ApiKey.objects.update(revoked_at=timezone.now())
    time.sleep(0.1)

    assert alice_client.get("/threads/nonsense").status_code == 401


def test_most_requests_ask_for_no_key_in_postgres(
    alice_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alice_client.get("/threads/nonsense")

    with django_assert_num_queries(0):
        alice_client.get("/threads/nonsense")


def test_its_use_is_noted(alice_client: Client) -> None:
    alice_client.get("/threads/nonsense")

    first = ApiKey.objects.get().last_used_at
    assert first is not None
    keys.remembered.forget()
    alice_client.get("/threads/nonsense")
    assert ApiKey.objects.get().last_used_at == first  # To the minute.


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        ([], (200, 200)),
        (["*:*"], (200, 200)),
        (["threads:*"], (200, 200)),
        (["threads:read"], (403, 200)),
        (["*:read"], (403, 200)),
        (["threads:create"], (200, 403)),
        (["assistants:*"], (403, 403)),
    ],
)
def test_scopes_limit_what_a_key_may_do(
    api_keys: None, scopes: list[str], statuses: tuple[int, int]
) -> None:
    _, text = keys.create_key(owner="alice", scopes=scopes)
    client = Client(Person("alice", text))

    created = client.call("post", "/threads", {})
    searched = client.call("post", "/threads/search", {})

    assert (created.status_code, searched.status_code) == statuses


def test_a_forbidden_event_is_a_403(api_keys: None) -> None:
    _, text = keys.create_key(owner="alice", scopes=["store:get"])

    response = Client(Person("alice", text)).call("post", "/threads", {})

    assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})


# --- Commands -----------------------------------------------------------------------
def run(*arguments: Any, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, **options, stdout=out)
    return out.getvalue()


def test_create_api_key_prints_only_the_key() -> None:
    printed = run("create_api_key", "alice", "--name", "ci", "--scope", "threads:read")

    key = ApiKey.objects.get()
    assert keys.digest_of(printed.rstrip("\n")) == key.digest
    assert (key.owner, key.name, key.scopes) == ("alice", "ci", ["threads:read"])
    assert key.expires_at is None


def test_create_api_key_with_an_end() -> None:
    run("create_api_key", "alice", "--expires-in-days", "2")

    left = ApiKey.objects.get().expires_at - timezone.now()  # type: ignore[operator]
    assert timedelta(days=1.9) < left <= timedelta(days=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["", "--name", "x"],
        ["a\0b"],
        ["x" * 256],
        ["alice", "--scope", "threads"],
        ["alice", "--scope", "threads:fly"],
        ["alice", "--scope", "moon:read"],
        *(["alice", f"--expires-in-days={days}"] for days in ("0", "-1", "nan", "1e9")),
    ],
)
def test_create_api_key_refuses(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


def test_revoke_api_key(alice_client: Client) -> None:
    prefix = ApiKey.objects.get().prefix

    assert run("revoke_api_key", prefix) == ""

    assert alice_client.get("/threads/nonsense").status_code == 401
    with pytest.raises(CommandError):
        run("revoke_api_key", prefix)


# --- Admin --------------------------------------------------------------------------
def test_the_admin_shows_a_new_key_once(admin_client: Browser) -> None:
    asked = {"owner": "alice", "name": "ci", "scopes": "threads:read\nstore:*"}

    page = admin_client.post("/admin/access/apikey/add/", asked, follow=True)
    later = admin_client.get("/admin/access/apikey/")

    key = ApiKey.objects.get()
    assert key.scopes == ["threads:read", "store:*"]
    shown = next(word for word in page.text.split() if word.startswith(key.prefix))
    assert keys.digest_of(shown) == key.digest
    assert shown not in later.text
    assert key.prefix in later.text


@pytest.mark.parametrize(
    "wrong", [{"owner": ""}, {"owner": "alice", "scopes": "threads"}]
)
def test_the_admin_refuses(admin_client: Browser, wrong: dict[str, str]) -> None:
    page = admin_client.post("/admin/access/apikey/add/", wrong)

    assert page.status_code == 200
    assert not ApiKey.objects.exists()


def test_the_admin_finds_keys_by_owner_and_use(
    admin_client: Browser, alice_client: Client, bob: Person
) -> None:
    alice_client.get("/threads/nonsense")

    def shown(**query: str) -> set[str]:
        page = admin_client.get("/admin/access/apikey/", query)
        return {key.owner for key in page.context["cl"].result_list}

    assert shown() == {"alice", "bob"}
    assert shown(owner__icontains="ali") == {"alice"}
    assert shown(last_used_at__isnull="True") == {"bob"}
    assert shown(last_used_at__isnull="False") == {"alice"}
    assert shown(revoked_at__isempty="0") == set()


@pytest.mark.parametrize("secure", [True, False])
def test_over_tls_no_cookie_goes_without(client: Browser, secure: bool) -> None:
    User.objects.create_superuser("admin", password="right")
    body = {"username": "admin", "password": "right"}

    client.post("/admin/login/", body, secure=secure)

    assert set(client.cookies) == {"spool_session", "spool_csrf"}
    assert {bool(one["secure"]) for one in client.cookies.values()} == {secure}


def test_the_admin_revokes(admin_client: Browser, alice_client: Client) -> None:
    key = ApiKey.objects.get()
    asked = {"action": "revoke", "_selected_action": str(key.pk), "confirmed": "1"}

    admin_client.post("/admin/access/apikey/", asked)

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert alice_client.get("/threads/nonsense").status_code == 401


def test_the_page_of_a_key_shows_its_use_and_revokes_it(
    admin_client: Browser, alice_client: Client
) -> None:
    key = ApiKey.objects.get()
    ApiKey.objects.update(scopes=["threads:read"], last_used_at=timezone.now())
    page = f"/admin/access/apikey/{key.pk}/"
    listed = admin_client.get("/admin/access/apikey/").content.decode()

    shown = admin_client.get(f"{page}change/").content.decode()
    asked = admin_client.get(f"{page}operations/revoke/").content.decode()
    admin_client.post(f"{page}operations/revoke/", {"reason": "it leaked"})

    for text in (key.prefix, "threads:read", "valid"):
        assert text in listed
        assert text in shown
    assert "0\xa0minutes ago" in shown
    assert "refused from now on" in asked
    assert "revoked" in admin_client.get(f"{page}change/").content.decode()
    entry = LogEntry.objects.get(object_id=str(key.pk))
    assert entry.change_message == "revoked: it leaked"


def test_a_key_can_be_revoked_only_by_who_may(client: Browser, alice: Person) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    client.force_login(viewer)
    asked = {"action": "revoke", "_selected_action": str(ApiKey.objects.get().pk)}

    assert client.post("/admin/access/apikey/", asked).status_code == 403
    assert ApiKey.objects.get().revoked_at is None
