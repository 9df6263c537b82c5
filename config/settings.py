"""Spool's settings, each read from the environment. See docs/configuration.md."""

from __future__ import annotations

import secrets
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.templatetags.static import static
from kombu import Queue
from psycopg.conninfo import conninfo_to_dict

from spool.config.env import (
    check_jwt,
    check_webhook_secret,
    env_bool,
    env_float,
    env_int,
    env_list,
    env_secret,
    env_str,
    env_url,
    origin_of,
    running_url,
    stop,
)
from spool.config.menu import MENU

VERSION = "0.1.0"
try:
    LANGGRAPH_VERSION = version("langgraph")
except PackageNotFoundError:
    stop("langgraph is not installed: run `pip install -r requirements.txt`")

# The project's langgraph.json, and the folder of Spool's own state.
SPOOL_HOME = Path(env_str("SPOOL_HOME", default=".spool")).resolve()
LANGGRAPH_CONFIG = Path(env_str("LANGGRAPH_CONFIG", default="langgraph.json")).resolve()
HOST = env_str("HOST", default="127.0.0.1")
# Serve all routes below this path; `http.mount_prefix` in langgraph.json overrides it.
MOUNT_PREFIX = env_str("MOUNT_PREFIX")
PORT = env_int("PORT", default=8123, minimum=1, maximum=65535)
# The port on which a worker serves the metrics of its process, if any.
METRICS_PORT = env_int("METRICS_PORT", default=0, maximum=65535)


# --- Access -------------------------------------------------------------------
# How callers authenticate: by `api_key`, `jwt`, or either; if empty, no login is
# required. `auth.path` in langgraph.json overrides it.
AUTH = env_list("SPOOL_AUTH", default=[])
AUTH = [] if AUTH == ["none"] else AUTH
if unknown := set(AUTH) - {"api_key", "jwt"}:
    stop(f"SPOOL_AUTH must be none, api_key or jwt, not {unknown.pop()!r}")
# Tokens are verified with a shared secret, or with keys fetched from a URL (JWKS).
JWT_SECRET = env_secret("SPOOL_JWT_SECRET")
JWT_JWKS_URL = env_str("SPOOL_JWT_JWKS_URL")
JWT_ALGORITHMS = env_list(
    "SPOOL_JWT_ALGORITHMS", default=["RS256", "ES256"] if JWT_JWKS_URL else ["HS256"]
)
JWT_ISSUER = env_str("SPOOL_JWT_ISSUER")
JWT_AUDIENCE = env_list("SPOOL_JWT_AUDIENCE", default=[])
JWT_LEEWAY_SECS = env_float("SPOOL_JWT_LEEWAY_SECS", default=30)
# The claims that hold the owner's name and the token's scopes.
JWT_IDENTITY_CLAIM = env_str("SPOOL_JWT_IDENTITY_CLAIM", default="sub")
JWT_SCOPES_CLAIM = env_str("SPOOL_JWT_SCOPES_CLAIM")
check_jwt(
    wanted="jwt" in AUTH,
    secret=JWT_SECRET,
    jwks_url=JWT_JWKS_URL,
    algorithms=JWT_ALGORITHMS,
    is_addressed=bool(JWT_ISSUER or JWT_AUDIENCE),
)
# Allow requests from other machines although no login is required.
ALLOW_OPEN = env_bool("SPOOL_ALLOW_OPEN", default=False)
# Requests a minute for each key, or each address if no login is required; 0: no limit.
RATE_LIMIT = env_int("SPOOL_RATE_LIMIT", default=0)
# Pending and running runs that one owner may have at once; 0 is no limit.
MAX_RUNS_PER_OWNER = env_int("SPOOL_MAX_RUNS_PER_OWNER", default=0)
# Runs of one owner, and of one graph, that workers execute at once; 0 is no limit. Runs
# above the limit wait. If one backend makes the calls of all of its users,
# `metadata.<key>` names a key of the run's metadata that counts as the owner here.
FAIRNESS_KEY = env_str("SPOOL_FAIRNESS_KEY")
if FAIRNESS_KEY and not FAIRNESS_KEY.startswith("metadata."):
    stop(f"SPOOL_FAIRNESS_KEY must be metadata.<key>, not {FAIRNESS_KEY!r}")
MAX_RUNNING_PER_OWNER = env_int("SPOOL_MAX_RUNNING_PER_OWNER", default=0)
MAX_RUNNING_PER_GRAPH = env_int("SPOOL_MAX_RUNNING_PER_GRAPH", default=0)


