"""A graph whose model calls a tool, like the one that was recorded."""

from __future__ import annotations

import uuid
from typing import Any

from agents import Messages
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode


@tool
def adder(a: int, b: int) -> int:
    "add"
    get_stream_writer()({"tool": "adder"})
    return a + b


class FakeTool(BaseChatModel):
    """Calls `adder` first, then streams the result in small pieces."""

    @property
    def _llm_type(self) -> str:
        return "faketool"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        whole: Any = None
        for chunk in self._stream(messages):
            whole = chunk if whole is None else whole + chunk
        message = AIMessage(
            content=whole.message.content,
            tool_calls=whole.message.tool_calls,
            id=whole.message.id,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        has_result = bool(messages) and messages[-1].type == "tool"
        pieces = _the_sum() if has_result else _the_call()
        message_id = f"msg-{uuid.uuid4()}"
        for piece in pieces:
            message = AIMessageChunk(id=message_id, **piece)
            yield ChatGenerationChunk(message=message)


def _the_sum() -> list[dict[str, Any]]:
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    return [
        *({"content": text} for text in ("the ", "sum is ", "3")),
        {
            "content": "",
            "usage_metadata": usage,
            "response_metadata": {"finish_reason": "stop"},
        },
    ]


def _the_call() -> list[dict[str, Any]]:
    calls: list[tuple[str | None, str, str | None]] = [
        ("adder", "", "call_1"),
        (None, '{"a": 1,', None),
        (None, ' "b": 2}', None),
    ]
    return [
        {"content": "calling"},
        *(
            {
                "content": "",
                "tool_call_chunks": [
                    {
                        "name": name,
                        "args": args,
                        "id": call_id,
                        "index": 0,
                        "type": "tool_call_chunk",
                    }
                ],
            }
            for name, args, call_id in calls
        ),
    ]


async def call_model(state: Messages, config: RunnableConfig) -> dict[str, Any]:
    return {"messages": [await FakeTool().ainvoke(state["messages"], config)]}


def route(state: Messages) -> str:
    return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END


def _with_tools() -> Any:
    graph = StateGraph(Messages)
    graph.add_node("model", call_model)
    graph.add_node("tools", ToolNode([adder]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", route, ["tools", END])
    graph.add_edge("tools", "model")
    return graph.compile()


tools = _with_tools()
