from django.apps import AppConfig
from django.core.checks import register

from access.start import find_mistakes


class AccessConfig(AppConfig):
    name = "access"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(find_mistakes)
