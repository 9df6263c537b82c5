from django.urls import path

from spool.threads.state_views import ThreadStateViewSet
from spool.threads.views import ThreadViewSet

one = "threads/<str:thread_id>"
thread = ThreadViewSet.as_view(
    {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
)
state = ThreadStateViewSet

urlpatterns = [
    path("threads", ThreadViewSet.as_view({"post": "create"})),
    path("threads/search", ThreadViewSet.as_view({"post": "search"})),
    path("threads/count", ThreadViewSet.as_view({"post": "count"})),
    path("threads/prune", ThreadViewSet.as_view({"post": "prune"})),
    path(one, thread),
    path(f"{one}/copy", ThreadViewSet.as_view({"post": "copy"})),
    path(f"{one}/storage", ThreadViewSet.as_view({"get": "storage"})),
    path(f"{one}/state", state.as_view({"get": "retrieve", "post": "update"})),
    path(f"{one}/state/checkpoint", state.as_view({"post": "from_checkpoint"})),
    path(f"{one}/state/<str:checkpoint_id>", state.as_view({"get": "at_checkpoint"})),
    path(f"{one}/history", state.as_view({"get": "history", "post": "history"})),
]
