from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.rest import JSONRenderer

handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "access.views.not_found"
handler500 = "config.errors.server_error"

admin.autodiscover()

urlpatterns = [
    path("", include("config.system")),
    path("", include("assistants.urls")),
    # Crons before runs: `/runs/crons/…` must not be read as a run's id.
    path("", include("crons.urls")),
    path("", include("runs.urls")),
    path("", include("threads.urls")),
    path("", include("store.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path(
        "openapi.json",
        SpectacularAPIView.as_view(renderer_classes=[JSONRenderer]),
        name="openapi",
    ),
    path("docs", SpectacularSwaggerView.as_view(url_name="openapi"), name="docs"),
]
