"""Settings of the desk. Every value that may differ between machines comes from the environment through env.py."""

import os
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from orchestrator import env, vardir, weed
from orchestrator.navigation import NAVIGATION

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# --- Which process this is
IN_CLUSTER = "qcluster" in sys.argv
IN_WEB = "daphne" in Path(sys.argv[0]).name
IN_TUS = "uvicorn" in Path(sys.argv[0]).name
IN_SUPERVISOR = sys.argv[1:2] == ["up"]

# --- Mode and address
PRODUCTION = env.choice("NODE_ENV", ["development", "production", "test"], "development") == "production"
DEBUG = env.boolean("DEBUG", False)
if PRODUCTION and DEBUG:
    raise env.InvalidVariable("DEBUG", "must be off when NODE_ENV=production.")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, 1, 65535)
TUS_PORT = env.integer("TUS_PORT", 1080, 1, 65535)
PUBLIC_URL = env.text("PUBLIC_URL").rstrip("/")
LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", LOOPBACK_HOSTS)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


API_ACCESS = env.choice("API_ACCESS", ["open", "token"], "open" if _is_loopback(HOST) else "token")
ALLOW_OPEN = env.boolean("ALLOW_OPEN", False)
BOUND_TO_LOOPBACK = _is_loopback(HOST)
PUBLIC_FAMILIES = env.words("PUBLIC_FAMILIES")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []

# --- Folders and keys
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var"))).resolve()
WORKSPACE_PATH = Path(env.text("WORKSPACE_PATH", str(VAR_DIR / "workspace"))).resolve()
DRAIN_FILE = Path(env.text("DRAIN_FILE", str(VAR_DIR / "run" / "drain")))


def _secret_key() -> str:
    key = env.secret("SECRET_KEY")
    if key is None:
        if PRODUCTION:
            raise env.InvalidVariable("SECRET_KEY", "must be set when NODE_ENV=production.")
        # Made once for this VAR_DIR: django-q2 throws away tasks that were signed with another key.
        key = _kept(vardir.secret_key)
    return key


def _kept(key_of: Callable[[Path], str]) -> str:
    try:
        return key_of(VAR_DIR)
    except OSError as error:
        raise env.InvalidVariable("VAR_DIR", f"{VAR_DIR} cannot be used: {error.strerror}.") from None


SECRET_KEY = _secret_key()

# --- Apps
INSTALLED_APPS = [
    # It is an app for the sake of `runserver` alone, and loading Twisted would delay every other command.
    *(["daphne"] if "runserver" in sys.argv else []),
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "orchestrator.apps.DeskAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "django_q",
    "storages",
    "orchestrator.apps.OrchestratorConfig",
    "jobs.apps.JobsConfig",
    "captioning.apps.CaptioningConfig",
    "uploads.apps.UploadsConfig",
    "volcal.apps.VolcalConfig",
]
# The upload service shows no page, answers no API and takes no file for pictures; these were a third of its memory.
# What is left out is named, not what is taken: an app that waits for uploads hears of them there.
_NOT_FOR_UPLOADS = {
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "orchestrator.apps.DeskAdminConfig",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "captioning.apps.CaptioningConfig",
}
if IN_SUPERVISOR:  # it only starts the others: 55 MB instead of 93 while the desk runs, and a second less before that
    INSTALLED_APPS = ["orchestrator.apps.OrchestratorConfig"]
elif IN_TUS:
    INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in _NOT_FOR_UPLOADS]

MIDDLEWARE = [
    "orchestrator.requestids.RequestIdMiddleware",
    "orchestrator.metrics.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orchestrator.paths.SlashMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "orchestrator.access.OpenAccessMiddleware",
    "orchestrator.access.LoginMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "orchestrator.zones.ZoneMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "orchestrator.problems.ProblemMiddleware",
    "orchestrator.parsers.StorableMiddleware",
]
APPEND_SLASH = False  # SlashMiddleware serves both forms; a redirect would lose a POST's body

ROOT_URLCONF = "orchestrator.urls"
ASGI_APPLICATION = "orchestrator.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

