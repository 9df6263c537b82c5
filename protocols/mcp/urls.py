from django.urls import path

from spool.protocols.mcp.views import MCPViewSet, resource_metadata

urlpatterns = [
    path("mcp", MCPViewSet.as_view({"post": "message"}), name="mcp"),
    # Where clients look that know the URL of `/mcp` alone, and where 401 sends them.
    path(".well-known/oauth-protected-resource", resource_metadata),
    path(
        ".well-known/oauth-protected-resource/mcp",
        resource_metadata,
        name="mcp-resource-metadata",
    ),
]
