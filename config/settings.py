"""Every setting of Spool, each from the environment. See docs/configuration.md."""

from __future__ import annotations

import secrets
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
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

# What is served, and where our own state lives.
SPOOL_HOME = Path(env_str("SPOOL_HOME", default=".spool")).resolve()
LANGGRAPH_CONFIG = Path(env_str("LANGGRAPH_CONFIG", default="langgraph.json")).resolve()
HOST = env_str("HOST", default="127.0.0.1")
# All routes below this path; `http.mount_prefix` in langgraph.json goes before it.
MOUNT_PREFIX = env_str("MOUNT_PREFIX")
PORT = env_int("PORT", default=8123, least=1, most=65535)


# --- Access -------------------------------------------------------------------
# Who may call the API: holders of an `api_key`, of a `jwt`, or of either; with neither,
# everybody. `auth.path` in langgraph.json takes its place.
AUTH = env_list("SPOOL_AUTH", default=[])
AUTH = [] if AUTH == ["none"] else AUTH
if unknown := set(AUTH) - {"api_key", "jwt"}:
    stop(f"SPOOL_AUTH must be none, api_key or jwt, not {unknown.pop()!r}")
# Tokens are checked with a shared secret, or with keys fetched from a URL (JWKS).
JWT_SECRET = env_secret("SPOOL_JWT_SECRET")
JWT_JWKS_URL = env_str("SPOOL_JWT_JWKS_URL")
JWT_ALGORITHMS = env_list(
    "SPOOL_JWT_ALGORITHMS", default=["RS256", "ES256"] if JWT_JWKS_URL else ["HS256"]
)
JWT_ISSUER = env_str("SPOOL_JWT_ISSUER")
JWT_AUDIENCE = env_list("SPOOL_JWT_AUDIENCE", default=[])
JWT_LEEWAY_SECS = env_float("SPOOL_JWT_LEEWAY_SECS", default=30)
# Which claim is the owner's name, and which one lists what the bearer may do.
JWT_IDENTITY_CLAIM = env_str("SPOOL_JWT_IDENTITY_CLAIM", default="sub")
JWT_SCOPES_CLAIM = env_str("SPOOL_JWT_SCOPES_CLAIM")
check_jwt(
    wanted="jwt" in AUTH,
    secret=JWT_SECRET,
    jwks_url=JWT_JWKS_URL,
    algorithms=JWT_ALGORITHMS,
    is_addressed=bool(JWT_ISSUER or JWT_AUDIENCE),
)
# Nobody has to log in, and others than this machine may ask: only if said so by name.
ALLOW_OPEN = env_bool("SPOOL_ALLOW_OPEN", default=False)
# Requests a minute of one key, or one address where nobody logs in; 0 is no limit.
RATE_LIMIT = env_int("SPOOL_RATE_LIMIT", default=0)
# Runs that one owner may have waiting and running at once; 0 is no limit.
MAX_RUNS_PER_OWNER = env_int("SPOOL_MAX_RUNS_PER_OWNER", default=0)
# Runs of one owner, and of one graph, that workers execute at once; 0 is no limit. What
# is over it waits. What counts as an owner here is the key of a run's metadata that
# `metadata.<key>` names, where a backend calls for all of its users.
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
        # What quotes all of it quotes its password.
        reason = "" if url in str(exc) else f": {exc}"
        stop(f"DATABASE_URL is not a Postgres URL{reason}")


