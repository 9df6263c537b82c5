from django.urls import path

from spool.protocols.event_streaming.views import EventStreamingViewSet

urlpatterns = [
    path(
        "threads/<str:thread_id>/commands",
        EventStreamingViewSet.as_view({"post": "command"}),
    ),
    path(
        "threads/<str:thread_id>/stream/events",
        EventStreamingViewSet.as_view({"post": "stream"}),
    ),
]
