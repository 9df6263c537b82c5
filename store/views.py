"""The store over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.views import ScopedViewSet
from spool.config.env import FALSE, TRUE
from spool.store.items import NO_EXTRAS, ApiExtras
from spool.store.namespaces import (
    BadLabel,
    EmptyNamespace,
    PlaceTooLong,
    ReservedNamespace,
    check_labels,
    check_writable,
)
from spool.store.serializers import (
    ITEM_OR_NULL,
    DeleteItem,
    FoundItemsBody,
    GetQuery,
    ListNamespaces,
    NamespacesBody,
    NoKeyBody,
    PutItem,
    SearchItems,
    found_json,
    item_json,
)
from spool.store.services import perform
from spool.store.statements import TooManyConditions, UnsupportedOperator
from spool.store.ttl import ttl_config
from spool.web.answers import INVALID, error
from spool.web.bodies import valid
from spool.web.errors import BadRequest, Unprocessable
from spool.web.rest import json_response, no_content

ERRORS = {
    400: error("An empty or reserved namespace, or an unknown operator"),
    422: INVALID,
    (422, "text/plain"): OpenApiResponse(str, description="A label that is not valid"),
}


class KeyRequired(BadRequest):
    default_detail = "Key is required"
    # The official server uses this name for the store only.
    body_key = "error"


class InvalidLabel(Unprocessable):
    # The official server sends plain text for this endpoint only.
    is_plain_text = True


class StoreViewSet(ScopedViewSet):
    """Long-term memory: the items that graphs see as their `store`."""

    events = {
        "put_item": "store.put",
        "get_item": "store.get",
        "delete_item": "store.delete",
        "search": "store.search",
        "list_namespaces": "store.list_namespaces",
    }

    @extend_schema(request=PutItem, responses={204: None, **ERRORS})
    def put_item(self, request: Request) -> HttpResponse:
        body = _valid(PutItem, request.data)
        # A policy may prepend labels, so validate the client's labels first.
        _checked(check_writable, body["namespace"])
        ttl = body["ttl"] if "ttl" in body else ttl_config().get("default_ttl")
        value = {
            "namespace": body["namespace"],
            "key": body["key"],
            "value": body["value"],
            "index": body["index"],
            "ttl": ttl,
        }
        self._perform(
            value,
            lambda value: PutOp(
                _namespace(value),
                value["key"],
                value["value"],
                value["index"],
                value["ttl"],
            ),
            ApiExtras(body.get("metadata")),
        )
        return no_content()

    @extend_schema(
        parameters=[GetQuery],
        responses={
            200: ITEM_OR_NULL,
            **ERRORS,
            400: OpenApiResponse(NoKeyBody, description="No key"),
        },
    )
    def get_item(self, request: Request) -> HttpResponse:
        key = request.query_params.get("key")
        if key is None:
            raise KeyRequired
        given = request.query_params.get("namespace")
        value: dict[str, Any] = {
            "namespace": tuple(given.split(".")) if given else (),
            "key": key,
            "refresh_ttl": _refresh(_query_boolean(request, "refresh_ttl")),
        }
        item = self._perform(
            value,
            lambda value: GetOp(_namespace(value), value["key"], value["refresh_ttl"]),
        )
        return json_response(item and item_json(item))

    @extend_schema(request=DeleteItem, responses={204: None, **ERRORS})
    def delete_item(self, request: Request) -> Response:
        value = dict(_valid(DeleteItem, request.data))
        self._perform(value, lambda value: PutOp(_namespace(value), value["key"], None))
        return Response(status=204)

    @extend_schema(request=SearchItems, responses={200: FoundItemsBody, **ERRORS})
    def search(self, request: Request) -> Response:
        body = _valid(SearchItems, request.data)
        value = {
            "namespace": body["namespace_prefix"] or (),
            "filter": body["filter"],
            "limit": body["limit"],
            "offset": body["offset"],
            "query": body["query"],
            "refresh_ttl": _refresh(body["refresh_ttl"]),
        }
        found = self._perform(
            value,
            lambda value: SearchOp(
                _namespace(value),
                value["filter"],
                value["limit"],
                value["offset"],
                value["query"],
                value["refresh_ttl"],
            ),
            ApiExtras(body["metadata"]),
        )
        return Response({"items": [found_json(item) for item in found]})

    @extend_schema(request=ListNamespaces, responses={200: NamespacesBody, **ERRORS})
    def list_namespaces(self, request: Request) -> Response:
        body = _valid(ListNamespaces, request.data)
        value = {
            "namespace": body["prefix"],
            "suffix": body["suffix"],
            "max_depth": body["max_depth"],
            "limit": body["limit"],
            "offset": body["offset"],
        }
        found = self._perform(
            value,
            lambda value: ListNamespacesOp(
                _conditions(_namespace(value), value["suffix"] or ()),
                value["max_depth"],
                value["limit"],
                value["offset"],
            ),
        )
        return Response({"namespaces": found})

    def _perform(
        self,
        value: Mapping[str, Any],
        operation: Callable[[Mapping[str, Any]], Op],
        extras: ApiExtras = NO_EXTRAS,
    ) -> Any:
        """Ask the policy, then perform the operation that `value` describes.

        Handlers may rewrite the namespace and any other part of `value`, such as a
        search's filter. All changes are used.
        """
        _checked(check_labels, _namespace(value))
        allowed = self.authorize(value)
        op = operation(allowed.value)
        return _checked(perform, allowed.scope.owner, op, extras)


def _namespace(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Validate the namespace that the policy returned: it may be the operator's code."""
    namespace = value["namespace"]
    if namespace is not None and not isinstance(namespace, (list, tuple)):
        raise TypeError(f"a namespace must be a list of labels, not {namespace!r}")
    return tuple(namespace or ())


def _conditions(
    prefix: tuple[str, ...], suffix: tuple[str, ...]
) -> tuple[MatchCondition, ...]:
    both = (MatchCondition("prefix", prefix), MatchCondition("suffix", suffix))
    return tuple(condition for condition in both if condition.path)


def _checked(call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except BadLabel as exc:
        raise InvalidLabel(str(exc)) from None
    except (PlaceTooLong, TooManyConditions) as exc:
        raise Unprocessable(str(exc)) from None
    except (EmptyNamespace, ReservedNamespace, UnsupportedOperator) as exc:
        raise BadRequest(str(exc)) from None


def _refresh(body: bool | None) -> bool:
    return ttl_config().get("refresh_on_read", True) if body is None else body


def _query_boolean(request: Request, name: str) -> bool | None:
    given = request.query_params.get(name, "").lower()
    if given in ("", "null"):
        return None
    if given not in TRUE | FALSE:
        raise Unprocessable(f"{name}: must be true or false")
    return given in TRUE


def _valid(serializer: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise Unprocessable("the body must be a JSON object")
    return valid(serializer, data)
