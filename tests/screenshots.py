"""Create the pictures of the console in the documentation: `make screenshots`."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import httpx
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from spool.tests.browsing import browsing, log_in, wait
from spool.tests.live import ROOT, Server, serving

FOLDER = ROOT / "docs" / "images"
SIZE = "1280,800"
QUESTIONS = ("What is a **spool**?", "And `langgraph.json`?")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="agents-") as agents:
        # Use a copy, since tracebacks show its path.
        copytree(ROOT / "examples", agents, dirs_exist_ok=True)
        with (
            serving(Path(agents) / "langgraph.json") as server,
            browsing(SIZE) as browser,
        ):
            pages = seed(server.url)
            log_in(browser, server)
            for name, (page, shown) in pages.items():
                take(browser, server, page, shown, FOLDER / f"{name}.png")


def seed(url: str) -> dict[str, tuple[str, str]]:
    """Create runs of each kind. Return pages by name, each with a text on it."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as call:

        def run(assistant: str, given: object, thread: str | None = None) -> str:
            thread = thread or call.post("/threads", json={}).json()["thread_id"]
            body = {"assistant_id": assistant, "input": given}
            call.post(f"/threads/{thread}/runs/wait", json=body)
            return thread

        for number in range(12):
            run("research", {"question": f"tea, part {number}"})
        chat = None
        for question in QUESTIONS:
            said = {"messages": [{"role": "user", "content": question}]}
            chat = run("chat", said, chat)
        run("approval", {"topic": "the meeting"})
        for _ in range(4):
            failed = run("failing", {"reason": "no luck today"})
        [broken] = call.get(f"/threads/{failed}/runs").json()
        found = call.post("/assistants/search", json={"graph_id": "research"}).json()
    research = found[0]["assistant_id"]
    return {
        "overview": ("", "runs failed"),
        "run": (f"runs/run/{broken['run_id']}/change/", "Traceback"),
        "thread": (f"threads/thread/{chat}/change/", "You said"),
        "assistant": (f"assistants/assistant/{research}/change/", "Unfold"),
    }


def take(browser: Chrome, server: Server, page: str, shown: str, path: Path) -> None:
    browser.get(f"{server.url}/admin/{page}")
    # Figures are counted within seconds, and the page then reloads them.
    wait(browser, lambda: shown in browser.find_element(By.TAG_NAME, "body").text)
    browser.save_screenshot(str(path))


if __name__ == "__main__":
    main()
