"""System checks for combinations of settings that cannot work."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

_MIN_KEY_LENGTH = 32
_PUBLISHED_KEYS = ("django-insecure", "change", "tests-only", "secret", "example")
_PUBLISHED_PASSWORDS = frozenset({"", "postgres", "password", "minioadmin", "changeme", "change-me", "secret", "admin"})


@register(Tags.security)
def open_access_is_local(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.API_ACCESS != "open" or settings.BOUND_TO_LOOPBACK or settings.ALLOW_OPEN:
        return []
    return [
        Error(
            f"API_ACCESS=open on {settings.HOST}: everybody who reaches this address would be an operator.",
            hint="Leave API_ACCESS out, bind HOST to 127.0.0.1, or say ALLOW_OPEN=yes if the network is yours alone.",
            id="desk.E001",
        )
    ]


@register
def queue_retries_after_its_timeout(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for name, cluster in _clusters().items():
        if cluster["retry"] <= cluster["timeout"]:
            messages.append(
                Error(
                    f"Cluster {name}: retry {cluster['retry']} is not longer than timeout {cluster['timeout']}.",
                    hint="A task that still runs would be started a second time; raise retry.",
                    id="desk.E002",
                )
            )
        if cluster["timeout"] % cluster["guard_cycle"]:
            messages.append(
                Error(
                    f"Cluster {name}: guard_cycle {cluster['guard_cycle']} does not divide timeout "
                    f"{cluster['timeout']}.",
                    hint="Django-Q counts down by guard_cycle and looks for exactly 0; choose 0.5.",
                    id="desk.E003",
                )
            )
    return messages


@register(Tags.security)
def production_has_its_own_secrets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.PRODUCTION:
        return []
    found = []
    key = settings.SECRET_KEY
    if len(key) < _MIN_KEY_LENGTH or key.lower().startswith(_PUBLISHED_KEYS):
        found.append("SECRET_KEY")
    database: dict[str, Any] = settings.DATABASES["default"]
    # A socket in the file system needs no password.
    if database.get("HOST") and not database["HOST"].startswith("/") and _is_published(database.get("PASSWORD")):
        found.append("the password in DATABASE_URL")
    store: dict[str, Any] = settings.STORAGES["default"]
    if settings.MINIO_ENDPOINT and _is_published(store.get("OPTIONS", {}).get("secret_key")):
        found.append("MINIO_SECRET_KEY")
    return [
        Error(
            f"NODE_ENV=production with a published or missing secret: {name}.",
            hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="desk.E004",
        )
        for name in found
    ]


@register
def channel_layer_crosses_processes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"Channel layer {name!r} lives in the memory of one process; messages of workers would not arrive.",
            hint="Leave CHANNEL_LAYERS empty (the desk brings its own way) or use Redis.",
            id="desk.E005",
        )
        for name, layer in settings.CHANNEL_LAYERS.items()
        if str(layer.get("BACKEND", "")).endswith("InMemoryChannelLayer")
    ]


@register
def leases_outlive_slices(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if settings.LEASE_SECONDS <= settings.SLICE_SECONDS:
        messages.append(
            checks.Warning(
                f"LEASE_SECONDS {settings.LEASE_SECONDS} is not longer than SLICE_SECONDS {settings.SLICE_SECONDS}.",
                hint="A slow database could lose a lane in the middle of a slice; give leases several slices.",
                id="desk.W006",
            )
        )
    if settings.CANARY_STALE_SECONDS <= settings.CANARY_SECONDS:
        messages.append(
            Error(
                f"CANARY_STALE_SECONDS {settings.CANARY_STALE_SECONDS} is not longer than CANARY_SECONDS "
                f"{settings.CANARY_SECONDS}: every cluster would look dead between two signs of life.",
                hint="Allow at least three signs of life.",
                id="desk.E007",
            )
        )
    return messages


@register
def broker_speaks_http(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    parts = urlsplit(settings.MESSAGE_BROKER_URL)
    if not settings.MESSAGE_BROKER_URL or (parts.scheme in {"http", "https"} and parts.hostname):
        return []
    return [
        Error(
            "MESSAGE_BROKER_URL is not an http or https address: no event could be delivered.",
            hint="Give the whole address that events are posted to, for instance https://broker.example/events.",
            id="desk.E008",
        )
    ]


def _clusters() -> dict[str, dict[str, Any]]:
    conf: dict[str, Any] = settings.Q_CLUSTER
    base = {name: value for name, value in conf.items() if name != "ALT_CLUSTERS"}
    return {"default": base} | {name: base | changes for name, changes in conf.get("ALT_CLUSTERS", {}).items()}


def _is_published(password: str | None) -> bool:
    return (password or "").lower() in _PUBLISHED_PASSWORDS
