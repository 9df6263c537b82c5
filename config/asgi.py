"""The ASGI application.

`spool web` serves it, and so does `uvicorn spool.config.asgi:application`.
"""

import django

from spool.config.env import choose_settings
from spool.config.import_path import keep_users_names_free

keep_users_names_free()
choose_settings()
django.setup()

from spool.programs.web import application as new_application  # noqa: E402

application = new_application()
