"""The creator of a cron, on whose behalf its runs are created.

A run of a cron has no request that the policy could authorize. So a cron stores the
policy's decision of when it was created: the user that graphs get, the threads and
assistants that the user can see, and additions to the `configurable` of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q

from spool.access.policy import Scope

# The trace of the request that created the cron, beside its creator in the row.
TRACE_CONTEXT = "trace_context"


@dataclass(frozen=True)
class Creator:
    threads: Scope
    assistants: Scope
    configurable: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        key = self.threads.api_key_id
        return {
            "owner": self.threads.owner,
            "user": self.threads.user,
            "api_key_id": key and str(key),
            "threads": _filter_json(self.threads.rows),
            "assistants": _filter_json(self.assistants.rows),
            "configurable": self.configurable,
        }

    def without_user(self) -> Creator:
        """A copy with scopes but without users, to compare with a stored creator."""
        return Creator(_without_user(self.threads), _without_user(self.assistants))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Creator:
        owner, user = stored["owner"], stored["user"]
        key_id = stored.get("api_key_id")
        key = UUID(key_id) if key_id else None
        threads, assistants = _filter(stored["threads"]), _filter(stored["assistants"])
        return cls(
            Scope(owner, threads, user, key, _is_plain(owner, threads)),
            Scope(owner, assistants, user, None, _is_plain(owner, assistants)),
            configurable=stored.get("configurable", {}),
        )


def _is_plain(owner: str, rows: Q) -> bool:
    """Whether the policy is Spool's own: see `Scope.is_plain`."""
    own = Q(owner=owner)
    return rows in (Q(), own, own | Q(is_system=True))


def _without_user(scope: Scope) -> Scope:
    return Scope(scope.owner, scope.rows)


def _filter_json(rows: Q) -> dict[str, Any]:
    conditions: list[Any] = list(rows.children)
    children = [
        _filter_json(child) if isinstance(child, Q) else [str(child[0]), child[1]]
        for child in conditions
    ]
    return {"how": rows.connector, "not": rows.negated, "of": children}


def _filter(stored: dict[str, Any]) -> Q:
    children = [
        _filter(child) if isinstance(child, dict) else (child[0], child[1])
        for child in stored["of"]
    ]
    return Q(*children, _connector=stored["how"], _negated=stored["not"])
