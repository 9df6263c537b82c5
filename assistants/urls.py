from django.urls import path

from spool.assistants.views import AssistantViewSet

one = "assistants/<str:assistant_id>"
view = AssistantViewSet.as_view

urlpatterns = [
    path("assistants", view({"post": "create"})),
    path("assistants/search", view({"post": "search"})),
    path("assistants/count", view({"post": "count"})),
    path(
        one, view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})
    ),
    path(f"{one}/versions", view({"post": "versions"})),
    path(f"{one}/latest", view({"post": "latest"})),
    path(f"{one}/graph", view({"get": "graph"})),
    path(f"{one}/schemas", view({"get": "schemas"})),
    path(f"{one}/subgraphs", view({"get": "subgraphs"})),
    path(f"{one}/subgraphs/<path:namespace>", view({"get": "subgraphs_below"})),
]
