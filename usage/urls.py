from django.urls import path

from spool.usage.views import UsageViewSet

urlpatterns = [path("usage", UsageViewSet.as_view({"get": "list"}))]
