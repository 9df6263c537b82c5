from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.func import entrypoint, task
from langgraph.types import interrupt

model = FakeListChatModel(responses=["an essay"])


@task
async def write_essay(topic: str) -> str:
    return f"{(await model.ainvoke(topic)).text} about {topic}"


@task
def count_words(essay: str) -> int:
    return len(essay.split())


@entrypoint()
async def workflow(
    topic: str, *, previous: dict[str, Any] | None = None
) -> entrypoint.final[dict[str, Any], dict[str, Any]]:
    essay = await write_essay(topic)
    review = interrupt({"essay": essay, "action": "approve or reject"})
    words = await count_words(essay)
    before = (previous or {}).get("number", 0)
    value = {"essay": essay, "review": review, "words": words, "before": before}
    return entrypoint.final(value=value, save={"number": before + 1})