# --- Postgres -----------------------------------------------------------------
def _conninfo(url: str) -> dict[str, Any]:
    if not url:
        stop("DATABASE_URL is not set: use `spool serve`, or point it at a Postgres")
    try:
        return conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://"))
    except psycopg.ProgrammingError as exc:
        # A message that quotes the whole URL would show its password.
        reason = "" if url in str(exc) else f": {exc}"
        stop(f"DATABASE_URL is not a Postgres URL{reason}")


# Without these, TCP notices only after a quarter of an hour that a host has vanished,
# and a heartbeat would wait as long. Parameters of the URL override them.
_KEEPALIVES = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
DATABASE_CONNINFO = _KEEPALIVES | _conninfo(
    env_str(
        "DATABASE_URL",
        "DATABASE_URI",
        "POSTGRES_URI",
        "POSTGRES_URI_CUSTOM",
        default=running_url(SPOOL_HOME, "DATABASE_URL"),
    )
)
# Postgres connections that one process may use for its graphs' checkpoints.
CHECKPOINT_POOL_SIZE = env_int("LANGGRAPH_POSTGRES_POOL_MAX_SIZE", default=5, minimum=1)
# Prepared statements save planning; PgBouncer in transaction mode can't use them.
DATABASE_PREPARED_STATEMENTS = env_bool("DATABASE_PREPARED_STATEMENTS", default=True)
WEB_THREADS = env_int("WEB_THREADS", default=8, minimum=1, maximum=256)
# Viewers of streams in one web process. Its limit of open files is set accordingly.
WEB_MAX_VIEWERS = env_int("WEB_MAX_VIEWERS", default=1000, maximum=1_000_000)