# --- Database
IS_EMBEDDED = env.secret("DATABASE_URL") is None  # the supervisor brings its own PostgreSQL
POSTGRES_BIN = env.text("POSTGRES_BIN")
DATABASE_URL = env.secret("DATABASE_URL") or vardir.database_url(VAR_DIR)
DATABASE_DIRECT_URL = env.secret("DATABASE_DIRECT_URL") or DATABASE_URL
DATABASES = {"default": env.database(DATABASE_URL) | {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True}}
# Only servers pool: a pool that lives through django-q2's forks breaks (docs/explanation/queue.md).
if IN_WEB or IN_TUS:
    DATABASES["default"]["OPTIONS"]["pool"] = {  # type: ignore[index]
        "min_size": 1,
        # The upload service has eight threads that ask the database (uploads/threads.py), four of them rarely.
        "max_size": 8 if IN_TUS else env.integer("DB_POOL_SIZE", 4, 1) + env.integer("DB_MAX_OVERFLOW", 0, 0),
        "timeout": env.seconds("DB_POOL_TIMEOUT", 30),
        "max_lifetime": env.seconds("DB_POOL_RECYCLE", 3600),
    }
if IN_TUS:  # a client that sends gigabytes shall hear soon that they cannot be counted, and the pool try again soon
    DATABASES["default"]["OPTIONS"]["pool"] |= {"timeout": 5.0, "reconnect_timeout": 5.0}  # type: ignore[index]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Queue
MAX_CONCURRENT_JOBS = env.integer("MAX_CONCURRENT_JOBS", 2, 0, 64)
MAX_CONCURRENT_HEAVY_JOBS = env.integer("MAX_CONCURRENT_HEAVY_JOBS", 1, 0, 64)
MAX_CONCURRENT_ITEMS = env.integer("MAX_CONCURRENT_ITEMS", 4, 1, 64)
LEASE_SECONDS = env.seconds("LEASE_SECONDS", 30)
SLICE_SECONDS = env.seconds("SLICE_SECONDS", 5)
RECONCILE_SECONDS = env.seconds("RECONCILE_SECONDS", 60)
CANARY_SECONDS = env.seconds("CANARY_SECONDS", 15)
CANARY_STALE_SECONDS = env.seconds("CANARY_STALE_SECONDS", 60)
WATCHDOG_SECONDS = env.seconds("WATCHDOG_SECONDS", 5)
RESTART_SECONDS = env.seconds("RESTART_SECONDS", 1)
DRAIN_SECONDS = env.seconds("DRAIN_SECONDS", 9)
SOCKET_RECHECK_SECONDS = env.seconds("SOCKET_RECHECK_SECONDS", 15)
MESSAGE_BROKER_URL = env.text("MESSAGE_BROKER_URL")
MESSAGE_BROKER_SECRET = env.secret("MESSAGE_BROKER_SECRET")

CORES = len(os.sched_getaffinity(0))
ITEM_DEADLINE_SECONDS = 600  # the longest that any pipeline may ask for one item on the light clusters
_LIGHT = {"timeout": ITEM_DEADLINE_SECONDS + 60, "retry": ITEM_DEADLINE_SECONDS + 120}
_HEAVY = {"timeout": 6 * 3600 + 60, "retry": 6 * 3600 + 120}
Q_CLUSTER = {
    "name": "default",
    "orm": "default",
    "broker_class": "jobs.taskbroker.TaskBroker",
    "workers": 8,
    "bulk": 1,
    "queue_limit": 8,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 500,
    "poll": 0.2,
    "guard_cycle": 0.5,  # the hard timeout only fires when this divides it
    "max_rss": 600_000,  # kilobytes
    **_LIGHT,
    "ALT_CLUSTERS": {
        "vision": {"workers": CORES, "queue_limit": CORES, "max_rss": 1_500_000, **_LIGHT},
        "heavy": {"workers": 2, "queue_limit": 2, "recycle": 20, "max_rss": 2_000_000, **_HEAVY},
    },
}

