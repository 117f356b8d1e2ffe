"""What captioning shows on the home page of a fresh desk."""

from __future__ import annotations

from typing import Any

from ..capabilities import answerable
from ..models import Dataset, Perspective
from .providers import ready_providers

DEMO = "demo"


def demo_of(user: Any) -> dict[str, Any]:
    """The demo pictures, and who can caption them how, without a key."""
    dataset = Dataset.objects.visible_to(user).filter(name=DEMO).first()
    local = next((who for who in ready_providers() if who.is_local_vision), None)
    usable = Perspective.objects.usable().order_by("current__priority", "name")
    perspectives = answerable(local, usable) if dataset and local else []
    if dataset is None or not perspectives:
        return {"demo": None}
    return {
        "demo": dataset,
        "demo_images": list(dataset.images.order_by("pk")[:8]),
        "demo_provider": local,
        "demo_perspectives": perspectives,
    }
