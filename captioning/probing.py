"""Try a provider out before anybody relies on it, and keep what was found with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models.functions import Now

from . import gateway, ledger, remote, vision
from .capabilities import model_of
from .models import Provider

_DEADLINE_SECONDS = 60.0


def probe(provider: Provider, *, model: str | None = None) -> dict[str, Any]:
    """Test address, key, models and sight of a provider; of local vision, whether its models are here.

    Returns the JSON of `gateway.Probe.as_dict`, which is also stored with the provider.
    """
    if provider.is_local_vision:
        found = _local(provider)
        columns: dict[str, Any] = {}
    else:
        result = gateway.probe(
            remote.endpoint_of(provider),
            model=model or model_of(provider) or None,
            models=list(provider.models.filter(is_enabled=True).order_by("id").values_list("name", flat=True)),
            environment="local" if provider.environment == "local" else "cloud",
            deadline_seconds=_DEADLINE_SECONDS,
        )
        ledger.record(provider, result.model or "", result.attempts)
        found = result.as_dict()
        # The rung that worked spares every worker process the climb.
        learned = {result.model: result.schema_mode} if result.model and result.schema_mode else {}
        columns = {"modes": {**provider.modes, **learned}}
    Provider.objects.filter(pk=provider.pk).update(last_probe=found, last_probe_at=Now(), **columns)
    return found


def _local(provider: Provider) -> dict[str, Any]:
    looker = vision.local_vision()
    available = looker.available()
    words = (
        "Detector, classifier and text reader are here."
        if available.full
        else f"Only colours, composition and EXIF are described; not installed: {', '.join(available.missing)}."
    )
    return {
        "provider": provider.name,
        "success": True,
        "connected": True,
        "message": words,
        "client_initialized": True,
        "details": {
            "versions": looker.versions(),
            "vision": True,
            "available": available.full,
            "missing": available.missing,
        },
        "diagnostics": {
            "config_summary": {"kind": provider.kind, "environment": provider.environment},
            "connection_steps": [
                {
                    "step": "initialize_client",
                    "status": "success",
                    "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                    "message": words,
                }
            ],
            "warnings": [] if available.full else [{"warning_type": "models_missing", "message": words}],
        },
    }
