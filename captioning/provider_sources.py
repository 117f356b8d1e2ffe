"""Providers that come from outside the desk: local vision, keys in the environment, provider.config.toml."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from orchestrator import env
from orchestrator.problems import Problem

from . import provider_forms, throttle
from .models import Provider, ProviderKind

logger = logging.getLogger(__name__)

LOCAL_VISION = "local-vision"
CONFIG_NAME = "provider.config.toml"
# All four speak the OpenAI wire format at these addresses; the models are only where nothing else is said.
_CLOUDS: dict[str, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "gpt-4o-mini"),
    "anthropic": ("https://api.anthropic.com/v1", "claude-haiku-4-5"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta", "gemini-2.5-flash"),
    "grok": ("https://api.x.ai/v1", "grok-4"),
}


class ConfigBroken(Problem):
    """provider.config.toml cannot be used"""


@dataclass(frozen=True)
class Source:
    """One provider as configured outside; what is None is left alone in a row that exists."""

    name: str
    kind: str
    environment: str
    base_url: str = ""
    api_key: str | None = None
    default_model: str = ""
    models: tuple[tuple[str, bool], ...] = ()  # name, is_enabled
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def digest(self) -> str:
        # Keyed, since it covers a secret.
        return salted_hmac("captioning.provider_sources", json.dumps(asdict(self))).hexdigest()


def load() -> list[str]:
    """Bring provider rows up to what is configured; returns the names that changed.

    A source that has not changed since it was last applied changes nothing, so edits made here stay.
    """
    sources = [_local_vision(), *_from_keys(), *_from_file()]
    return [source.name for source in sources if _apply(source)]


def config_file() -> Path | None:
    """Find provider.config.toml: in the workspace's config folder, else beside the program."""
    places = (settings.WORKSPACE_PATH / "config" / CONFIG_NAME, settings.BASE_DIR / CONFIG_NAME)
    return next((place for place in places if place.is_file()), None)


def _local_vision() -> Source:
    return Source(name=LOCAL_VISION, kind=ProviderKind.LOCAL_VISION, environment="local")


def _from_keys() -> Iterator[Source]:
    for name, (key, model) in settings.PROVIDER_KEYS.items():
        if key:
            base_url, usual_model = _CLOUDS[name]
            yield Source(
                name=name,
                kind=name,
                environment="cloud",
                base_url=base_url,
                api_key=key,
                default_model=model or usual_model,
            )


def _from_file() -> Iterator[Source]:
    path = config_file()
    if path is None:
        return
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigBroken(f"{path}: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigBroken(f"{path}: {name} is not a table; write [{name}] and its settings below.")
        yield _from_table(path, name, table)


def _from_table(path: Path, name: str, table: Mapping[str, Any]) -> Source:
    limits = table.get("rate_limits", {})
    variable = table.get("env_var", "")
    models = table.get("models", [])
    form = {
        "name": name,
        "kind": table.get("kind"),
        "environment": table.get("environment"),
        "baseUrl": table.get("base_url", ""),
        "models": models,
        "defaultModel": table.get("default_model") or (models[0] if isinstance(models, list) and models else ""),
        "rateLimits": {
            "requestsPerMinute": limits.get("requests_per_minute"),
            "tokensPerMinute": limits.get("tokens_per_minute"),
        }
        if isinstance(limits, dict)
        else limits,
    }
    cleaned, errors = provider_forms.clean(form)
    if errors:
        told = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
        raise ConfigBroken(f"{path}, table [{name}]: {told}")
    # The file names the variable that holds the key, never the key; "NONE" says that there is none.
    key = env.secret(variable) if variable and variable != "NONE" else None
    if variable and variable != "NONE" and not key:
        logger.warning("the variable for a provider's key is not set", extra={"provider": name, "variable": variable})
    return Source(
        name=name,
        kind=cleaned["kind"],
        environment=cleaned["environment"],
        base_url=cleaned["base_url"],
        api_key=key,
        default_model=cleaned["default_model"],
        models=tuple(cleaned["models"] or ()),
        requests_per_minute=cleaned["requests_per_minute"],
        tokens_per_minute=cleaned["tokens_per_minute"],
    )


@transaction.atomic
def _apply(source: Source) -> bool:
    provider = Provider.objects.select_for_update().filter(name=source.name).first() or Provider(name=source.name)
    if provider.source_digest == source.digest:
        return False
    provider.kind = source.kind
    provider.environment = source.environment
    provider.base_url = source.base_url
    provider.default_model = source.default_model
    provider.requests_per_minute = source.requests_per_minute
    provider.tokens_per_minute = source.tokens_per_minute
    provider.source_digest = source.digest
    if source.api_key is not None:
        provider.api_key = source.api_key
    provider.save()
    throttle.forget(provider)
    if source.models:
        provider_forms.replace_models(provider, source.models)
    logger.info("provider configured", extra={"provider": provider.name, "kind": provider.kind})
    return True
