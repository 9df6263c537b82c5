"""Graphs whose models report their usage."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy, Send, interrupt


class Model(BaseChatModel):
    """Answers at once, and reports 10 input and 5 output tokens.

    When streamed, it reports them with its first word, then waits for the file `go`.
    """

    name: str | None = "tiny-1"
    folder: str = ""

    @property
    def _llm_type(self) -> str:
        return "tiny"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "tiny", "ls_model_name": self.name}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kw: Any) -> Any:
        answer = AIMessage(
            "yes",
            response_metadata={"model_name": self.name},
            usage_metadata={
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
                "input_token_details": {"cache_read": 4, "cache_creation": 1},
                "output_token_details": {"reasoning": 2},
            },
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Any:
        used: Any = {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}
        for text, usage in (("well", used), (" yes", None)):
            message = AIMessageChunk(content=text, usage_metadata=usage)
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                await run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk
            if self.folder:
                await _go(Path(self.folder))


async def _go(folder: Path) -> None:
    (folder / "begun").touch()
    while not (folder / "go").exists():
        await asyncio.sleep(0.01)


@tool
async def consult(question: str) -> str:
    """Ask another model."""
    answer = await Model(name="tiny-2").ainvoke(question)
    return str(answer.content)


async def think(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Model().ainvoke(state["messages"])]}


async def alone(state: MessagesState) -> dict[str, Any]:
    """Call a model without the callbacks of the run."""
    await Model().ainvoke("hm", config={"callbacks": []})
    return {}


def in_a_thread(state: MessagesState) -> dict[str, Any]:
    Model().invoke("hm")
    return {}


async def ask_tool(state: MessagesState) -> dict[str, Any]:
    answer = await consult.ainvoke({"question": "why?"})
    return {"messages": [ToolMessage(answer, tool_call_id="1")]}


def _graph(*nodes: tuple[str, Any]) -> StateGraph[Any]:
    graph: StateGraph[Any] = StateGraph(MessagesState)
    before = START
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph


inner = _graph(("think", think), ("ask", ask_tool)).compile()
spends = _graph(
    ("inner", inner), ("alone", alone), ("in_a_thread", in_a_thread)
).compile()

branches = StateGraph(MessagesState)
branches.add_node("think", think)
branches.add_conditional_edges(START, lambda state: [Send("think", state)] * 5)


async def _stream(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    folder = config["configurable"].get("folder", "")
    text = [part.content async for part in Model(folder=folder).astream("hm")]
    return {"messages": [AIMessage("".join(map(str, text)))]}


streams = _graph(("stream", _stream))


async def _fails_once(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    await Model().ainvoke("hm")
    marker = Path(config["configurable"]["folder"]) / "failed"
    if not marker.exists():
        marker.touch()
        raise ConnectionError("once")
    return {}


retries = StateGraph(MessagesState)
retries.add_node(
    "shaky", _fails_once, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False)
)
retries.add_edge(START, "shaky")


async def _boom(state: MessagesState) -> dict[str, Any]:
    secret = "sk-0123456789abcdef0123"  # noqa: F841 - must not get out
    raise ValueError("boom with sk-0123456789abcdef0123")


fails = _graph(("think", think), ("boom", _boom))


def _ask(state: MessagesState) -> dict[str, Any]:
    interrupt("which?")
    return {}


asks = _graph(("think", think), ("ask", _ask))


async def _holds(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    await Model().ainvoke("hm")
    await _go(Path(config["configurable"]["folder"]))
    await Model().ainvoke("hm")
    return {}


holds = _graph(("holds", _holds))


def _again(state: MessagesState) -> str:
    return "step"


_circle: StateGraph[Any] = StateGraph(MessagesState)
_circle.add_node("step", lambda state: {})
_circle.add_edge(START, "step")
_circle.add_edge("step", "step")
long = _circle.compile().with_config(recursion_limit=1000)


async def _stubborn(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """Ignore all errors, and keep calling a model."""
    folder = Path(config["configurable"]["folder"])
    while not (folder / "go").exists():
        with suppress(asyncio.CancelledError, Exception):
            await Model().ainvoke("hm")
            with (folder / "begun").open("a") as file:
                file.write("called\n")
            await asyncio.sleep(0.05)
    return {}


stubborn = _graph(("stubborn", _stubborn))