# A host that vanishes says nothing. TCP left alone waits for a quarter of an hour, and
# so would a heartbeat. What the URL says goes before.
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
# How many Postgres connections one process may hold for its graphs' checkpoints.
CHECKPOINT_POOL_SIZE = env_int("LANGGRAPH_POSTGRES_POOL_MAX_SIZE", default=5, least=1)
# Prepared statements save planning; PgBouncer in transaction mode can't have them.
DATABASE_PREPARED_STATEMENTS = env_bool("DATABASE_PREPARED_STATEMENTS", default=True)
WEB_THREADS = env_int("WEB_THREADS", default=8, least=1, most=256)
# Viewers of streams that one web process is to hold: its limit of open files.
WEB_MAX_VIEWERS = env_int("WEB_MAX_VIEWERS", default=1000, most=1_000_000)

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
        # One lasting connection a thread: the web's thread pool bounds their number.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # Only what `database.prepared` executes is prepared, and so too large a number.
        "OPTIONS": _options
        | {"prepare_threshold": 2**31 - 1 if DATABASE_PREPARED_STATEMENTS else None},
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
REDIS_MAX_CONNECTIONS = env_int("REDIS_MAX_CONNECTIONS", default=2000, least=2)
# A Redis that hangs must not take the web's threads with it: what is asked of it in vain
# is made up for (a wake-up by the tick, events by what Postgres knows).
REDIS_TIMEOUT_SECS = env_float("REDIS_TIMEOUT_SECS", default=2, least=0.1)

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # For as long as it takes.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A message is only a wake-up (the row in Postgres is the run), so Redis needs
    # no bookkeeping of messages that are being worked on.
    "ack_emulation": False,
    "global_keyprefix": REDIS_KEY_PREFIX,
    # Kombu would wait for ever.
    "socket_timeout": REDIS_TIMEOUT_SECS,
    "socket_connect_timeout": REDIS_TIMEOUT_SECS,
    # Of a new connection, which `retry=False` of a message says nothing about.
    "max_retries": 0,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "spool"
# Runs have a queue of their own, so that the tick never stands behind them.
RUNS_QUEUE = "spool.runs"
# Workers of the first version don't know the tasks that came after it. They would take
# them from their queues during an upgrade, and drop them.
NEW_TASKS_QUEUE = "spool.2"
FIRST_TASKS = {
    *("crons.tasks.tick", "crons.tasks.sweep", "store.tasks.sweep"),
    *("threads.tasks.sweep", "runs.tasks.tick", "runs.tasks.sweep"),
    *("runs.tasks.execute_run", "runs.tasks.deliver_webhooks"),
}


def queue_of(task: str) -> str:
    """Which queue messages for this task go to."""
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
# How long beat may sleep before it looks at the schedule again, in seconds.
CELERY_BEAT_MAX_LOOP_INTERVAL = 1

# --- Runs -----------------------------------------------------------------------
# Names what is deployed, in the record of runs; else a hash of each graph's files does.
REVISION = env_str("SPOOL_REVISION")
# A price list of one's own, instead of genai-prices; see `usage.prices`.
PRICES_FILE = env_str("SPOOL_PRICES_FILE")
# How long it can be told what happened in a run.
RUN_RECORD_TTL_DAYS = env_float("RUN_RECORD_TTL_DAYS", default=7, least=0.01)
N_JOBS_PER_WORKER = env_int("N_JOBS_PER_WORKER", default=10, most=1000)
# Threads for the tick and webhooks come on top: runs never take them.
CELERY_WORKER_CONCURRENCY = N_JOBS_PER_WORKER + 4
BG_JOB_TIMEOUT_SECS = env_float("BG_JOB_TIMEOUT_SECS", default=3600)
BG_JOB_ISOLATED_LOOPS = env_bool("BG_JOB_ISOLATED_LOOPS", default=False)
BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS = env_int(
    "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS", default=180, most=3600
)
BG_JOB_MAX_ATTEMPTS = env_int("BG_JOB_MAX_ATTEMPTS", default=3, least=1)
# A worker says that it is alive every HEARTBEAT seconds; silent for LEASE seconds,
# it has lost its runs.
WORKER_HEARTBEAT_SECS = env_float("WORKER_HEARTBEAT_SECS", default=2, least=0.1)
WORKER_LEASE_SECS = env_float("WORKER_LEASE_SECS", default=8, least=0.5)
if WORKER_LEASE_SECS < 2 * WORKER_HEARTBEAT_SECS:
    stop("WORKER_LEASE_SECS must be at least twice WORKER_HEARTBEAT_SECS")
