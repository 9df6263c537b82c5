from django.urls import path

from spool.protocols.mcp.views import MCPViewSet, resource_metadata

urlpatterns = [
    path("mcp", MCPViewSet.as_view({"post": "message"}), name="mcp"),
    # For clients that only know the URL of `/mcp`; 401 responses name the second path.
    path(".well-known/oauth-protected-resource", resource_metadata),
    path(
        ".well-known/oauth-protected-resource/mcp",
        resource_metadata,
        name="mcp-resource-metadata",
    ),
]
