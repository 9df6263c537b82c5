from django.urls import path

from spool.crons.views import CronViewSet

urlpatterns = [
    path("runs/crons", CronViewSet.as_view({"post": "create"})),
    path("threads/<str:thread_id>/runs/crons", CronViewSet.as_view({"post": "create"})),
    path("runs/crons/search", CronViewSet.as_view({"post": "search"})),
    path("runs/crons/count", CronViewSet.as_view({"post": "count"})),
    path("runs/crons/preview", CronViewSet.as_view({"post": "preview"})),
    path(
        "runs/crons/<str:cron_id>",
        CronViewSet.as_view(
            {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path("runs/crons/<str:cron_id>/firings", CronViewSet.as_view({"get": "firings"})),
    path("runs/crons/<str:cron_id>/run", CronViewSet.as_view({"post": "run"})),
]