RESUMABLE_STREAM_TTL_SECONDS = env_int("RESUMABLE_STREAM_TTL_SECONDS", default=120)
# Events, and their bytes, that Redis keeps of one thread for viewers who come back.
STREAM_MAX_EVENTS = env_int("STREAM_MAX_EVENTS", default=20_000, least=100)
STREAM_MAX_BYTES = env_int("STREAM_MAX_BYTES", default=32 * 2**20, least=2**16)
# Bytes that a worker keeps of one run's events, should Redis lose them.
STREAM_BUFFER_BYTES = env_int("STREAM_BUFFER_BYTES", default=8 * 2**20, least=2**16)
# Both kinds of stream say that they are alive this often, in seconds.
STREAM_HEARTBEAT_SECS = env_float("STREAM_HEARTBEAT_SECS", default=5, least=0.1)
# Event streaming: the largest message of a WebSocket, the subscriptions of one, and the
# connections (WebSockets and streams) of a caller to one web process; 0: any number.
EVENT_STREAM_MAX_MESSAGE_BYTES = env_int(
    "EVENT_STREAM_MAX_MESSAGE_BYTES", default=4 * 2**20, least=1024
)
EVENT_STREAM_MAX_SUBSCRIPTIONS = env_int(
    "EVENT_STREAM_MAX_SUBSCRIPTIONS", default=256, least=1
)
EVENT_STREAM_MAX_CONNECTIONS = env_int("EVENT_STREAM_MAX_CONNECTIONS", default=0)

# --- Webhooks -------------------------------------------------------------------
# Signs what is sent; see `webhooks.deliveries.signature_headers`.
WEBHOOK_SECRET = env_secret("WEBHOOK_SECRET")
check_webhook_secret(WEBHOOK_SECRET)
WEBHOOK_TIMEOUT_SECS = env_float("WEBHOOK_TIMEOUT_SECS", default=10, least=0.1)
# Private networks, as `10.0.0.0/8`, whose addresses clients may have called.
WEBHOOK_ALLOWED_NETWORKS = env_list("WEBHOOK_ALLOWED_NETWORKS", default=[])
# How long the record of a delivery is kept.
WEBHOOK_DELIVERIES_TTL_DAYS = env_float(
    "WEBHOOK_DELIVERIES_TTL_DAYS", default=7, least=0.01
)

# --- Protocols --------------------------------------------------------------------
# How long a thread is kept that was made by an MCP call and waits for an answer.
MCP_INTERRUPT_TTL_MINUTES = env_float(
    "MCP_INTERRUPT_TTL_MINUTES", default=60, least=0.01
)

# --- Crons ----------------------------------------------------------------------
# How long the record of a cron's firings is kept.
CRON_FIRINGS_TTL_DAYS = env_float("CRON_FIRINGS_TTL_DAYS", default=30, least=0.01)

# --- Django ---------------------------------------------------------------------
DEBUG = False
REQUEST_MAX_BYTES = env_int("REQUEST_MAX_BYTES", default=25 * 2**20, least=1024)
# How long a request's head may take to arrive, and then its body.
REQUEST_HEAD_TIMEOUT_SECS = env_float(
    "REQUEST_HEAD_TIMEOUT_SECS", default=15, least=0.1
)
REQUEST_BODY_TIMEOUT_SECS = env_float(
    "REQUEST_BODY_TIMEOUT_SECS", default=120, least=0.1
)
# How many values (of objects and lists) a body may hold, and how deep they may lie.
REQUEST_MAX_VALUES = env_int("REQUEST_MAX_VALUES", default=500_000, least=100)
REQUEST_MAX_DEPTH = env_int("REQUEST_MAX_DEPTH", default=200, least=10, most=200)
# What clients attach to assistants, threads, runs, crons and items.
METADATA_MAX_BYTES = env_int("METADATA_MAX_BYTES", default=64 * 2**10, least=256)
# Of an item's place in the store, which is one entry of an index.
STORE_NAMESPACE_MAX_BYTES = env_int(
    "STORE_NAMESPACE_MAX_BYTES", default=2000, least=16, most=2000
)
STORE_KEY_MAX_BYTES = env_int("STORE_KEY_MAX_BYTES", default=2000, least=16, most=2000)
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # `web.handler` has bounded the body already.


