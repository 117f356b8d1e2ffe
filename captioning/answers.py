"""What a provider said of one image under one perspective, before it is a caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer that follows its perspective's schema.

    provenance: where it comes from: models and versions, evidence by field, how it was parsed.
    cost_usd: None where nobody knows it.
    """

    result: Mapping[str, Any]
    text: str
    provider: str
    model: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: Decimal | None = None
