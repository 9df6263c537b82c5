from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "spool.console"
    default_auto_field = "django.db.models.BigAutoField"
