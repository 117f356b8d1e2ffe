"""The model gateway: one question about one picture, to any OpenAI-compatible server.

Knows neither Django nor jobs. `caption` is the way in; docs/explanation/gateway.md follows one call through it.
"""

from captioning.gateway.call import MEMORY, caption, preview
from captioning.gateway.errors import Cancelled, GatewayError, Permanent, QuotaExhausted, Retryable
from captioning.gateway.probe import Probe, probe
from captioning.gateway.request import (
    PROFILES,
    Attempt,
    CaptionReply,
    CaptionRequest,
    Endpoint,
    Memory,
    Mode,
    Parameters,
    Price,
    Profile,
    Usage,
)
from captioning.gateway.retry import Patience
from captioning.gateway.schema import InvalidSchema, schema_from_fields

__all__ = [
    "MEMORY",
    "PROFILES",
    "Attempt",
    "Cancelled",
    "CaptionReply",
    "CaptionRequest",
    "Endpoint",
    "GatewayError",
    "InvalidSchema",
    "Memory",
    "Mode",
    "Parameters",
    "Patience",
    "Permanent",
    "Price",
    "Probe",
    "Profile",
    "QuotaExhausted",
    "Retryable",
    "Usage",
    "caption",
    "preview",
    "probe",
    "schema_from_fields",
]
