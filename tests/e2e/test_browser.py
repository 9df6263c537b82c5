"""The admin and the API's pages in a real browser, as an operator uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from spool.tests.accessibility import axe, violations
from spool.tests.browsing import browsing, log_in, text_of, wait
from spool.tests.live import ROOT, WAIT_SECS, Server, manage, serving

pytestmark = [pytest.mark.e2e, pytest.mark.needs("chromium", "chromedriver")]


# Each page of the console, and a text on it.
PAGES = {
    "": "Runs that ended",
    "runs/run/": "success",
    "runs/run/{failed_run}/change/": "Traceback",
    "runs/run/{slow}/change/": "Input",
    "runs/run/{slow}/operations/roll_back/": "Cancel and roll back",
    "runs/worker/": "heartbeat",
    "runs/worker/{worker}/change/": "heartbeat",
    "threads/thread/": "interrupted",
    "threads/thread/{done}/change/": "I will remember that",
    "threads/thread/{waiting}/change/": "Send this e-mail?",
    "threads/thread/{waiting}/operations/answer/": "Answer",
    "assistants/assistant/": "research",
    "assistants/assistant/{assistant}/change/": "Unfold",
    "assistants/assistant/{assistant}/operations/configure/": "Reason",
    "crons/cron/": "0 9 * * MON",
    "crons/cron/calendar/": "0 9 * * MON",
    "crons/cron/{cron}/change/": "0 9 * * MON",
    "store/storeitem/": "memories",
    "store/storeitem/tree/?owner=": "memories",
    "store/storeitem/{item}/change/": "I like tea",
    "webhooks/webhookdelivery/": "given up",
    "webhooks/webhookdelivery/{delivery}/change/": "given up",
    "owners/alice/": "Budgets",
    "access/apikey/": "alice",
    "access/apikey/add/": "Owner",
    "access/apikey/{key}/change/": "scopes",
    "auth/user/": "viewer",
    "django_celery_beat/periodictask/": "tick",
    "admin/logentry/": "log entries",
}
# Pages that viewers may not see.
HIDDEN = ("access/", "auth/", "django_celery_beat/", "admin/")
PHONE = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
MORE = """
import json
from uuid import uuid4
from django.contrib.auth.models import Group, User
from django.test import Client
from spool.access.keys import create_key
from spool.assistants.models import Assistant
from spool.runs.models import Run, Worker
from spool.store.models import StoreItem
from spool.webhooks.models import WebhookDelivery