# --- Surveys
SURVEY_ENGINE = [sys.executable, "-m", "volcal.engine"]
SURVEY_STAGE_SECONDS = env.integer("SURVEY_STAGE_SECONDS", 3600, 1, 6 * 3600)
SURVEY_MEMORY_MB = env.integer("SURVEY_MEMORY_MB", 6000, 500)
SURVEY_THREADS = env.integer("SURVEY_THREADS", CORES, 1, 64)
SURVEY_TASKS_PER_MINUTE = env.integer("SURVEY_TASKS_PER_MINUTE", 10, 1)
SURVEY_QUERIES_PER_MINUTE = env.integer("SURVEY_QUERIES_PER_MINUTE", 120, 1)

# --- Providers
DEFAULT_PROVIDER = env.text("DEFAULT_PROVIDER")
PROVIDER_KEYS = {
    name: (env.secret(f"{name.upper()}_API_KEY"), env.text(f"{name.upper()}_MODEL"))
    for name in ("openai", "anthropic", "gemini", "grok")
}

# --- Files
MINIO_ENDPOINT = env.text("MINIO_ENDPOINT").rstrip("/")
MINIO_PUBLIC_ENDPOINT = env.text("MINIO_PUBLIC_ENDPOINT").rstrip("/")
_STORE_KEYS = env.secret("MINIO_ACCESS_KEY"), env.secret("MINIO_SECRET_KEY")
LOCAL_S3 = env.boolean("LOCAL_S3", False)
S3_PORT = env.integer("S3_PORT", 8333, 1, 65535)
if LOCAL_S3:
    if MINIO_ENDPOINT:
        raise env.InvalidVariable("MINIO_ENDPOINT", "must be left out with LOCAL_S3=yes, which brings its own store.")
    if not BOUND_TO_LOOPBACK and not MINIO_PUBLIC_ENDPOINT:
        raise env.InvalidVariable(
            "MINIO_PUBLIC_ENDPOINT",
            f"must be set with LOCAL_S3=yes on {HOST}: the store listens on 127.0.0.1:{S3_PORT}, so a proxy has to "
            "stand before it, and links name that.",
        )
    MINIO_ENDPOINT = f"http://{weed.HOST}:{S3_PORT}"
    _STORE_KEYS = weed.ACCESS_KEY, _kept(vardir.store_key)
PRESIGN_SECONDS = env.integer("PRESIGN_SECONDS", 900, 1)
MEDIA_ROOT = VAR_DIR / "media"
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]


def _store(**patience: Any) -> dict[str, Any]:
    """Describe the store of files. patience: what botocore's Config takes of timeouts and retries."""
    if not MINIO_ENDPOINT:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    from botocore.config import Config

    addressing = env.choice("AWS_S3_ADDRESSING_STYLE", ["path", "virtual", "auto"], "path")
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "endpoint_url": MINIO_ENDPOINT,
            "access_key": _STORE_KEYS[0],
            "secret_key": _STORE_KEYS[1],
            "bucket_name": env.text("S3_BUCKET", "uploads"),
            "file_overwrite": True,
            "querystring_expire": PRESIGN_SECONDS,
            "client_config": Config(signature_version="s3v4", s3={"addressing_style": addressing}, **patience),
        },
    }


STORAGES = {
    # A store that hangs is given up after 40 seconds, sooner than most clients and proxies give us up; botocore's own
    # patience is 5 minutes.
    "default": _store(connect_timeout=10, read_timeout=20, retries={"total_max_attempts": 2, "mode": "standard"}),
    # The same store for those who ask whether it is well.
    "probe": _store(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1}),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True

# --- Uploads
TUS_ENDPOINT = env.text("TUS_ENDPOINT").rstrip("/")
TUS_SERVER = env.choice("TUS_SERVER", ["built-in", "tusd"], "built-in")
TUSD_HOOK_SECRET = env.secret("TUSD_HOOK_SECRET")
if TUS_SERVER == "tusd":
    if not TUS_ENDPOINT:
        raise env.InvalidVariable("TUS_ENDPOINT", "must be set when TUS_SERVER=tusd: the address of that tusd.")
    if not TUSD_HOOK_SECRET:
        raise env.InvalidVariable(
            "TUSD_HOOK_SECRET", "must be set when TUS_SERVER=tusd: nobody else may call its hook."
        )
