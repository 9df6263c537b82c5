"""The admin's menu, with the pages that operators use most first."""

from __future__ import annotations

from typing import Any

from django.urls import reverse_lazy


def _entry(
    title: str, model: str, icon: str, page: str = "changelist"
) -> dict[str, Any]:
    app, _, name = model.rpartition("_")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model}_{page}"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{name}"),
    }


MENU = [
    {
        "items": [
            {
                "title": "Overview",
                "icon": "monitoring",
                "link": reverse_lazy("admin:index"),
            },
            _entry("Runs", "runs_run", "play_circle"),
            _entry("Threads", "threads_thread", "forum"),
            _entry("Assistants", "assistants_assistant", "smart_toy"),
            _entry("Crons", "crons_cron", "schedule"),
            _entry("Store", "store_storeitem", "database", page="tree"),
        ]
    },
    {
        "title": "Operations",
        "separator": True,
        "items": [
            _entry("Workers", "runs_worker", "memory"),
            _entry("Webhook deliveries", "webhooks_webhookdelivery", "webhook"),
            _entry("Periodic tasks", "django_celery_beat_periodictask", "event_repeat"),
        ],
    },
    {
        "title": "Access",
        "separator": True,
        "items": [
            _entry("API keys", "access_apikey", "key"),
            _entry("Users of the admin", "auth_user", "group"),
            _entry("Log", "admin_logentry", "history"),
        ],
    },
]
