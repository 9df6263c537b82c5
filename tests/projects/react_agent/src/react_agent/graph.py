from __future__ import annotations

from typing import Any, Literal, cast

from langchain_core.messages import AIMessage
from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime

from react_agent.context import Context
from react_agent.state import InputState, State
from react_agent.tools import TOOLS
from react_agent.utils import load_chat_model


async def call_model(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    context = runtime.context
    model = load_chat_model(context.model, list(state.messages)).bind_tools(TOOLS)
    asked = [{"role": "system", "content": context.system_prompt}, *state.messages]
    answer = cast("AIMessage", await model.ainvoke(asked))
    if state.is_last_step and answer.tool_calls:
        return {"messages": [AIMessage("I ran out of steps.", id=answer.id)]}
    return {"messages": [answer]}


def route(state: State) -> Literal["__end__", "tools"]:
    last = state.messages[-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else "__end__"


builder = StateGraph(State, input_schema=InputState, context_schema=Context)
builder.add_node(call_model)
builder.add_node("tools", ToolNode(TOOLS))
builder.add_edge("__start__", "call_model")
builder.add_conditional_edges("call_model", route)
builder.add_edge("tools", "call_model")
graph = builder.compile(name="ReAct Agent")
