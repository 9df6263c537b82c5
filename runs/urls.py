from django.urls import path

from spool.runs.views import RunViewSet, ThreadStreamViewSet

of_thread = "threads/<str:thread_id>/runs"
one = f"{of_thread}/<str:run_id>"

urlpatterns = [
    path("runs", RunViewSet.as_view({"post": "create"})),
    path("runs/stream", RunViewSet.as_view({"post": "stream"})),
    path("runs/wait", RunViewSet.as_view({"post": "wait"})),
    path("runs/batch", RunViewSet.as_view({"post": "batch"})),
    path("runs/cancel", RunViewSet.as_view({"post": "cancel_many"})),
    # For `Location` of stateless streams, and for clients without a thread.
    path("runs/<str:run_id>", RunViewSet.as_view({"get": "retrieve"})),
    path("runs/<str:run_id>/timeline", RunViewSet.as_view({"get": "timeline"})),
    path("runs/<str:run_id>/stream", RunViewSet.as_view({"get": "join_stream"})),
    path(
        "threads/<str:thread_id>/stream",
        ThreadStreamViewSet.as_view({"get": "stream"}),
    ),
    path(of_thread, RunViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{of_thread}/stream", RunViewSet.as_view({"post": "stream"})),
    path(f"{of_thread}/wait", RunViewSet.as_view({"post": "wait"})),
    path(one, RunViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path(f"{one}/timeline", RunViewSet.as_view({"get": "timeline"})),
    path(f"{one}/join", RunViewSet.as_view({"get": "join"})),
    path(f"{one}/stream", RunViewSet.as_view({"get": "join_stream"})),
    path(f"{one}/cancel", RunViewSet.as_view({"post": "cancel"})),
]