_options = {
    key: value
    for key, value in DATABASE_CONNINFO.items()
    if key not in {"dbname", "user", "password", "host", "port"}
}
DATABASES = {
    "default": {
        "ENGINE": "spool.database.postgres",
        "NAME": DATABASE_CONNINFO.get("dbname") or DATABASE_CONNINFO.get("user"),
        "USER": DATABASE_CONNINFO.get("user", ""),
        "PASSWORD": DATABASE_CONNINFO.get("password", ""),
        "HOST": DATABASE_CONNINFO.get("host", ""),
        "PORT": DATABASE_CONNINFO.get("port", ""),
        # One persistent connection per thread: web's thread pool limits their number.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # Only `database.direct` prepares statements. If psycopg prepared any itself, it
        # would deallocate all of them after a rollback.
        "OPTIONS": _options | {"prepare_threshold": None},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis and Celery -----------------------------------------------------------
REDIS_URL = env_str(
    "REDIS_URL",
    "REDIS_URI",
    "REDIS_URI_CUSTOM",
    default=running_url(SPOOL_HOME, "REDIS_URL"),
)
if not REDIS_URL:
    stop("REDIS_URL is not set: use `spool serve`, or point it at a Redis or Valkey")
REDIS_KEY_PREFIX = env_str("REDIS_KEY_PREFIX")
REDIS_MAX_CONNECTIONS = env_int("REDIS_MAX_CONNECTIONS", default=2000, minimum=2)
# A Redis that hangs must not block the web's threads. Failed requests have a fallback:
# the tick replaces a wake-up, and Postgres replaces events.
REDIS_TIMEOUT_SECS = env_float("REDIS_TIMEOUT_SECS", default=2, minimum=0.1)

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # Retry forever.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A message is only a wake-up (the row in Postgres is the run), so Redis need
    # not track unacknowledged messages.
    "ack_emulation": False,
    "global_keyprefix": REDIS_KEY_PREFIX,
    # Kombu has no timeout by default.
    "socket_timeout": REDIS_TIMEOUT_SECS,
    "socket_connect_timeout": REDIS_TIMEOUT_SECS,
    # For new connections, to which `retry=False` of a message does not apply.
    "max_retries": 0,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "spool"
# Runs have a separate queue, so that the tick never waits behind them.
RUNS_QUEUE = "spool.runs"
# Workers of the first version don't know tasks that were added later. During an upgrade
# they would take such tasks from their queues, and drop them.
NEW_TASKS_QUEUE = "spool.2"
FIRST_TASKS = {
    *("crons.tasks.tick", "crons.tasks.sweep", "store.tasks.sweep"),
    *("threads.tasks.sweep", "runs.tasks.tick", "runs.tasks.sweep"),
    *("runs.tasks.execute_run", "runs.tasks.deliver_webhooks"),
}


def queue_of(task: str) -> str:
    """The queue for messages of this task."""
    if task == "runs.tasks.execute_run":
        return RUNS_QUEUE
    return CELERY_TASK_DEFAULT_QUEUE if task in FIRST_TASKS else NEW_TASKS_QUEUE


def _route(name: str, *_: Any, **__: Any) -> dict[str, str]:
    return {"queue": queue_of(name)}


CELERY_TASK_ROUTES = [_route]
CELERY_TASK_QUEUES = [
    Queue(name) for name in (CELERY_TASK_DEFAULT_QUEUE, RUNS_QUEUE, NEW_TASKS_QUEUE)
]
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "spool.beat_scheduler.RetryingScheduler"
# How long beat may sleep before it reads the schedule again, in seconds.
CELERY_BEAT_MAX_LOOP_INTERVAL = 1

# --- Runs -----------------------------------------------------------------------
# The deployed revision, recorded with runs. Default: a hash of each graph's files.
REVISION = env_str("SPOOL_REVISION")
# A custom price list, instead of genai-prices; see `usage.prices`.
PRICES_FILE = env_str("SPOOL_PRICES_FILE")
# How long the record of a run is kept.
RUN_RECORD_TTL_DAYS = env_float("RUN_RECORD_TTL_DAYS", default=7, minimum=0.01)
N_JOBS_PER_WORKER = env_int("N_JOBS_PER_WORKER", default=10, maximum=1000)
# How many runs of a worker may wait for other runs, which get their slots meanwhile.
MAX_WAITING_RUNS = env_int("SPOOL_MAX_WAITING_RUNS", default=20, maximum=1000)
# Four more threads, for the tick and webhooks, which runs never take.
CELERY_WORKER_CONCURRENCY = N_JOBS_PER_WORKER + MAX_WAITING_RUNS + 4
BG_JOB_TIMEOUT_SECS = env_float("BG_JOB_TIMEOUT_SECS", default=3600)
BG_JOB_ISOLATED_LOOPS = env_bool("BG_JOB_ISOLATED_LOOPS", default=False)
BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS = env_int(
    "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS", default=180, maximum=3600
)
BG_JOB_MAX_ATTEMPTS = env_int("BG_JOB_MAX_ATTEMPTS", default=3, minimum=1)
# A worker sends a heartbeat every HEARTBEAT seconds. After LEASE seconds without one,
# it has lost its runs.
WORKER_HEARTBEAT_SECS = env_float("WORKER_HEARTBEAT_SECS", default=2, minimum=0.1)
WORKER_LEASE_SECS = env_float("WORKER_LEASE_SECS", default=8, minimum=0.5)
if WORKER_LEASE_SECS < 2 * WORKER_HEARTBEAT_SECS:
    stop("WORKER_LEASE_SECS must be at least twice WORKER_HEARTBEAT_SECS")
RESUMABLE_STREAM_TTL_SECONDS = env_int("RESUMABLE_STREAM_TTL_SECONDS", default=120)
# The events, and their bytes, that Redis keeps per thread for viewers that reconnect.
STREAM_MAX_EVENTS = env_int("STREAM_MAX_EVENTS", default=20_000, minimum=100)
STREAM_MAX_BYTES = env_int("STREAM_MAX_BYTES", default=32 * 2**20, minimum=2**16)
# Bytes of one run's events that a worker buffers, in case Redis loses them.
STREAM_BUFFER_BYTES = env_int("STREAM_BUFFER_BYTES", default=8 * 2**20, minimum=2**16)
# Interval of the heartbeats in both kinds of stream, in seconds.
STREAM_HEARTBEAT_SECS = env_float("STREAM_HEARTBEAT_SECS", default=5, minimum=0.1)
# Event streaming: the largest message of a WebSocket, its subscriptions, and a caller's
# connections (WebSockets and streams) to one web process; 0 is no limit.
EVENT_STREAM_MAX_MESSAGE_BYTES = env_int(
    "EVENT_STREAM_MAX_MESSAGE_BYTES", default=4 * 2**20, minimum=1024
)
EVENT_STREAM_MAX_SUBSCRIPTIONS = env_int(
    "EVENT_STREAM_MAX_SUBSCRIPTIONS", default=256, minimum=1
)
EVENT_STREAM_MAX_CONNECTIONS = env_int("EVENT_STREAM_MAX_CONNECTIONS", default=0)

# --- Webhooks -------------------------------------------------------------------
# Signs webhooks; see `webhooks.deliveries.signature_headers`.
WEBHOOK_SECRET = env_secret("WEBHOOK_SECRET")
check_webhook_secret(WEBHOOK_SECRET)
WEBHOOK_TIMEOUT_SECS = env_float("WEBHOOK_TIMEOUT_SECS", default=10, minimum=0.1)
# Private networks, such as `10.0.0.0/8`, that webhooks may call.
WEBHOOK_ALLOWED_NETWORKS = env_list("WEBHOOK_ALLOWED_NETWORKS", default=[])
# How long the record of a delivery is kept.
WEBHOOK_DELIVERIES_TTL_DAYS = env_float(
    "WEBHOOK_DELIVERIES_TTL_DAYS", default=7, minimum=0.01
)

# --- Protocols --------------------------------------------------------------------
# How long to keep a thread that was created by an MCP call and is interrupted.
MCP_INTERRUPT_TTL_MINUTES = env_float(
    "MCP_INTERRUPT_TTL_MINUTES", default=60, minimum=0.01
)

# --- Crons ----------------------------------------------------------------------
# How long the record of a cron's firings is kept.
CRON_FIRINGS_TTL_DAYS = env_float("CRON_FIRINGS_TTL_DAYS", default=30, minimum=0.01)

# --- Django ---------------------------------------------------------------------
DEBUG = False
REQUEST_MAX_BYTES = env_int("REQUEST_MAX_BYTES", default=25 * 2**20, minimum=1024)
# Timeouts for receiving a request's head, and then its body.
REQUEST_HEAD_TIMEOUT_SECS = env_float(
    "REQUEST_HEAD_TIMEOUT_SECS", default=15, minimum=0.1
)
REQUEST_BODY_TIMEOUT_SECS = env_float(
    "REQUEST_BODY_TIMEOUT_SECS", default=120, minimum=0.1
)
# The number of values (of objects and lists) in a body, and their depth.
REQUEST_MAX_VALUES = env_int("REQUEST_MAX_VALUES", default=500_000, minimum=100)
REQUEST_MAX_DEPTH = env_int("REQUEST_MAX_DEPTH", default=200, minimum=10, maximum=200)
# The metadata of assistants, threads, runs, crons and items.
METADATA_MAX_BYTES = env_int("METADATA_MAX_BYTES", default=64 * 2**10, minimum=256)
# The namespace and key of a store item, which are one entry of an index.
STORE_NAMESPACE_MAX_BYTES = env_int(
    "STORE_NAMESPACE_MAX_BYTES", default=2000, minimum=16, maximum=2000
)
STORE_KEY_MAX_BYTES = env_int(
    "STORE_KEY_MAX_BYTES", default=2000, minimum=16, maximum=2000
)
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # `web.handler` limits the body.


def _secret_key() -> str:
    """The given key, or one generated once for this machine and kept in SPOOL_HOME."""
    if given := env_secret("DJANGO_SECRET_KEY"):
        return given
    path = SPOOL_HOME / "secret_key"
    try:
        SPOOL_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    except OSError as exc:
        stop(f"SPOOL_HOME: cannot write {path}: {exc.strerror}")
    return path.read_text(encoding="utf-8").strip() or stop(f"{path} is empty")


SECRET_KEY = _secret_key()
# Earlier keys, to read values that were signed or encrypted with them.
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS", default=[])
# Origins of web pages that may call the API; `http.cors` in langgraph.json overrides
# it. Empty: all origins, or only this machine's if no login is required.
CORS_ALLOW_ORIGINS = env_list("CORS_ALLOW_ORIGINS", default=[])
# Accepted host names; `*` for all. A server that is open and bound to loopback accepts
# only the named ones and this machine's own.
NAMED_HOSTS = env_list("ALLOWED_HOSTS", default=[])
ALLOWED_HOSTS = NAMED_HOSTS or ["*"]
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", default=[])
# The server's URL behind a proxy; `https://` means that the proxy terminates TLS.
PUBLIC_URL = env_url("SPOOL_PUBLIC_URL")
if PUBLIC_URL:
    CSRF_TRUSTED_ORIGINS += [origin_of(PUBLIC_URL)]
if PUBLIC_URL.startswith("https:"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
SILENCED_SYSTEM_CHECKS = [
    # Clickjacking and CSRF: `web.middleware` applies Django's own middleware.
    "security.W002",
    "security.W003",
    # HSTS for subdomains, which may not be Spool's, and preloading.
    "security.W005",
    "security.W021",
    # The proxy redirects to TLS; probes and internal calls have no TLS.
    "security.W008",
]
ROOT_URLCONF = "spool.config.urls"
ASGI_APPLICATION = "spool.config.asgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
APPEND_SLASH = False
SESSION_COOKIE_NAME = "spool_session"
CSRF_COOKIE_NAME = "spool_csrf"
# Unfold's login form does not say where to go next.
LOGIN_REDIRECT_URL = "admin:index"
STATIC_URL = "/static/"

INSTALLED_APPS = [
    # First, since its templates replace a few of unfold's.
    "spool.console",
    "unfold",
    "unfold.contrib.filters",
    # Its pages are loaded with the routes, and so only by web processes.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "spool",
    "spool.access",
    "spool.assistants",
    "spool.threads",
    "spool.webhooks",
    "spool.usage",
    "spool.runs",
    "spool.store",
    "spool.crons",
]
MIDDLEWARE_OF_API = [
    "spool.web.request_ids.NameRequests",
    "spool.web.caching.PrivateAnswers",
    "spool.access.limits.ClientLimits",
    "spool.web.metrics.CountRequests",
    "spool.web.cors.CORSMiddleware",
    "spool.web.middleware.BoundBodies",
    "spool.web.middleware.RedirectTrailingSlashes",
    "spool.web.http_options.DisabledRoutes",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
MIDDLEWARE = [
    *MIDDLEWARE_OF_API,
    # The middleware of pages for browsers. `web.handler` leaves it out for the API.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "spool.access.limits.LimitLogins",
    "spool.web.middleware.SessionMiddleware",
    "spool.web.middleware.CsrfViewMiddleware",
    "spool.web.middleware.AuthenticationMiddleware",
    "spool.web.middleware.MessageMiddleware",
    "spool.web.middleware.XFrameOptionsMiddleware",
    "spool.web.middleware.ContentSecurityPolicy",
]
# Serve the packages' static files in place: no collectstatic step is needed.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["spool.web.rest.JSONRenderer"],
    # OPTIONS is 405: REST framework's metadata is not part of the API.
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_PARSER_CLASSES": ["spool.web.rest.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["spool.access.authentication.Authentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_THROTTLE_CLASSES": ["spool.access.limits.RateLimit"],
    "DEFAULT_SCHEMA_CLASS": "spool.web.openapi.Schema",
    "EXCEPTION_HANDLER": "spool.web.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "spool.web.rest.JSONNegotiation",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Spool",
    "DESCRIPTION": "The LangGraph Agent Server API, on your own machines.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "DEFAULT_GENERATOR_CLASS": "spool.web.openapi.Generator",
    # `name_security` describes authentication.
    "AUTHENTICATION_WHITELIST": [],
    "ENUM_NAME_OVERRIDES": {
        "RunStatus": "spool.runs.models.Run.Status",
        "ThreadStatus": "spool.threads.models.Thread.Status",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "spool.access.openapi.name_security",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
# The icon of the admin's pages. Browsers request it as /favicon.ico on other pages.
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='rebeccapurple'>"
    "<path d='M2 1h12v3H2zm2 4h8v1H4zm0 2h8v1H4zm0 2h8v1H4zm-2 3h12v3H2z'/></svg>"
)
UNFOLD = {
    "SITE_TITLE": "Spool",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": f"data:image/svg+xml,{quote(ICON)}",
        }
    ],
    "SITE_HEADER": "Spool",
    "SIDEBAR": {"navigation": MENU},
    "STYLES": [lambda request: static("console/console.css")],
    "SCRIPTS": [
        lambda request: static("console/console.js"),
        lambda request: static("console/keyboard.js"),
    ],
    "DASHBOARD_CALLBACK": "spool.console.overview.add_range",
}
# A setting would be overridden by Django's formats of the language.
FORMAT_MODULE_PATH = "spool.config.formats"

LOG_LEVEL = env_str("LOG_LEVEL", default="INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    stop(f"LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not {LOG_LEVEL}")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "spool.telemetry.logs.JSON"
            if env_bool("LOG_JSON", default=False)
            else "spool.telemetry.logs.Text"
        }
    },
    "filters": {"outages": {"()": "spool.telemetry.outages.QuietOutages"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["outages"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # Celery would log each message, and beat sends some every second.
    "loggers": {name: {"level": "WARNING"} for name in ("httpx", "celery", "kombu")},
}
