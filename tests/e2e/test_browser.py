"""The admin and the API's pages in a real browser, as an operator clicks through them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from spool.tests.browsing import browsing, log_in, text_of, wait
from spool.tests.live import ROOT, Server, serving

pytestmark = [pytest.mark.e2e, pytest.mark.needs("chromium", "chromedriver")]


@pytest.fixture(scope="module")
def examples() -> Iterator[Server]:
    with serving(ROOT / "examples" / "langgraph.json") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def admin(browser: Chrome, examples: Server) -> Chrome:
    """The browser, logged in with the password of the first start."""
    log_in(browser, examples)
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
    waiting = call.post("/threads", json={}).json()
    call.post(
        f"/threads/{waiting['thread_id']}/runs/wait",
        json={"assistant_id": "approval", "input": {"topic": "the meeting"}},
    )
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
        "waiting": waiting["thread_id"],
    }


def complaints(browser: Chrome) -> list[str]:
    """Errors in the browser's console since the last call."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


@pytest.mark.parametrize(
    ("page", "shows"),
    [
        ("", "Runs that ended"),
        ("assistants/assistant/", "research"),
        ("threads/thread/", "interrupted"),
        ("runs/run/", "success"),
        ("runs/worker/", "heartbeat"),
        ("webhooks/webhookdelivery/", "webhook"),
        ("crons/cron/", "0 9 * * MON"),
        ("crons/cron/calendar/", "0 9 * * MON"),
        ("store/storeitem/", "memories"),
        ("store/storeitem/tree/?owner=", "memories"),
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


def test_an_assistant_shows_its_graph(admin: Chrome, examples: Server) -> None:
    complaints(admin)
    admin.get(f"{examples.url}/admin/assistants/assistant/?q=research")
    admin.find_element(
        By.CSS_SELECTOR, "a[href*='/assistant/'][href*='/change']"
    ).click()

    wait(admin, lambda: admin.find_elements(By.CSS_SELECTOR, "svg.graph text"))
    labels = admin.find_elements(By.CSS_SELECTOR, "svg.graph text")
    assert {"start", "search", "write", "end"} <= {label.text for label in labels}
    assert complaints(admin) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_a_phone(
    admin: Chrome, examples: Server, work: dict[str, str], theme: str
) -> None:
    size = admin.get_window_size()
    pages = (
        "",
        f"runs/run/{work['slow']}/change/",
        f"threads/thread/{work['done']}/change/",
        f"crons/cron/{work['cron']}/change/",
        "crons/cron/calendar/",
        "store/storeitem/tree/?owner=",
    )
    try:
        admin.set_window_size(390, 800)
        admin.execute_script(f"localStorage.setItem('_x_adminTheme', '\"{theme}\"')")
        for page in pages:
            admin.get(f"{examples.url}/admin/{page}")
            width = "return document.documentElement.scrollWidth - window.innerWidth"
            assert admin.execute_script(width) <= 0, page
    finally:
        admin.execute_script("localStorage.removeItem('_x_adminTheme')")
        admin.set_window_size(size["width"], size["height"])


# What a click right above the visible bar of actions hits: a part of the last row?
HITS_LAST_ROW = """
document.documentElement.scrollTo({top: 1e6, behavior: "instant"});
const row = [...document.querySelectorAll("#result_list tbody tr")].at(-1);
const bar = document.querySelector("#changelist-actions").getBoundingClientRect();
const left = row.getBoundingClientRect().left;
return row.contains(document.elementFromPoint(left + 80, bar.top - 3));
"""


def test_the_bar_of_actions_leaves_the_last_row_to_clicks(
    admin: Chrome, examples: Server
) -> None:
    size = admin.get_window_size()
    try:
        admin.set_window_size(1400, 500)
        admin.get(f"{examples.url}/admin/django_celery_beat/periodictask/")
        admin.find_element(By.CSS_SELECTOR, "input.action-select").click()

        wait(admin, lambda: admin.execute_script(HITS_LAST_ROW))
    finally:
        admin.set_window_size(size["width"], size["height"])


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
