"""What an operator does in the console, from a problem to the repaired run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from spool.tests.browsing import browsing, log_in, text_of, wait
from spool.tests.live import (
    ROOT,
    WAIT_SECS,
    Server,
    free_port,
    manage,
    serving,
    wait_until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.needs("chromium", "chromedriver")]

CONFIG = ROOT / "tests" / "graphs" / "troubled.langgraph.json"
SLOTS = 2
NEW_KEYS = """
from spool.access.keys import create_key
for owner in ("alice", "bob"):
    print(create_key(owner=owner)[1])
"""


@pytest.fixture(scope="module")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files make graphs fail, see `tests/graphs/troubled.py`."""
    return tmp_path_factory.mktemp("troubles")


@pytest.fixture(scope="module")
def server(troubles: Path) -> Iterator[Server]:
    with serving(
        CONFIG,
        TROUBLES=str(troubles),
        SPOOL_AUTH="api_key",
        N_JOBS_PER_WORKER=str(SLOTS),
        BG_JOB_MAX_ATTEMPTS="2",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def operator(server: Server) -> Iterator[Operator]:
    with browsing() as browser:
        log_in(browser, server)
        yield Operator(browser, server)


@pytest.fixture(scope="module")
def callers(server: Server) -> Iterator[list[Caller]]:
    keys = manage(server, "shell", "--no-imports", "-c", NEW_KEYS).split()
    callers = [Caller(server, key) for key in keys]
    yield callers
    for caller in callers:
        caller.close()


@pytest.fixture
def alice(callers: list[Caller]) -> Caller:
    return callers[0]


@pytest.fixture
def bob(callers: list[Caller]) -> Caller:
    return callers[1]


class Operator:
    """A person with a browser, who reads pages and clicks."""

    def __init__(self, browser: Chrome, server: Server) -> None:
        self.browser = browser
        self.server = server

    def opens_the_overview(self) -> None:
        self.browser.get(f"{self.server.url}/admin/?range=15m")

    def reads(self, *texts: str) -> None:
        """Wait until all of these texts are on the page."""
        self._until(lambda: all(one in text_of(self.browser) for one in texts), texts)

    def follows(self, words: str) -> None:
        """Click the element with these words, once it is there."""
        self._clicks(
            f"//*[self::a or self::button or self::summary][contains(., '{words}')]"
        )

    def opens_the_row(self, key: str) -> None:
        address = f"contains(@href, '{key}') and contains(@href, '/change/')"
        self._clicks(f"//table//a[{address}]")

    def opens_the_owner(self, name: str) -> None:
        self._clicks(f"//a[text()='{name}']")

    def confirms(self, reason: str, **answers: str) -> None:
        for name, value in {**answers, "reason": reason}.items():
            self._types(name, value)
        self._clicks("//*[@class='console']//form//button[@type='submit']")

    def chooses_to_cancel_all_listed(self) -> None:
        self.browser.find_element(By.ID, "action-toggle").click()
        actions = Select(self.browser.find_element(By.NAME, "action"))
        actions.select_by_value("cancel")
        self.browser.find_element(By.CSS_SELECTOR, "button[name=index]").click()

    def _clicks(self, path: str) -> None:
        # Only outside of the menu.
        self._then(f"//*[@id='main']{path}", WebElement.click)

    def _types(self, name: str, text: str) -> None:
        self._then(f"//*[@name='{name}']", lambda field: field.send_keys(text))

    def _then(self, path: str, act: Callable[[WebElement], None]) -> None:
        """Act on the element, once it is there."""

        def attempt() -> bool:
            act(self.browser.find_element(By.XPATH, path))
            return True

        self._until(attempt, path)

    def _until(self, condition: Callable[[], object], what: object) -> None:
        # Parts of the overview are reloaded all the time.
        try:
            wait(self.browser, condition)
        except TimeoutException:
            text = text_of(self.browser)
            raise AssertionError(f"no {what} in\n{text}") from None


class Caller:
    """A client of the API."""

    def __init__(self, server: Server, key: str) -> None:
        headers = {"x-api-key": key}
        self._http = httpx.Client(
            base_url=server.url, headers=headers, timeout=WAIT_SECS
        )
        self.close = self._http.close

    def starts(self, graph: str, **body: Any) -> Run:
        thread = self._http.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": graph, "input": {}, **body}
        made = self._http.post(f"/threads/{thread}/runs", json=body)
        made.raise_for_status()
        return Run(self, thread, made.json()["run_id"])

    def newest(self) -> Run:
        """The run of the caller's newest thread."""
        threads = self._http.post("/threads/search", json={"limit": 1}).json()
        thread = threads[0]["thread_id"]
        return Run(self, thread, self.runs_of(thread)[0]["run_id"])

    def runs_of(self, thread: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get(f"/threads/{thread}/runs").json()
        return found

    def thread(self, thread: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/threads/{thread}").json()
        return found


class Run:
    def __init__(self, caller: Caller, thread: str, run_id: str) -> None:
        self._caller = caller
        self.thread = thread
        self.id = run_id

    def until(self, status: str) -> None:
        wait_until(lambda: self.status() == status)

    def status(self) -> str:
        [run] = self._caller.runs_of(self.thread)
        return str(run["status"])


class Receiver:
    """A receiver of webhooks. It can be started after its port has been called."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.received = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()
                received.set()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as listening:
            threading.Thread(target=listening.serve_forever, daemon=True).start()
            yield
            listening.shutdown()


@contextmanager
def trouble(folder: Path, name: str) -> Iterator[None]:
    (folder / name).touch()
    try:
        yield
    finally:
        (folder / name).unlink()


def rows(server: Server, statement: str, *params: object) -> list[Any]:
    with psycopg.connect(server.environment()["DATABASE_URL"]) as conn:
        return conn.execute(statement.encode(), params).fetchall()


def change(server: Server, statement: str, *params: object) -> None:
    """Change rows as if time had passed."""
    with psycopg.connect(server.environment()["DATABASE_URL"]) as conn:
        assert conn.execute(statement.encode(), params).rowcount == 1


def test_a_worker_is_lost(
    operator: Operator, server: Server, bob: Caller, troubles: Path
) -> None:
    with trouble(troubles, "slow"):
        run = bob.starts("slow")
        run.until("running")
        server.worker().kill()
        lost = "SELECT 1 FROM run_attempts WHERE run_id = %s AND outcome = 'lost'"
        wait_until(lambda: rows(server, lost, run.id))
        operator.opens_the_overview()
        operator.follows("lost with")
    operator.reads("bob")
    run.until("success")

    operator.opens_the_row(run.id)

    operator.reads("Attempt 1 lost", "Attempt 2 success")


@pytest.mark.long
def test_an_input_kills_its_workers(
    operator: Operator, bob: Caller, troubles: Path
) -> None:
    with trouble(troubles, "poison"):
        run = bob.starts("poison", input={"number": 13})
        run.until("error")
    operator.opens_the_overview()
    operator.follows("given up after each attempt lost its worker: poison")

    operator.opens_the_row(run.id)
    operator.reads("WorkerLost", "Attempt 1 lost", "Attempt 2 error", '"number": 13')
    operator.follows("Run again on a new thread")
    operator.confirms("the parser is repaired")

    operator.reads("started again")
    bob.newest().until("success")


@pytest.mark.long
def test_an_owner_takes_all_slots(
    operator: Operator, server: Server, alice: Caller, bob: Caller, troubles: Path
) -> None:
    with trouble(troubles, "slow"):
        flood = [alice.starts("slow") for _ in range(SLOTS + 1)]
        for run in flood[:SLOTS]:
            run.until("running")
        waiting = bob.starts("shop")
        older = "UPDATE runs SET created_at = now() - interval '7 min' WHERE id = %s"
        change(server, older, waiting.id)
        operator.opens_the_overview()
        operator.reads(
            f"all {SLOTS} slots are taken, {SLOTS} of {SLOTS} by owner alice"
        )

        operator.opens_the_owner("alice")
        operator.follows("Pause: let no more runs start")
        operator.confirms("a flood")
        operator.reads("paused")
        operator.follows("active runs")
        operator.chooses_to_cancel_all_listed()
        operator.reads(f"Cancel: {len(flood)} runs")
        operator.confirms("a flood")

        operator.reads(f"{len(flood)} runs: cancelled.")
        waiting.until("success")
    operator.browser.get(f"{server.url}/admin/owners/alice/")
    operator.follows("Resume")
    operator.confirms("it is over")
    operator.reads("resumed")
    alice.starts("shop").until("success")


def test_a_tool_fails(operator: Operator, bob: Caller, troubles: Path) -> None:
    said = {"messages": [{"role": "user", "content": "Is there tea?"}]}
    with trouble(troubles, "tool"):
        runs = [bob.starts("shop", input=said) for _ in range(3)]
        for run in runs:
            run.until("error")
    operator.opens_the_overview()
    operator.follows("of graph shop with ConnectionError in its node tools")

    operator.opens_the_row(run.id)
    operator.reads(
        "Raised by the node tools",
        "the warehouse does not answer",
        "Traceback",
        "stock",
        'raise ConnectionError("the warehouse does not answer")',
    )
    operator.follows("Run again on a new thread")
    operator.confirms("the warehouse answers again")

    operator.reads("started again")
    repaired = bob.newest()
    repaired.until("success")
    assert (
        bob.thread(repaired.thread)["values"]["messages"][-1]["content"]
        == "There are 7."
    )


def test_a_receiver_of_webhooks_is_dead(
    operator: Operator, server: Server, bob: Caller
) -> None:
    receiver = Receiver()
    run = bob.starts("poison", webhook=receiver.url)
    run.until("success")
    # As after a day of attempts: the next one is the last.
    last = """UPDATE webhook_deliveries SET attempts = 10, next_attempt_at = now()
        WHERE run_id = %s"""
    change(server, last, run.id)
    operator.opens_the_overview()
    operator.follows("was given up.")

    operator.opens_the_row("webhookdelivery")
    operator.reads("given up", "11")
    with receiver.listening():
        operator.follows("Send again")
        operator.confirms("they have repaired it")
        operator.reads("sent again")
        assert receiver.received.wait(WAIT_SECS)
    delivered = "SELECT delivered_at FROM webhook_deliveries WHERE run_id = %s"
    wait_until(lambda: rows(server, delivered, run.id) != [(None,)])
    operator.browser.refresh()
    operator.reads("delivered", "12")


@pytest.mark.long
def test_an_interrupt_is_forgotten(
    operator: Operator, server: Server, bob: Caller
) -> None:
    run = bob.starts("approval", input={"topic": "the meeting"})
    wait_until(lambda: bob.thread(run.thread)["status"] == "interrupted")
    yesterday = """UPDATE threads SET created_at = now() - interval '25 hours',
        state_updated_at = now() - interval '25 hours' WHERE id = %s"""
    change(server, yesterday, run.thread)
    operator.opens_the_overview()
    operator.follows("waited for an answer for more than a day")

    operator.opens_the_row(run.thread)
    operator.reads("It waits for an answer", "Send this e-mail?")
    operator.follows(run.id[:13])
    operator.reads("Its thread waits for an answer", "Send this e-mail?")
    operator.follows("Answer")
    operator.confirms("asked by phone", answer='{"approved": true}')

    wait_until(lambda: bob.thread(run.thread)["status"] == "idle")
    assert bob.thread(run.thread)["values"]["sent"] is True
