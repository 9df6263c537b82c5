"""Paths of agents. A2A defines the names of the REST paths."""

from __future__ import annotations

from typing import Any

from django.urls import path

from spool.protocols.a2a.views import AgentViewSet

AGENT = "a2a/<str:assistant_id>"
TASK = f"{AGENT}/tasks/<str:id>"
CONFIGS = f"{TASK}/pushNotificationConfigs"
WELL_KNOWN = ".well-known/agent-card.json"


def _view(**actions: str) -> Any:
    return AgentViewSet.as_view({**actions})


urlpatterns = [
    path(WELL_KNOWN, _view(get="find_card")),
    path(f"{AGENT}/{WELL_KNOWN}", _view(get="card")),
    path(AGENT, _view(get="card", post="rpc"), name="a2a"),
    path(f"{AGENT}/extendedAgentCard", _view(get="extended_card")),
    path(f"{AGENT}/message:send", _view(post="send")),
    path(f"{AGENT}/message:stream", _view(post="stream")),
    path(f"{AGENT}/tasks", _view(get="list")),
    # Before the path of the task itself, since task ids contain colons, too.
    path(f"{TASK}:cancel", _view(post="cancel")),
    path(f"{TASK}:subscribe", _view(get="subscribe", post="subscribe")),
    path(TASK, _view(get="retrieve")),
    path(CONFIGS, _view(get="list_push_configs", post="create_push_config")),
    path(
        f"{CONFIGS}/<str:push_id>",
        _view(get="retrieve_push_config", delete="destroy_push_config"),
    ),
]
