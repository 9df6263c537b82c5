"""The admin and the API's pages in a real browser, as an operator clicks through them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from spool.tests.live import ROOT, Server, serving

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")

pytestmark = [pytest.mark.e2e, pytest.mark.needs("chromium", "chromedriver")]


@pytest.fixture(scope="module")
def examples() -> Iterator[Server]:
    with serving(ROOT / "examples" / "langgraph.json") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,1000")
    # A page that was left would keep its streams, and there are six to a host.
    options.add_argument("--disable-features=BackForwardCache")
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    browser = Chrome(options, Service(DRIVER, env={**os.environ, "NO_PROXY": "*"}))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def admin(browser: Chrome, examples: Server) -> Chrome:
    """The browser, logged in with the password of the first start."""
    password = re.search(r"password (\S+)\)", examples.output())
    assert password
    browser.get(f"{examples.url}/admin/")
    browser.find_element(By.NAME, "username").send_keys("admin")
    browser.find_element(By.NAME, "password").send_keys(password[1])
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    wait(browser, lambda: "/login/" not in browser.current_url)
    return browser


@pytest.fixture(scope="module")
def work(examples: Server) -> dict[str, str]:
    """Create a finished run, a failed one, and one that is running."""
    call = httpx.Client(base_url=examples.url, timeout=60)
    done = call.post("/threads", json={"metadata": {"topic": "tea"}}).json()
    words = [{"role": "user", "content": "remember: I like tea"}]
    call.post(
        f"/threads/{done['thread_id']}/runs/wait",
        json={"assistant_id": "memory", "input": {"messages": words}},
    )
    failed = call.post("/threads", json={}).json()
    call.post(
        f"/threads/{failed['thread_id']}/runs/wait",
        json={"assistant_id": "failing", "input": {"reason": "no luck today"}},
    )
    busy = call.post("/threads", json={}).json()
    slow = call.post(
        f"/threads/{busy['thread_id']}/runs",
        json={"assistant_id": "slow", "input": {"steps": 600}},
    ).json()
    cron = call.post(
        "/runs/crons", json={"assistant_id": "slow", "schedule": "0 9 * * MON"}
    ).json()
    call.close()
    return {
        "done": done["thread_id"],
        "failed": failed["thread_id"],
        "slow": slow["run_id"],
        "slow_thread": busy["thread_id"],
        "cron": cron["cron_id"],
    }


def wait(browser: Chrome, condition: object) -> None:
    WebDriverWait(browser, 20).until(lambda _: condition())  # type: ignore[operator]


def text_of(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def complaints(browser: Chrome) -> list[str]:
    """Errors in the browser's console since the last call."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


@pytest.mark.parametrize(
    ("page", "shows"),
    [
        ("", "no luck today"),
        ("assistants/assistant/", "research"),
        ("threads/thread/", "interrupted"),
        ("runs/run/", "success"),
        ("runs/worker/", "heartbeat"),
        ("webhooks/webhookdelivery/", "webhook"),
        ("crons/cron/", "0 9 * * MON"),
        ("store/storeitem/", "memories"),
        ("access/apikey/", "key"),
        ("django_celery_beat/periodictask/", "tick"),
    ],
)
def test_every_list_of_the_admin_opens(
    admin: Chrome, examples: Server, work: dict[str, str], page: str, shows: str
) -> None:
    complaints(admin)

    admin.get(f"{examples.url}/admin/{page}")

    assert shows.lower() in admin.page_source.lower()
    assert "Server Error" not in text_of(admin)
    assert complaints(admin) == []


def test_a_thread_shows_its_values_and_checkpoints(
    admin: Chrome, examples: Server, work: dict[str, str]
) -> None:
    admin.get(f"{examples.url}/admin/threads/thread/?q={work['done']}")
    admin.find_element(By.CSS_SELECTOR, f"a[href*='{work['done']}/change']").click()

    wait(admin, lambda: "I will remember that: I like tea" in admin.page_source)
    assert complaints(admin) == []


def test_a_failed_run_says_why(
    admin: Chrome, examples: Server, work: dict[str, str]
) -> None:
    admin.get(f"{examples.url}/admin/runs/run/?q={work['failed']}")
    assert "error" in text_of(admin).lower()
    admin.find_element(
        By.CSS_SELECTOR, "a[href*='/runs/run/'][href*='/change/']"
    ).click()

    wait(admin, lambda: "no luck today" in admin.page_source)


def test_a_run_is_cancelled_from_its_list(
    admin: Chrome, examples: Server, work: dict[str, str]
) -> None:
    admin.get(f"{examples.url}/admin/runs/run/?q={work['slow']}")
    admin.find_element(By.CSS_SELECTOR, "input.action-select").click()
    actions = Select(admin.find_element(By.NAME, "action"))
    actions.select_by_value(
        next(
            value
            for one in actions.options
            if "cancel" in (value := str(one.get_attribute("value")))
        )
    )
    admin.find_element(By.CSS_SELECTOR, "button[name=index]").click()

    path = f"/threads/{work['slow_thread']}/runs/{work['slow']}"
    wait(
        admin,
        lambda: httpx.get(examples.url + path).json()["status"] == "interrupted",
    )


def test_a_new_key_is_shown_once(admin: Chrome, examples: Server) -> None:
    admin.get(f"{examples.url}/admin/access/apikey/add/")
    admin.find_element(By.NAME, "owner").send_keys("alice")
    admin.find_element(By.NAME, "_save").click()

    wait(admin, lambda: "/add/" not in admin.current_url)
    key = re.search(r"spool_[A-Za-z0-9_-]{20,}", admin.page_source)
    assert key
    admin.get(f"{examples.url}/admin/access/apikey/")
    assert key[0] not in admin.page_source


def test_the_reference_of_the_api_is_there(browser: Chrome, examples: Server) -> None:
    complaints(browser)
    browser.get(f"{examples.url}/docs")

    wait(browser, lambda: "/threads/{thread_id}/runs/stream" in text_of(browser))
    assert complaints(browser) == []
