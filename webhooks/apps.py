from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "spool.webhooks"
    default_auto_field = "django.db.models.BigAutoField"
