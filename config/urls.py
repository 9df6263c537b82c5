from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from spool import hooks
from spool.console.overview import overview_view
from spool.console.owners import owner_view
from spool.web.rest import JSONRenderer

hooks.fill()

handler400 = "spool.web.errors.bad_request"
handler403 = "spool.console.refusals.forbidden"
handler404 = "spool.console.refusals.not_found"
handler500 = "spool.web.errors.server_error"

admin.autodiscover()

urlpatterns = [
    path("", include("spool.web.system")),
    path("", include("spool.assistants.urls")),
    # Crons before runs: `crons` in `/runs/crons/…` is not a run's id.
    path("", include("spool.crons.urls")),
    path("", include("spool.protocols.event_streaming.urls")),
    path("", include("spool.runs.urls")),
    path("", include("spool.threads.urls")),
    path("", include("spool.store.urls")),
    path("", include("spool.protocols.a2a.urls")),
    path("", include("spool.usage.urls")),
    path("", include("spool.protocols.mcp.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path(
        "admin/overview/",
        admin.site.admin_view(overview_view),
        name="console-overview",
    ),
    path(
        "admin/owners/<path:owner>/",
        admin.site.admin_view(owner_view),
        name="console-owner",
    ),
    path("admin/", admin.site.urls),
    path(
        "openapi.json",
        SpectacularAPIView.as_view(renderer_classes=[JSONRenderer]),
        name="openapi",
    ),
    path(
        "docs",
        # OPTIONS must not return the page.
        SpectacularSwaggerView.as_view(url_name="openapi", metadata_class=None),
        name="docs",
    ),
]
