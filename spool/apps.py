from django.apps import AppConfig


class SpoolConfig(AppConfig):
    name = "spool"
    label = "spool"
