from django.urls import path

from spool.store.views import StoreViewSet

items = StoreViewSet.as_view(
    {"put": "put_item", "get": "get_item", "delete": "delete_item"}
)

urlpatterns = [
    path("store/items", items),
    path("store/items/search", StoreViewSet.as_view({"post": "search"})),
    path("store/namespaces", StoreViewSet.as_view({"post": "list_namespaces"})),
]
