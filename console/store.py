"""Store items for operators, who may edit the metadata; owners write the rest."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import and_
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from spool.console import store_page
from spool.console.lists import BigTableAdmin
from spool.console.markup import as_text, expiry
from spool.console.trees import tree
from spool.store.models import StoreItem


def _named(term: str) -> Q:
    below = Q(path__gte=f"{term}.", path__lt=f"{term}/")
    return Q(owner=term) | Q(key=term) | Q(path=term) | below


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

    def queryset(self, request: HttpRequest, queryset: QuerySet[StoreItem]) -> Any:
        return queryset.filter(self.rows.get(self.value() or "", Q()))


@admin.register(StoreItem)
class StoreItemAdmin(BigTableAdmin):
    list_display = ("key", "path", "owner", "updated_at", "expiry")
    list_filter = (ExpiryFilter,)
    # The order of the index, so that a page of a million items reads one page.
    ordering = ("owner", "path", "key")
    search_fields = ("owner",)
    search_help_text = "An owner, a namespace with dots, a key: alice users.u1"
    readonly_fields = (
        "owner",
        "namespace",
        "key",
        "readable_value",
        "pretty_value",
        "created_at",
        "updated_at",
        "ttl_minutes",
        "expiry",
    )
    fields = (*readonly_fields, "metadata")
    # The list, and each item, lead to the tree.
    list_before_template = "console/store_link.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("store.change_storeitem"))

    def save_model(
        self, request: HttpRequest, obj: StoreItem, form: Any, change: bool
    ) -> None:
        # Only the metadata: the owner may have changed the item in the meantime.
        obj.save(update_fields=["metadata"])

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StoreItem], search_term: str
    ) -> tuple[QuerySet[StoreItem], bool]:
        """A namespace matches all items below it. All words of a search must match."""
        if not (term := search_term.strip()):
            return queryset, False
        found, words = _named(term), term.split()
        if len(words) > 1:
            found |= reduce(and_, map(_named, words))
        return queryset.filter(found), False

    def get_deleted_objects(
        self, objs: Iterable[StoreItem], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        items = [str(item) for item in objs]
        denied = set() if self.has_delete_permission(request) else {"store item"}
        return items, {"store items": len(items)}, denied, []

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
        return HttpResponse(tree(item.value))

    def namespace(self, item: StoreItem) -> SafeString:
        href = store_page.tree_link(item.owner, item.path)
        return format_html('<a class="console-link" href="{}">{}</a>', href, item.path)

    @display(description="value")
    def readable_value(self, item: StoreItem) -> SafeString:
        return format_html('<div class="console">{}</div>', tree(item.value))

    @display(description="value as JSON")
    def pretty_value(self, item: StoreItem) -> SafeString:
        return as_text(item.value)

    @display(description="expires", ordering="expires_at")
    def expiry(self, item: StoreItem) -> str:
        return expiry(item)
