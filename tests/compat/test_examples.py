"""The README's first steps and the examples, as a new user follows them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.errors import ConflictError

from spool.tests.compat.test_javascript import FOLDER
from spool.tests.live import ROOT, Server, serving

pytestmark = pytest.mark.e2e

README = (ROOT / "README.md").read_text()
HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}
ANSWER = "You said: Hello! I am a fake model"


@pytest.fixture(scope="module")
def examples() -> Iterator[Server]:
    """A server with the graphs of `make serve`."""
    with serving(ROOT / "examples" / "langgraph.json") as server:
        yield server


@pytest.fixture
async def client(examples: Server) -> AsyncIterator[Any]:
    async with get_client(url=examples.url, timeout=60) as client:
        yield client


def snippet(language: str, server: Server) -> str:
    """The README's first code block in a language, with this server's URL."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1].replace("http://127.0.0.1:8123", server.url)


def said(command: list[str], cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_python(examples: Server) -> None:
    output = said([sys.executable, "-c", snippet("python", examples)])

    assert output.startswith(ANSWER)
    assert output.endswith("\n 2 messages are in the thread\n")


@pytest.mark.needs("node", "npm")
@pytest.mark.usefixtures("javascript_client")
def test_the_readmes_javascript(examples: Server) -> None:
    script = snippet("javascript", examples)

    output = said(["node", "--input-type=module", "--eval", script], FOLDER)

    assert output.startswith(ANSWER)


def test_the_readmes_curl(examples: Server) -> None:
    output = said(["sh", "-c", snippet("bash", examples)])

    assert output.startswith("event: metadata")
    assert '"content":"You"' in output
    assert output.rstrip().endswith("data: null")


async def test_approval_waits_for_a_human(client: Any, thread_id: str) -> None:
    asked = await client.runs.wait(thread_id, "approval", input={"topic": "prices"})
    thread = await client.threads.get(thread_id)
    again = await client.runs.wait(
        thread_id,
        "approval",
        command={"resume": {"approved": False, "feedback": "shorter"}},
    )
    sent = await client.runs.wait(
        thread_id, "approval", command={"resume": {"approved": True}}
    )

    assert asked["__interrupt__"][0]["value"]["question"] == "Send this e-mail?"
    assert thread["status"] == "interrupted"
    assert "shorter" in again["__interrupt__"][0]["value"]["draft"]
    assert (sent["sent"], sent["revision"]) == (True, 2)
    history = await client.threads.get_history(thread_id, limit=50)
    assert history[0]["values"] == sent


async def test_research_streams_its_progress_from_inside(
    client: Any, thread_id: str
) -> None:
    events = [
        event
        async for event in client.runs.stream(
            thread_id,
            "research",
            input={"question": "tides"},
            stream_mode=["custom", "values"],
            stream_subgraphs=True,
        )
    ]

    custom = [one for one in events if one.event.startswith("custom")]
    assert {one.data["searching"] for one in custom if "searching" in one.data} == {
        "library",
        "archive",
        "web",
    }
    inside = [one for one in custom if "writing" in one.data]
    assert all(one.event.startswith("custom|write:") for one in inside)
    report = [one for one in events if one.event == "values"][-1].data["report"]
    assert report.startswith("# tides\n- archive: notes on tides")


async def test_memory_is_kept_across_threads(client: Any) -> None:
    def say(text: str) -> Any:
        message = {"role": "user", "content": text}
        return client.runs.wait(None, "memory", input={"messages": [message]})

    await say("remember: I like tea")
    answer = await say("What do I like?")

    assert answer["messages"][-1]["content"] == "I know: I like tea"
    items = await client.store.search_items(("memories",))
    assert [item["value"] for item in items["items"]] == [{"fact": "I like tea"}]


async def test_failing_shows_why(client: Any, thread_id: str) -> None:
    with pytest.raises(Exception, match="no luck"):
        await client.runs.wait(thread_id, "failing", input={"reason": "no luck"})

    thread = await client.threads.get(thread_id)
    assert thread["status"] == "error"
    assert thread["error"] == {"error": "ValueError", "message": "no luck"}


async def test_slow_can_be_refused_and_cancelled(client: Any, thread_id: str) -> None:
    run = await client.runs.create(thread_id, "slow", input={"delay": 30})
    with pytest.raises(ConflictError):
        await client.runs.create(thread_id, "slow", multitask_strategy="reject")

    await client.runs.cancel(thread_id, run["run_id"], wait=True)

    found = await client.runs.get(thread_id, run["run_id"])
    assert found["status"] == "interrupted"


async def test_what_a_client_sees_first(client: Any) -> None:
    found = await client.assistants.search(limit=50)

    assert {one["name"] for one in found} == {
        "approval",
        "chat",
        "failing",
        "memory",
        "research",
        "slow",
    }
    assert all(one["description"] for one in found)