def _secret_key() -> str:
    """The given key, or one made once for this machine and kept in SPOOL_HOME."""
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
# Earlier keys, with which what they signed or encrypted can still be read.
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS", default=[])
# Whose web pages may call the API; `http.cors` in langgraph.json goes before it. Empty:
# all, or those of this machine where nobody has to log in.
CORS_ALLOW_ORIGINS = env_list("CORS_ALLOW_ORIGINS", default=[])
# Host names that are answered; `*` for all. A server that is open and bound to loopback
# takes only what is named, and this machine's own.
NAMED_HOSTS = env_list("ALLOWED_HOSTS", default=[])
ALLOWED_HOSTS = NAMED_HOSTS or ["*"]
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", default=[])
# Where clients find the server, behind a proxy: `https://` says that it ends TLS.
PUBLIC_URL = env_url("SPOOL_PUBLIC_URL")
if PUBLIC_URL:
    CSRF_TRUSTED_ORIGINS += [origin_of(PUBLIC_URL)]
if PUBLIC_URL.startswith("https:"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
SILENCED_SYSTEM_CHECKS = [
    # Clickjacking and CSRF: the middleware of `web.middleware` is Django's own.
    "security.W002",
    "security.W003",
    # HSTS for subdomains, which are not ours; and its list in browsers.
    "security.W005",
    "security.W021",
    # The proxy redirects: probes and calls inside come without TLS.
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
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # Its pages are loaded with the routes, by web processes alone.
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
    "spool.console",
]
MIDDLEWARE = [
    "spool.web.request_ids.NameRequests",
    "spool.web.caching.PrivateAnswers",
    "spool.access.limits.TellLimits",
    "spool.web.metrics.CountRequests",
    "spool.web.cors.CORSMiddleware",
    "spool.web.middleware.BoundBodies",
    "spool.web.middleware.RedirectTrailingSlashes",
    "spool.web.http_options.DisabledRoutes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "spool.access.limits.LimitLogins",
    "spool.web.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "spool.web.middleware.CsrfViewMiddleware",
    "spool.web.middleware.AuthenticationMiddleware",
    "spool.web.middleware.MessageMiddleware",
    "spool.web.middleware.XFrameOptionsMiddleware",
    "spool.web.middleware.ContentSecurityPolicy",
]
# The packages' own files are served as they lie: no collectstatic step to forget.
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
    # OPTIONS is 405: what REST framework says of a view is not part of the API.
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_PARSER_CLASSES": ["spool.web.rest.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["spool.access.authentication.Authentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_THROTTLE_CLASSES": ["spool.access.limits.RateLimit"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
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
    # `name_security` says who has to log in.
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
# A thread on its spool. Without one, browsers ask for /favicon.ico.
_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='rebeccapurple'>"
    "<path d='M2 1h12v3H2zm2 4h8v1H4zm0 2h8v1H4zm0 2h8v1H4zm-2 3h12v3H2z'/></svg>"
)
UNFOLD = {
    "SITE_TITLE": "Spool",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": f"data:image/svg+xml,{quote(_ICON)}",
        }
    ],
    "SITE_HEADER": "Spool",
    "SIDEBAR": {"navigation": MENU},
    "DASHBOARD_CALLBACK": "spool.console.dashboard.add_figures",
}
# Django's own formats of a language would go before a setting.
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
    # Celery would say so of each message, and beat sends some every second.
    "loggers": {name: {"level": "WARNING"} for name in ("httpx", "celery", "kombu")},
}
