"""Who can answer what: which provider serves which perspective, with which model."""

from __future__ import annotations

from collections.abc import Iterable

from . import vision
from .library import wording_of
from .models import Perspective, Provider, ProviderKind


def refusal_of(provider: Provider, perspective: Perspective) -> str | None:
    """Say why this provider cannot answer this perspective in its current wording; None if it can.

    A model behind an API follows any prompt; local vision only fills what it has evidence for.
    """
    if not provider.is_local_vision:
        return None
    assert perspective.current is not None  # every perspective is made with its first version
    support = vision.supports(wording_of(perspective.current))
    return None if support.ok else support.reason


def unreadiness_of(provider: Provider, model: str) -> str | None:
    """Say what a provider lacks before anybody may ask it anything; None if nothing.

    model: the one asked for, empty for the provider's own.
    """
    if not provider.is_enabled:
        return f"The provider {provider.name!r} is disabled."
    if provider.is_local_vision:
        return f"Local vision has no models to choose from; leave the model {model!r} out." if model else None
    if provider.environment == "cloud" and not provider.has_api_key:
        return f"The provider {provider.name!r} has no key; enter it at the provider."
    chosen = model or model_of(provider)
    if not chosen:
        return f"The provider {provider.name!r} has no model of its own; give options.model."
    if provider.models.filter(name=chosen, is_enabled=False).exists():
        return f"The model {chosen!r} of {provider.name!r} is disabled."
    return None


def n_ready() -> tuple[int, int]:
    """Count the providers that could be asked now, and all of them."""
    providers = list(Provider.objects.all())
    return sum(unreadiness_of(provider, "") is None for provider in providers), len(providers)


def model_of(provider: Provider) -> str:
    """Name the model that a provider uses where nobody asks for one; empty if it has none."""
    if provider.kind == ProviderKind.LOCAL_VISION:
        return ""
    if provider.default_model:
        return provider.default_model
    first = provider.models.filter(is_enabled=True).order_by("id").first()
    return first.name if first else ""


def answerable(provider: Provider, perspectives: Iterable[Perspective]) -> list[Perspective]:
    return [perspective for perspective in perspectives if refusal_of(provider, perspective) is None]
