"""The request of an A2A client, as the methods that answer it receive it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from a2a.utils.errors import (
    A2AError,
    InternalError,
    InvalidParamsError,
    UnsupportedOperationError,
)
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import Scope, authorize
from spool.assistants.models import Assistant
from spool.assistants.services import assistant_id_of, resolve_assistant
from spool.web.errors import exception_handler
from spool.web.thread_pool import database_threads

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

# Statuses that are answered by HTTP itself, as all 5xx are, since A2A has no errors for
# authentication, permissions and rate limits.
REFUSALS = (401, 403, 429)


@dataclass
class Call:
    """One request of an A2A client to one agent.

    `assistant` is an assistant's id, or the name of a graph that is served.
    If `refusal` is set, it is sent in place of the SDK's response.
    """

    request: Request
    assistant: str
    # The protocol version that the client speaks.
    protocol: str = "1.0"
    refusal: Response | None = None

    async def query(
        self,
        function: Callable[Concatenate[Call, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call `function` on a thread that may use the database.

        Converts every exception to an `A2AError`.
        """
        try:
            return await database_threads.query(function, self, *args, **kwargs)
        except A2AError:
            raise
        except Exception as exc:  # From a use case, from Postgres, or a bug.
            raise self._translated(exc) from exc

    @property
    def assistant_id(self) -> UUID:
        """The assistant's id. Raises 422 if no graph has this name."""
        return assistant_id_of(self.assistant)

    def agent(self) -> tuple[Scope, Assistant]:
        """The requested assistant, if the caller may use it, and the caller's scope."""
        value = {"assistant_id": self.assistant_id}
        scope = authorize(self.request, "assistants.read", value).scope
        return scope, resolve_assistant(scope, self.assistant)

    def _translated(self, exc: Exception) -> A2AError:
        context: dict[str, Any] = {"request": self.request, "view": self}
        answer: Any = exception_handler(exc, context)
        detail = str(getattr(answer, "data", {}).get("detail", ""))
        if answer.status_code in REFUSALS or answer.status_code >= 500:
            self.refusal = answer
            return InternalError(detail)
        if answer.status_code == 409:
            return UnsupportedOperationError(detail)
        return InvalidParamsError(detail)
