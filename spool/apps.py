from django.apps import AppConfig

from spool.database import probes


class SpoolConfig(AppConfig):
    name = "spool"
    label = "spool"

    def ready(self) -> None:
        probes.fill()
