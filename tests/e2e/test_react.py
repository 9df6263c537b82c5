"""A page built with `useStream` of `@langchain/react`, in a real browser."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from spool.tests.browsing import wait
from spool.tests.company import hold
from spool.tests.compat.javascript import install
from spool.tests.e2e.test_browser import browser as browser
from spool.tests.live import WAIT_SECS, Server

FOLDER = Path(__file__).parent / "react"
PAGE = '<div id="root"></div><script type="module" src="page.js"></script>'
HI = {"messages": [{"type": "human", "content": "hi"}]}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.needs("node", "npm", "chromium", "chromedriver"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, built and served from a different origin than the API."""
    folder = tmp_path_factory.mktemp("site")
    install(FOLDER)
    subprocess.run(
        ["npm", "run", "--silent", "build", "--", f"--outfile={folder / 'page.js'}"],
        cwd=FOLDER,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (folder / "index.html").write_text(PAGE)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Page:
    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def click(self, selector: str) -> None:
        def is_clicked() -> bool:
            self.browser.find_element(By.CSS_SELECTOR, selector).click()
            return True

        self.until(is_clicked)

    def text(self, selector: str) -> str:
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def all(self, selector: str) -> list[str]:
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return [element.text for element in found]

    def until(self, condition: Callable[[], object]) -> None:
        wait(self.browser, condition)

    def is_idle(self) -> bool:
        return self.text("#state") == "idle"

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.text("#values"))
        return values


@pytest.fixture(params=["sse", "websocket"])
def open_page(
    browser: Chrome, site: str, server: Server, request: pytest.FixtureRequest
) -> Callable[..., Page]:
    def open_page(assistant: str, given: Any) -> Page:
        asked = {
            "api": server.url,
            "assistant": assistant,
            "input": json.dumps(given),
            "transport": request.param,
        }
        browser.get(f"{site}?{urlencode(asked)}")
        page = Page(browser)
        page.until(lambda: page.all("#send"))
        return page

    return open_page


def thread_of(page: Page) -> str:
    return page.browser.current_url.partition("thread=")[2].partition("&")[0]


def test_an_answer_is_shown(open_page: Callable[..., Page]) -> None:
    page = open_page("chat", HI)

    page.click("#send")
    page.until(lambda: page.all("li.ai") == ["hello brave new world"])
    page.until(page.is_idle)

    assert page.text("#error") == ""


def test_tool_calls_are_shown(open_page: Callable[..., Page]) -> None:
    page = open_page("agent", HI)

    page.click("#send")
    page.until(lambda: len(page.all("li.ai")) == 2 and page.is_idle())
    page.until(lambda: page.all("ol li") == ['weather: "sunny in Oslo"'])


def test_an_interrupt_is_answered(open_page: Callable[..., Page]) -> None:
    page = open_page("human", {"topic": "q"})

    page.click("#send")
    page.until(lambda: "approve" in page.text("#interrupt"))
    page.click("#answer")
    page.until(lambda: page.values().get("answer") == "yes" and page.is_idle())
    page.until(lambda: page.text("#interrupt") == "null")


def test_a_reload_in_mid_run_goes_on(
    open_page: Callable[..., Page], file: Path
) -> None:
    let_go = hold(file, "2")
    page = open_page("steps", {"file": str(file), "delay": 0})

    page.click("#send")
    page.until(lambda: page.values().get("log"))
    page.browser.refresh()
    page.until(lambda: page.all("#send") and page.text("#state") == "loading")
    let_go()
    page.until(lambda: len(page.values().get("log", ())) == 5 and page.is_idle())

    assert page.text("#error") == ""


def test_a_run_is_stopped(open_page: Callable[..., Page], server: Server) -> None:
    page = open_page("slow", {"delay": 30})

    page.click("#send")
    # Wait until the run has begun, which the client does not show by itself.
    page.until(lambda: "log" in page.values())
    page.click("#stop")
    page.until(page.is_idle)
    path = f"{server.url}/threads/{thread_of(page)}"
    page.until(
        lambda: (
            httpx.get(f"{path}/runs", timeout=WAIT_SECS).json()[0]["status"]
            == "interrupted"
        )
    )

    assert page.text("#error") == ""


def test_a_message_is_edited_in_a_fork(open_page: Callable[..., Page]) -> None:
    page = open_page("echo", HI)

    page.click("#send")
    page.until(lambda: page.all("li.ai") and page.is_idle())
    page.until(lambda: page.all("button.edit"))
    page.click("button.edit")
    page.until(lambda: page.all("li.ai") == ["echo: edited"] and page.is_idle())

    assert "echo: hi" not in page.text("#values")
