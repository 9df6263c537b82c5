"""The ASGI application, for servers that are given its name.

`spool web` serves it; `uvicorn spool.config.asgi:application` does so as well.
"""

import django

from spool.config.env import choose_settings
from spool.config.import_path import keep_users_names_free

keep_users_names_free()
choose_settings()
django.setup()

from spool.programs.web import application as new_application  # noqa: E402

application = new_application()