viewer = User.objects.create_user("viewer", is_staff=True)
viewer.groups.add(Group.objects.get(name="viewer"))
client = Client()
client.force_login(viewer)
[session] = client.cookies.values()
delivery = WebhookDelivery.objects.create(
    run_id=uuid4(),
    thread_id=uuid4(),
    url="https://me:hidden-password@example.com/",
    payload={},
    next_attempt_at=None,
)
made = {
    "cookie": session.key,
    "session": session.value,
    "delivery": delivery.pk,
    "key": create_key(owner="alice")[0].pk,
    "assistant": Assistant.objects.get(graph_id="research").pk,
    "failed_run": Run.objects.get(status="error").pk,
    "worker": Worker.objects.get().pk,
    "item": StoreItem.objects.latest("created_at").pk,
}
print(json.dumps(made, default=str))
"""
# Controls that change something, except the theme and the session.
CHANGES = """
return [...document.querySelectorAll(`
    #main form[method=post] button:not([type=button]), #main form[method=post] [type=submit],
    #main a[href*='/operations/'], #main a[href$='/add/'],
    #main [name=action]
`)].map(one => one.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def program() -> str:
    """The program that checks pages for accessibility."""
    return axe()


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
    call = httpx.Client(base_url=examples.url, timeout=WAIT_SECS)
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


@pytest.fixture(scope="module")
def rows(examples: Server, work: dict[str, str]) -> dict[str, str]:
    """The rows of `PAGES`, and the session of a viewer."""
    made: dict[str, str] = json.loads(
        manage(examples, "shell", "--no-imports", "-c", MORE)
    )
    return work | made


@pytest.mark.needs("node", "npm")
@pytest.mark.parametrize(("page", "shows"), PAGES.items())
def test_a_page_has_no_errors_is_accessible_and_fits_a_phone(
    admin: Chrome,
    examples: Server,
    rows: dict[str, str],
    program: str,
    page: str,
    shows: str,
) -> None:
    complaints(admin)

    admin.get(f"{examples.url}/admin/{page.format_map(rows)}")
    wait(admin, lambda: shows.lower() in admin.page_source.lower())
    with phone(admin):
        width = admin.execute_script("return document.documentElement.scrollWidth")
    light = violations(admin, program)
    admin.execute_script("document.documentElement.classList.add('dark')")
    dark = violations(admin, program, "color-contrast")

    assert "Server Error" not in text_of(admin)
    assert complaints(admin) == []
    assert width <= PHONE["width"]
    assert light == []
    assert dark == []


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_can_change_nothing(
    admin: Chrome, examples: Server, rows: dict[str, str], page: str
) -> None:
    complaints(admin)
    with session(admin, rows["cookie"], rows["session"]):
        admin.get(f"{examples.url}/admin/{page.format_map(rows)}")
        shown = text_of(admin)
        found = admin.execute_script(CHANGES)

    is_refused = any("403" in one for one in complaints(admin))
    assert is_refused == (page.startswith(HIDDEN) or "/operations/" in page)
    assert found == []
    assert "Traceback" not in shown
    assert "hidden-password" not in shown


@contextmanager
def phone(browser: Chrome) -> Iterator[None]:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def session(browser: Chrome, name: str, value: str) -> Iterator[None]:
    """Log in with the session of another user."""
    cookie = browser.get_cookie(name)
    assert cookie
    browser.add_cookie({**cookie, "value": value})
    try:
        yield
    finally:
        browser.add_cookie(cookie)


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


# Whether a click right above the visible bar of actions hits a part of the last row.
# The point is above the bar, in the wrapper that lies over the list.
PASSES_CLICKS_ON = """
const bar = document.querySelector("#changelist-actions");
const wrapper = document.querySelector("#changelist-actions-wrapper").parentElement;
const {left, top} = bar.getBoundingClientRect();
return top > 0 && !wrapper.contains(document.elementFromPoint(left + 80, top - 3));
"""


def test_the_bar_of_actions_takes_only_its_own_clicks(
    admin: Chrome, examples: Server
) -> None:
    size = admin.get_window_size()
    try:
        admin.set_window_size(1400, 500)
        admin.get(f"{examples.url}/admin/django_celery_beat/periodictask/")
        admin.find_element(By.CSS_SELECTOR, "input.action-select").click()

        wait(admin, lambda: admin.execute_script(PASSES_CLICKS_ON))
    finally:
        admin.set_window_size(size["width"], size["height"])


# Controls, which the keyboard has to reach; each is marked with a number.
CONTROLS = """
const closed = "details:not([open]) > :not(summary)";
return [...document.querySelectorAll(`
    a, button, input:not([type=hidden]), select, textarea, summary, [x-on\\\\:click]
`)].filter(one => one.getClientRects().length && !one.disabled && !one.closest(closed)
    && one.id !== "changelist-filter-close"
).map((one, number) => {
    one.dataset.number = number;
    return [String(number), one.outerHTML.slice(0, 200)];
})
"""
# The number of the focused control, and whether it or its parent has an outline.
FOCUSED = """
const one = document.activeElement, outlines = [one, one.parentElement].map(
    each => getComputedStyle(each)
).filter(style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0);
return [one.dataset.number ?? null, outlines.length > 0];
"""
KEYBOARD = [
    "runs/run/",
    "threads/thread/{waiting}/change/",
    *(
        pytest.param(page, marks=pytest.mark.long)
        for page in (
            "",
            "runs/run/{failed_run}/change/",
            "threads/thread/{waiting}/operations/answer/",
            "assistants/assistant/{assistant}/change/",
            "owners/alice/",
        )
    ),
]


@pytest.mark.parametrize("page", KEYBOARD)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    admin: Chrome, examples: Server, rows: dict[str, str], page: str
) -> None:
    admin.get(f"{examples.url}/admin/{page.format_map(rows)}")
    wait(admin, lambda: "Loading" not in text_of(admin))
    controls = dict(admin.execute_script(CONTROLS))
    reached: dict[str, bool] = {}
    # Move the focus from the beginning of the page to its end.
    admin.execute_script("document.body.tabIndex = -1; document.body.focus()")
    for _ in range(2 * len(controls)):
        press(admin, "Tab")
        number, is_visible = admin.execute_script(FOCUSED)
        if number in reached:
            break
        if number is not None:
            reached[number] = is_visible

    assert {html for number, html in controls.items() if number not in reached} == set()
    assert [controls[number] for number, shown in reached.items() if not shown] == []


def test_the_filters_keep_the_focus_and_give_it_back(
    admin: Chrome, examples: Server
) -> None:
    admin.get(f"{examples.url}/admin/access/apikey/")
    button = admin.find_element(By.XPATH, "//a[contains(., 'Filters')]")
    admin.execute_script("arguments[0].focus()", button)
    panel = admin.find_element(By.ID, "changelist-filter")

    press(admin, "Enter")
    wait(admin, lambda: holds_focus(admin, panel))
    for _ in range(40):
        press(admin, "Tab")
        assert holds_focus(admin, panel)
    press(admin, "Escape")

    wait(admin, lambda: not panel.is_displayed())
    assert admin.switch_to.active_element == button


def press(browser: Chrome, key: str) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        event = {
            "type": kind,
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": KEYS[key],
        }
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", event)


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}


def holds_focus(browser: Chrome, element: WebElement) -> bool:
    script = "return arguments[0].contains(document.activeElement)"
    return bool(browser.execute_script(script, element))


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
    wait(admin, lambda: "Cancel: 1 run" in text_of(admin))
    admin.find_element(By.CSS_SELECTOR, ".console form [type=submit]").click()

    path = f"/threads/{work['slow_thread']}/runs/{work['slow']}"
    wait(
        admin,
        lambda: (
            httpx.get(examples.url + path, timeout=WAIT_SECS).json()["status"]
            == "interrupted"
        ),
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
