"""Store items for operators, who may change the metadata; owners write the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from spool.console import store_page
from spool.console.lists import MAX_FOUND
from spool.console.markup import as_text, expiry
from spool.console.operations import OperatedAdmin
from spool.console.paging import Search
from spool.console.store_operations import STORE_OPERATIONS
from spool.console.trees import tree
from spool.store.models import StoreItem


def _in(path: str) -> list[Q]:
    """Conditions for items in a namespace and below it."""
    return [Q(path=path), Q(path__gte=f"{path}.", path__lt=f"{path}/")]


def _places(term: str) -> list[Q]:
    """Conditions for items with this owner, namespace or key, or several of these."""
    first, _, rest = term.partition(" ")
    before, _, last = term.rpartition(" ")
    for owner, place in ((first, rest), (last, before)):
        if place and StoreItem.objects.filter(owner=owner).exists():
            found = [*_in(place), Q(key=place), *_keys(place)]
            return [Q(owner=term), *(Q(owner=owner) & one for one in found)]
    return [Q(owner=term), *_in(term), Q(key=term), *_keys(term)]


def _keys(term: str) -> list[Q]:
    """Conditions for items by a namespace and a key, with a space between them."""
    path, _, key = term.partition(" ")
    return [one & Q(key=key) for one in _in(path)] if key else []


class ExpiryFilter(admin.SimpleListFilter):
    title = "expiry"
    parameter_name = "expiry"
    rows = {
        "stays": Q(expires_at=None),
        "ends": Q(expires_at__gt=Now()),
        "expired": Q(expires_at__lte=Now()),
    }

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        return [
            ("stays", "stays"),
            ("ends", "will expire"),
            ("expired", "expired, not yet deleted"),
        ]

    @property
    def is_indexed(self) -> bool:
        return self.value() != "stays"

    def queryset(self, request: HttpRequest, queryset: QuerySet[StoreItem]) -> Any:
        found = self.rows.get(self.value() or "")
        if found is None or not self.is_indexed:
            return queryset.filter(found or Q())
        first = StoreItem.objects.filter(found).order_by("expires_at")
        return queryset.filter(pk__in=first.values("pk")[:MAX_FOUND])


@admin.register(StoreItem)
class StoreItemAdmin(OperatedAdmin):
    list_display = ("key", "path", "its_owner", "updated_at", "expiry")
    list_filter = (ExpiryFilter,)
    # The order of the index, so that a page of a million items reads one page.
    ordering = ("owner", "path", "key")
    sortable_by = ()
    list_defer = ("value", "metadata", "index")
    search_fields = ("owner",)
    search_help_text = "An owner, a namespace with dots, a key: alice users.u1"
    change_form_template = "console/store_item.html"
    operations = STORE_OPERATIONS
    # The list, and each item, have a link to the tree.
    list_before_template = "console/store_link.html"

    def searched(self, term: str) -> Search:
        return Search(_places(" ".join(term.split())))

    # --- The tree, and one item -------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        of_tree = self.admin_site.admin_view(self.tree_view)
        of_value = self.admin_site.admin_view(self.value_view)
        return [
            path("tree/", of_tree, name="store_storeitem_tree"),
            path("<int:key>/value/", of_value, name="store_storeitem_value"),
            *super().get_urls(),
        ]

    def tree_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Store",
            **store_page.figures(request.GET),
        }
        return TemplateResponse(request, "console/store.html", context)

    def value_view(self, request: HttpRequest, key: int) -> HttpResponse:
        item = self.get_object(request, str(key))
        if item is None:
            raise Http404
        if not self.has_view_permission(request, item):
            raise PermissionDenied
        hides = not self.has_act_permission(request)
        return HttpResponse(tree(item.value, hides_secrets=hides))

    def page_context(self, request: HttpRequest, row: StoreItem) -> dict[str, Any]:
        hides = not self.has_act_permission(request)
        return {
            "title": f"Store item {row.key}",
            "subtitle": None,
            "item": row,
            "tree_href": store_page.tree_link(row.owner, row.path),
            "tree": tree(row.value, hides_secrets=hides),
            "text": as_text(row.value, hides_secrets=hides),
            "metadata": as_text(row.metadata, hides_secrets=hides),
        }

    @display(description="expires")
    def expiry(self, item: StoreItem) -> str:
        return expiry(item)
