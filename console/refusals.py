"""The console's pages for refused requests; elsewhere refusals are JSON."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from spool.access import views
from spool.web import errors


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_page(request):
        return errors.forbidden(request, exception)
    return _page(
        request,
        403,
        "You may not see this",
        "Your groups don't allow this page, or what you wanted to do. A user of the "
        "group admin can add you to another one.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _is_page(request):
        return views.not_found(request, exception)
    return _page(
        request,
        404,
        "There is nothing here",
        "The link's target may have been deleted, or its record may have expired.",
    )


def _is_page(request: HttpRequest) -> bool:
    """Whether it is a request for a console page, by a user who may see any of them."""
    is_console = request.path.startswith(reverse("admin:index"))
    user = getattr(request, "user", None)
    is_html = request.accepts("text/html") and "HX-Request" not in request.headers
    return is_console and is_html and user is not None and user.is_staff


def _page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponseBase:
    context = {**admin.site.each_context(request), "title": title, "text": text}
    page = TemplateResponse(request, "console/refusal.html", context, status=status)
    return page.render()
