"""Graphs and routes that call the API from inside: `get_client()` without a URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from langgraph_sdk.errors import APIStatusError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    do: str
    given: Any
    out: Any


def graph_of(name: str, node: Any) -> Any:
    return StateGraph(State).add_node(name, node).add_edge(START, name).compile()


# --- Called by others -----------------------------------------------------------------
shout = graph_of("shout", lambda state: {"out": state["given"].upper()})


async def hold_on(state: State) -> State:
    """Wait until the caller reports that it has got the first event."""
    get_stream_writer()("the first event")
    threads = get_client().threads
    while not (await threads.get(state["given"]))["metadata"].get("got_it"):
        await asyncio.sleep(0.02)
    return {"out": "held on"}


holding_on = graph_of("hold_on", hold_on)


# --- Callers --------------------------------------------------------------------------
async def wait(state: State) -> Any:
    given = {"given": state["given"]}
    return await get_client().runs.wait(None, "shout", input=given)


async def wait_together(state: State) -> Any:
    runs = get_client().runs
    waits = [runs.wait(None, "shout", input={"given": one}) for one in state["given"]]
    return [answer["out"] for answer in await asyncio.gather(*waits)]


async def schedule(state: State) -> Any:
    client = get_client()
    thread = (await client.threads.create())["thread_id"]
    await client.runs.create(thread, "shout", input={"given": "later"})
    return thread


async def stream(state: State) -> Any:
    client = get_client()
    thread = (await client.threads.create())["thread_id"]
    got: list[Any] = []
    async for part in client.runs.stream(
        thread, "holding_on", input={"given": thread}, stream_mode=["custom", "values"]
    ):
        if part.event == "custom":
            got.append(part.data)
            await client.threads.update(thread, metadata={"got_it": True})
        elif part.event == "values" and "out" in part.data:
            got.append(part.data["out"])
    return got


async def reach(state: State) -> Any:
    """Return the response for another owner's thread."""
    try:
        return await get_client().threads.get(state["given"])
    except APIStatusError as exc:
        return exc.status_code


async def nest(state: State) -> Any:
    if not state["given"]:
        return 0
    deeper = {"do": "nest", "given": state["given"] - 1}
    return 1 + (await get_client().runs.wait(None, "caller", input=deeper))["out"]


async def wait_for_itself(state: State) -> Any:
    client = get_client()
    [run] = await client.runs.list(state["given"])
    refused = []
    for attempt in (
        client.runs.wait(state["given"], "shout", input={"given": "never"}),
        client.runs.join(state["given"], run["run_id"]),
    ):
        try:
            await attempt
        except Exception as exc:
            refused.append(str(exc).partition("\n")[0])
    return refused


@tool
def ask_another(question: str) -> str:
    """Ask another graph, from a tool that is a plain function."""

    async def call() -> Any:
        async with get_client() as client:
            return await client.runs.wait(None, "shout", input={"given": question})

    return str(asyncio.run(call())["out"])


async def use_tool(state: State) -> Any:
    return await ask_another.ainvoke({"question": state["given"]})


CALLS: dict[str, Callable[[State], Awaitable[Any]]] = {
    one.__name__: one
    for one in (
        wait,
        wait_together,
        schedule,
        stream,
        reach,
        nest,
        wait_for_itself,
        use_tool,
    )
}


async def call(state: State) -> State:
    return {"out": await CALLS[state["do"]](state)}


caller = graph_of("call", call)


# --- http.app -------------------------------------------------------------------------
@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    threads = get_client().threads
    made = await threads.create(metadata={"made_by": "the system"})
    app.state.made = made["thread_id"]
    app.state.seen = await threads.count(metadata={"made_by": "the system"})
    yield


async def made_by_lifespan(request: Request) -> JSONResponse:
    state = request.app.state
    return JSONResponse({"thread_id": state.made, "seen": state.seen})


async def read_thread(request: Request) -> JSONResponse:
    try:
        thread = await get_client().threads.get(request.path_params["thread_id"])
    except APIStatusError as exc:
        return JSONResponse({"refused": exc.status_code})
    return JSONResponse(thread)


async def chat(request: Request) -> StreamingResponse:
    parts = get_client().runs.stream(None, "shout", input={"given": "hi"})
    return StreamingResponse(f"{part.event}\n" async for part in parts)


app = Starlette(
    routes=[
        Route("/made-by-lifespan", made_by_lifespan),
        Route("/my/threads/{thread_id}", read_thread),
        Route("/chat", chat),
    ],
    lifespan=lifespan,
)
