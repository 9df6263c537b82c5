"""The base classes for viewsets of owned resources."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cached_property
from io import BytesIO
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model, QuerySet
from django.http import HttpRequest, JsonResponse
from rest_framework.exceptions import APIException
from rest_framework.viewsets import GenericViewSet, ViewSet

from spool.access.authentication import authenticate
from spool.access.policy import Allowed, Scope, authorize
from spool.access.users import User
from spool.web import errors
from spool.web.bodies import path_uuid
from spool.web.pagination import SearchPagination

M = TypeVar("M", bound=Model)


class ScopedViewSet(ViewSet):
    """A viewset that names the event of each of its actions, for the access policy.

    `events` maps a DRF action to `"<resource>.<action>"`. An action that is not
    listed fails closed, with a KeyError.
    """

    events: ClassVar[dict[str, str]]
    # The path parameters that are UUIDs, for `/openapi.json`.
    uuids_in_path: ClassVar[tuple[str, ...]] = ()

    def authorize(self, value: Mapping[str, Any] | None = None) -> Allowed:
        """The policy's answer; see `access.policy.authorize` for `value`."""
        return authorize(self.request, self.events[self.action], value)


class OwnedViewSet(ScopedViewSet, GenericViewSet[M]):
    """A viewset of rows that have an owner.

    A subclass's `get_queryset()` has the rows that `get_scope()` allows, and
    `get_object()` is the one way to the row that `lookup_url_kwarg` names.
    """

    # The texts of a 404 with the row's `id`, by action: they are the official server's.
    not_found_texts: ClassVar[Mapping[str, str]] = {}
    not_found_text: ClassVar[str] = "Not Found"

    _scope: Scope | None = None

    @cached_property
    def paginator(self) -> SearchPagination:
        return SearchPagination()

    def authorize(self, value: Mapping[str, Any] | None = None) -> Allowed:
        allowed = super().authorize(value)
        self._scope = allowed.scope
        return allowed

    def get_scope(self) -> Scope:
        """The scope that the policy allowed last. Authorizes the request if needed.

        An action whose event has another value calls `authorize` before.
        """
        if self._scope is None:
            return self.authorize(self.get_policy_value()).scope
        return self._scope

    def get_policy_value(self) -> dict[str, Any]:
        """The value of the action's event, for a row that the path names."""
        return {str(self.lookup_url_kwarg): self.path_id, "metadata": {}}

    @property
    def path_id(self) -> UUID:
        """The id in the path. Raises 422 if it is not a UUID."""
        name = str(self.lookup_url_kwarg)
        return path_uuid(self.kwargs[name], name.removesuffix("_id"))

    def get_object(self) -> M:
        """Find the row. Raises 404 if it is missing, or the caller can't see it."""
        found = self.get_queryset().filter(pk=self.path_id).first()
        if found is None:
            raise self.not_found()
        return found

    def not_found(self) -> errors.NotFound:
        text = self.not_found_texts.get(self.action, self.not_found_text)
        return errors.NotFound(text.format(id=self.path_id))

    def page_of(self, rows: QuerySet[M], query: Mapping[str, Any]) -> list[M]:
        """A page of a search; `get_paginated_response` adds its headers."""
        limit, offset = query["limit"], query["offset"]
        return self.paginator.cut(
            list(rows[offset : offset + limit + 1]), limit, offset
        )


def authenticated_user(scope: MutableMapping[str, Any]) -> User | None:
    """The user of an ASGI request or handshake; see `web.hooks`."""
    # A WebSocket's handshake is a GET, but its ASGI scope has no method.
    caller = authenticate(ASGIRequest({"method": "GET", **scope}, BytesIO()))
    return User(caller.user) if caller else None


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """The 404 of unknown routes; authentication is checked first (401)."""
    try:
        authenticate(request)
    except APIException as exc:
        response = errors.answer(exc.status_code, str(exc.detail))
        if exc.status_code == 401:
            response["WWW-Authenticate"] = "Bearer"
        for name, value in getattr(exc, "headers", {}).items():
            response[name] = value
        return response
    return errors.not_found(request, exception)
