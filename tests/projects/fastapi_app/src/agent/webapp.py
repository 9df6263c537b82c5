"""A FastAPI app with models, dependencies, a router, middleware and a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from langgraph_sdk import get_client
from pydantic import BaseModel

started: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    started.append("started")
    yield


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str
    started: list[str]


def tenant(request: Request) -> str:
    if "x-tenant" not in request.headers:
        raise HTTPException(400, "no tenant")
    return request.headers["x-tenant"]


app = FastAPI(lifespan=lifespan, title="My routes")
router = APIRouter(prefix="/api")


@app.middleware("http")
async def add_header(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["X-Custom-Header"] = "Hello from middleware!"
    return response


@router.post("/ask")
async def ask(question: Question, tenant: Annotated[str, Depends(tenant)]) -> Answer:
    asked = {"messages": [{"role": "user", "content": f"{question.text}, {tenant}"}]}
    values: Any = await get_client().runs.wait(None, "agent", input=asked)
    return Answer(text=values["messages"][-1]["content"], started=started)


@router.get("/stream")
async def stream() -> StreamingResponse:
    asked = {"messages": [{"role": "user", "content": "hi"}]}
    parts = get_client().runs.stream(None, "agent", input=asked, stream_mode="updates")
    return StreamingResponse(f"{part.event} " async for part in parts)


app.include_router(router)
