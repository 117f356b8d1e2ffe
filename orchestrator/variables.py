"""Name every variable of the environment that the desk reads.

`.env.example` and `docs/reference/variables.md` are written from this table by `python -m orchestrator.variables`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path


@dataclass(frozen=True)
class Variable:
    group: str
    name: str
    default: str  # as it would be written in `.env`; prose in brackets where it is computed
    meaning: str
    is_secret: bool = False  # may also come from the file that NAME_FILE points to


_ADDRESS = "Address and access"
_STORES = "Database and folders"
_QUEUE = "Queue"
_TIMES = "Durations (seconds)"
_PROVIDERS = "Model providers"
_GATEWAY = "Cache and routing"
_UPLOADS = "Uploads and objects"
_SURVEYS = "Surveys"
_LOGS = "Logs and mode"

VARIABLES = (
    Variable(_ADDRESS, "HOST", "127.0.0.1", "Address that the web process binds."),
    Variable(_ADDRESS, "PORT", "8000", "Port of pages, API and websockets."),
    Variable(_ADDRESS, "TUS_PORT", "1080", "Port of the upload service."),
    Variable(_ADDRESS, "PUBLIC_URL", "(none)", "Scheme and host that clients use, when a proxy stands in front."),
    Variable(_ADDRESS, "ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", "Host names that requests may carry."),
    Variable(_ADDRESS, "API_ACCESS", "(open on loopback, else token)", "`open`: no login; `token`: session or bearer."),
    Variable(_ADDRESS, "ALLOW_OPEN", "no", "`yes` permits API_ACCESS=open on an address that is not loopback."),
    Variable(_ADDRESS, "PUBLIC_FAMILIES", "(none)", "Families of routes that need no token, for instance `surveys`."),
    Variable(_ADDRESS, "TRUSTED_PROXIES", "(none)", "Networks whose forwarded headers are believed."),
    Variable(_ADDRESS, "SECRET_KEY", "(made once in VAR_DIR)", "Signs sessions and queue messages.", is_secret=True),
    Variable(_STORES, "VAR_DIR", "var", "Folder for everything the desk keeps: database, files, keys."),
    Variable(
        _STORES, "WORKSPACE_PATH", "(VAR_DIR/workspace)", "Folder of data sets; paths in requests stay inside it."
    ),
    Variable(_STORES, "DATABASE_URL", "(embedded)", "PostgreSQL 15 or later; unset starts our own.", is_secret=True),
    Variable(
        _STORES,
        "DATABASE_DIRECT_URL",
        "(DATABASE_URL)",
        "The same database past a connection pooler, for LISTEN.",
        is_secret=True,
    ),
    Variable(
        _STORES,
        "POSTGRES_BIN",
        "(of the wheel, else the newest of /usr/lib/postgresql)",
        "Folder with the programs of the embedded PostgreSQL.",
    ),
    Variable(_STORES, "DRAIN_FILE", "(VAR_DIR/run/drain)", "While it exists, workers finish and take nothing new."),
    Variable(_STORES, "DB_POOL_SIZE", "4", "Database connections that the web process keeps."),
    Variable(_STORES, "DB_MAX_OVERFLOW", "0", "Connections beyond DB_POOL_SIZE that may be opened under load."),
    Variable(_STORES, "DB_POOL_TIMEOUT", "30", "Seconds that a request waits for a connection."),
    Variable(_STORES, "DB_POOL_RECYCLE", "3600", "Seconds after which a pooled connection is replaced."),
    Variable(_QUEUE, "MAX_CONCURRENT_JOBS", "2", "Jobs that run at once; changeable live in the admin."),
    Variable(_QUEUE, "MAX_CONCURRENT_HEAVY_JOBS", "1", "The same for native, minutes-long work."),
    Variable(_QUEUE, "MAX_CONCURRENT_ITEMS", "4", "Items of one job that run at once; changeable live."),
    Variable(_QUEUE, "MESSAGE_BROKER_URL", "(none)", "Address that events are posted to."),
    Variable(_QUEUE, "MESSAGE_BROKER_SECRET", "(none)", "Key of the HMAC-SHA256 in `X-Signature`.", is_secret=True),
    Variable(_TIMES, "LEASE_SECONDS", "30", "A lane is free again when it was not renewed for so long."),
    Variable(_TIMES, "SLICE_SECONDS", "5", "Longest run of one slice before it hands its worker back."),
    Variable(_TIMES, "RECONCILE_SECONDS", "60", "Between two repairs of lost work."),
    Variable(_TIMES, "CANARY_SECONDS", "15", "Between two signs of life of a cluster."),
    Variable(_TIMES, "CANARY_STALE_SECONDS", "60", "A cluster without sign of life for so long is restarted."),
    Variable(_TIMES, "WATCHDOG_SECONDS", "5", "Between two looks of the supervisor at the signs of life."),
    Variable(_TIMES, "RESTART_SECONDS", "1", "First pause before a dead process starts again; doubles up to 30."),
    Variable(_TIMES, "DRAIN_SECONDS", "9", "From the wish to stop until whatever remains is killed."),
    Variable(
        _TIMES, "SOCKET_RECHECK_SECONDS", "15", "Between two looks at whether a websocket's user may still listen."
    ),
    Variable(
        _PROVIDERS,
        "DEFAULT_PROVIDER",
        "(first that can answer)",
        "Provider of jobs that name none; else one whose last test failed is the last choice.",
    ),
    Variable(_PROVIDERS, "OPENAI_API_KEY", "(none)", "Makes the provider `openai`.", is_secret=True),
    Variable(_PROVIDERS, "OPENAI_MODEL", "(the provider's)", "Its model."),
    Variable(_PROVIDERS, "ANTHROPIC_API_KEY", "(none)", "Makes the provider `anthropic`.", is_secret=True),
    Variable(_PROVIDERS, "ANTHROPIC_MODEL", "(the provider's)", "Its model."),
    Variable(_PROVIDERS, "GEMINI_API_KEY", "(none)", "Makes the provider `gemini`.", is_secret=True),
    Variable(_PROVIDERS, "GEMINI_MODEL", "(the provider's)", "Its model."),
    Variable(_PROVIDERS, "GROK_API_KEY", "(none)", "Makes the provider `grok`.", is_secret=True),
    Variable(_PROVIDERS, "GROK_MODEL", "(the provider's)", "Its model."),
    Variable(_GATEWAY, "REDIS_URL", "(none)", "Redis or Valkey for the cache; without it the database keeps it.", True),
    Variable(_GATEWAY, "REDIS_DB", "0", "Number of the Redis database."),
    Variable(_GATEWAY, "CACHE_EXPIRE_SECONDS", "3600", "Age at which a cached model answer is forgotten."),
    Variable(_GATEWAY, "DWA_ROUTING_STRATEGY", "load_balanced", "How the gateway chooses among providers."),
    Variable(_UPLOADS, "TUS_ENDPOINT", "(from the request)", "Address of the upload service as clients see it."),
    Variable(_UPLOADS, "UPLOAD_MAX_BYTES", "17179869184", "Largest upload."),
    Variable(_UPLOADS, "UPLOAD_QUOTA_BYTES", "68719476736", "What one user may have in uploads created at `/files/`."),
    Variable(_UPLOADS, "UPLOAD_EXPIRE_SECONDS", "86400", "An unfinished upload without a new byte for so long goes."),
    Variable(_UPLOADS, "UPLOAD_LEASE_SECONDS", "15", "A request that writes and gives no sign for so long is lost."),
    Variable(_UPLOADS, "UPLOAD_YIELD_SECONDS", "5", "Wait for another request to let go of an upload, then 423."),
    Variable(_UPLOADS, "UPLOAD_IDLE_SECONDS", "60", "A request that sends nothing for so long is closed."),
    Variable(_UPLOADS, "TUS_SERVER", "built-in", "`tusd`: a foreign tusd takes the uploads, at TUS_ENDPOINT."),
    Variable(_UPLOADS, "TUSD_HOOK_SECRET", "(none)", "What that tusd must say to be believed.", is_secret=True),
    Variable(_UPLOADS, "LOCAL_S3", "no", "`yes`: an S3 store of our own keeps all files (extra `local-s3`)."),
    Variable(_UPLOADS, "S3_PORT", "8333", "Port of that store on 127.0.0.1."),
    Variable(_UPLOADS, "MINIO_ENDPOINT", "(none)", "S3 store as the desk reaches it; unset keeps files in VAR_DIR."),
    Variable(_UPLOADS, "MINIO_PUBLIC_ENDPOINT", "(MINIO_ENDPOINT)", "The same store as clients reach it."),
    Variable(_UPLOADS, "MINIO_ACCESS_KEY", "(none)", "Access key of the S3 store.", is_secret=True),
    Variable(_UPLOADS, "MINIO_SECRET_KEY", "(none)", "Secret key of the S3 store.", is_secret=True),
    Variable(_UPLOADS, "S3_BUCKET", "uploads", "Bucket in the S3 store."),
    Variable(_UPLOADS, "AWS_S3_ADDRESSING_STYLE", "path", "`path` or `virtual`, as the store wants it."),
    Variable(_UPLOADS, "PRESIGN_SECONDS", "900", "Life of a signed link."),
    Variable(_SURVEYS, "SURVEY_STAGE_SECONDS", "3600", "Longest run of one stage of a survey; at most 21600."),
    Variable(_SURVEYS, "SURVEY_MEMORY_MB", "6000", "Memory that a stage may take; more ends the survey with an error."),
    Variable(_SURVEYS, "SURVEY_THREADS", "(cores)", "Threads of native code in a stage."),
    Variable(_SURVEYS, "SURVEY_TASKS_PER_MINUTE", "10", "Tasks that one client without a login may create or start."),
    Variable(_SURVEYS, "SURVEY_QUERIES_PER_MINUTE", "120", "Times that one client without a login may ask for tasks."),
    Variable(_LOGS, "LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR."),
    Variable(_LOGS, "DEBUG", "no", "Django's debug pages; refused when NODE_ENV=production."),
    Variable(_LOGS, "NODE_ENV", "development", "`production` turns DEBUG off and refuses defaults that are unsafe."),
    Variable(_LOGS, "ENV_FILE", ".env", "File that is read before all others; only the environment can set it."),
)

KNOWN_NAMES = frozenset(variable.name for variable in VARIABLES)


def env_example() -> str:
    """Write `.env.example`: every variable, commented out, with its default."""
    lines = [
        "# Copy to .env and uncomment what you change. The real environment wins over this file.",
        "# A secret may also come from a file: NAME_FILE=/run/secrets/name.",
    ]
    for group, members in _groups():
        lines += ["", f"# --- {group}"]
        for variable in members:
            # Prose in brackets describes a computed default; as a value it would be wrong.
            default = "" if variable.default.startswith("(") else variable.default
            prose = f" Default: {variable.default[1:-1]}." if not default else ""
            lines += [f"# {variable.meaning}{prose}", f"#{variable.name}={default}"]
    return "\n".join(lines) + "\n"


def reference_page() -> str:
    """Write the page of the documentation that lists every variable."""
    lines = [
        "# Variables",
        "",
        "Set in the environment or in `.env` of the project folder; the environment wins. An empty value counts as not",
        "set. A malformed value stops the start in one line that names it; an unknown name in `.env` warns. Variables",
        "marked \\* may also come from a file: `NAME_FILE=/run/secrets/name`.",
    ]
    for group, members in _groups():
        lines += ["", f"## {group}", "", "| Variable | Default | Meaning |", "|---|---|---|"]
        for variable in members:
            mark = " \\*" if variable.is_secret else ""
            default = variable.default[1:-1] if variable.default.startswith("(") else f"`{variable.default}`"
            lines.append(f"| `{variable.name}`{mark} | {default} | {variable.meaning} |")
    return "\n".join(lines) + "\n"


def _groups() -> Iterator[tuple[str, list[Variable]]]:
    for group, members in groupby(VARIABLES, key=lambda variable: variable.group):
        yield group, list(members)


if __name__ == "__main__":
    project = Path(__file__).resolve().parent.parent
    (project / ".env.example").write_text(env_example(), encoding="utf-8")
    (project / "docs" / "reference").mkdir(parents=True, exist_ok=True)
    (project / "docs" / "reference" / "variables.md").write_text(reference_page(), encoding="utf-8")
