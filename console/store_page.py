"""The page of the store's tree: its contents and its links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from spool.console import store_tree
from spool.console.store_tree import Branch, Found, Page
from spool.store.index import index_config
from spool.store.services import EmbeddingFailed

NO_OWNER = "(no owner)"


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    href: str
    count: int = 0
    has_more: bool = False


def figures(params: QueryDict) -> dict[str, Any]:
    """The context of `console/store.html`; `params` is the query of its URL."""
    owner, path = params.get("owner"), params.get("path", "")
    search = (owner and path) or owner or ""
    context = {
        "owner": owner,
        "path": path,
        "here": _href(owner=owner, path=path),
        "crumbs": [] if owner is None else _crumbs(owner, path),
        "list_href": f"{reverse('admin:store_storeitem_changelist')}?{urlencode({'q': search})}",
        "has_index": index_config() is not None,
    }
    query = params.get("q", "").strip()
    if owner is not None and query:
        return context | _found(owner, path, query, params)
    return context | _branches(owner, path, params)


def _branches(owner: str | None, path: str, params: QueryDict) -> dict[str, Any]:
    start = params.get("start", "")
    if owner is None:
        branches = store_tree.owners(start)
        links = [_link(one, owner=one.name, path="") for one in branches.rows]
        more = branches.more is not None and _href(start=branches.more)
        return {"branches": Page(links), "branches_more": more}
    branches, items = store_tree.children(owner, path, start), Page[Any]([])
    if path:
        items = store_tree.items(owner, path, params.get("after"))
    here = {"owner": owner, "path": path}
    links = [_link(one, owner=owner, path=one.name) for one in branches.rows]
    return {
        "branches": Page(links),
        "branches_more": branches.more and _href(**here, start=branches.more),
        "items": items,
        "items_more": items.more is not None and _href(**here, after=items.more),
    }


def _found(owner: str, path: str, query: str, params: QueryDict) -> dict[str, Any]:
    by = "meaning" if params.get("by") == "meaning" and index_config() else "text"
    context: dict[str, Any] = {
        "query": query,
        "by": by,
        "max_searched": store_tree.MAX_SEARCHED,
        "max_bytes": store_tree.MAX_SEARCHED_BYTES,
    }
    if by == "meaning":
        try:
            found = store_tree.with_meaning(owner, path, query)
        except EmbeddingFailed as exc:
            return {**context, "found": Page[Found]([]), "error": str(exc.detail)}
        return {**context, "found": found}
    after = (params.get("after_path", ""), params.get("after_key", ""))
    found = store_tree.with_text(owner, path, query, after)
    if found.more:
        last_path, last_key = found.more
        place = {"after_path": last_path, "after_key": last_key}
        context["found_more"] = _href(owner=owner, path=path, q=query, **place)
    return {**context, "found": found}


def _crumbs(owner: str, path: str) -> list[Link]:
    labels = path.split(".") if path else []
    return [
        Link(owner or NO_OWNER, _href(owner=owner)),
        *(
            Link(label, _href(owner=owner, path=".".join(labels[:number])))
            for number, label in enumerate(labels, 1)
        ),
    ]


def _link(branch: Branch, *, owner: str, path: str) -> Link:
    label = branch.label if path else owner or NO_OWNER
    return Link(label, _href(owner=owner, path=path), branch.count, branch.has_more)


def tree_link(owner: str, path: str) -> str:
    """The URL of the tree's page for a namespace of an owner."""
    return _href(owner=owner, path=path)


def _href(**query: str | None) -> str:
    """The URL of the tree's page; `owner=""` stands for items without an owner."""
    given = {k: v for k, v in query.items() if v or (k == "owner" and v is not None)}
    base = reverse("admin:store_storeitem_tree")
    return f"{base}?{urlencode(given)}" if given else base