UPLOAD_MAX_BYTES = env.integer("UPLOAD_MAX_BYTES", 16 * 2**30, 1)
UPLOAD_QUOTA_BYTES = env.integer("UPLOAD_QUOTA_BYTES", 64 * 2**30, 1)
UPLOAD_EXPIRE_SECONDS = env.seconds("UPLOAD_EXPIRE_SECONDS", 24 * 3600)
UPLOAD_LEASE_SECONDS = env.seconds("UPLOAD_LEASE_SECONDS", 15)
UPLOAD_YIELD_SECONDS = env.seconds("UPLOAD_YIELD_SECONDS", 5)
UPLOAD_IDLE_SECONDS = env.seconds("UPLOAD_IDLE_SECONDS", 60)
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 1000
IMAGE_MAX_BYTES = 100 * 1024 * 1024
IMAGE_MAX_PIXELS = 120_000_000

# --- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["orchestrator.access.DeskAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["orchestrator.access.HasAccess"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["orchestrator.parsers.LenientJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "orchestrator.openapi.DeskSchema",
    "EXCEPTION_HANDLER": "orchestrator.problems.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
    "URL_FORMAT_OVERRIDE": None,  # `?format=` names the format of an import
    "DEFAULT_METADATA_CLASS": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Job desk",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    # Choices stay where they are used: several fields are called `status`, each with its own.
    "POSTPROCESSING_HOOKS": ["orchestrator.openapi.add_refusals"],
}

# --- People and security
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
_HTTPS = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = _HTTPS
CSRF_COOKIE_SECURE = _HTTPS
SECURE_SSL_REDIRECT = False  # the proxy redirects; a health check inside must not be
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _HTTPS
SECURE_HSTS_PRELOAD = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # SECURE_SSL_REDIRECT, see above


def _names() -> list[str]:
    """Write ALLOWED_HOSTS as a policy names hosts: `.example.org` means every name below it."""
    return [f"*{name}" if name.startswith(".") else name for name in ALLOWED_HOSTS]


# Pages send uploads to the service's own port, and show what a store of its own origin keeps. A policy cannot name an
# IPv6 address; browsers complain of it on every page.
_TUS_ORIGINS = (
    [TUS_ENDPOINT.removesuffix("/files")]
    if TUS_ENDPOINT
    else [f"http://{host}:{TUS_PORT}" for host in _names() if not host.startswith("[")]
)
_STORE_ORIGINS = [MINIO_PUBLIC_ENDPOINT or MINIO_ENDPOINT] if MINIO_ENDPOINT else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:", *_STORE_ORIGINS],
        "connect-src": [SELF, f"ws://{HOST}:{PORT}", *_TUS_ORIGINS, *_STORE_ORIGINS],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
# The admin skin runs Alpine, which evaluates expressions; still no inline script (orchestrator/administration.py).
ADMIN_CONTENT_SECURITY_POLICY = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}

# --- Live
CHANNEL_LAYERS: dict[str, dict[str, object]] = {}  # fan-out is our own LISTEN bridge (jobs/live.py)
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- Language and time
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- Logs
LOG_LEVEL = env.choice("LOG_LEVEL", ["DEBUG", "INFO", "WARNING", "ERROR"], "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "orchestrator.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "daphne.http_protocol": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
        "django-q": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
    },
}

UNFOLD = {
    "SITE_TITLE": "Job desk",
    "SITE_HEADER": "Job desk",
    "SITE_SUBHEADER": "Administration",
    "SITE_URL": "/",
    "SITE_SYMBOL": "monitoring",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"/{STATIC_URL}desk/favicon.svg"}],
    "SHOW_HISTORY": True,
    "STYLES": [f"/{STATIC_URL}desk/admin.css"],
    "SCRIPTS": [f"/{STATIC_URL}desk/admin.js"],
    "DASHBOARD_CALLBACK": "orchestrator.dashboard.fill",
    "COLORS": {
        # The accent of the desk (static/desk/tokens.css).
        "primary": {
            "50": "#eff6ff",
            "100": "#dbeafe",
            "200": "#bfdbfe",
            "300": "#93c5fd",
            "400": "#60a5fa",
            "500": "#3b82f6",
            "600": "#2563eb",
            "700": "#1d4ed8",
            "800": "#1e40af",
            "900": "#1e3a8a",
            "950": "#172554",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": NAVIGATION,
    },
}
