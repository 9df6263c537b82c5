if __name__ == "config":  # The package's name in older versions.
    raise SystemExit(
        "spool: `config` is now `spool.config`: use `spool web` instead of uvicorn "
        "config.asgi, `spool worker` and `spool beat` instead of celery -A config, and "
        "`spool manage` instead of DJANGO_SETTINGS_MODULE=config.settings django-admin"
    )
