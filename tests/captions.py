"""Builders of captioning's rows; each takes only what a test cares about."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from PIL import Image as Pillow
from rest_framework.test import APIClient

from captioning import library
from captioning.models import Caption, CaptionSource, Dataset, Image, Perspective, Provider
from uploads import storage


def picture_bytes(colour: str = "red", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def make_dataset(owner: User | None = None, name: str = "birds") -> Dataset:
    return Dataset.objects.create(name=name, owner=owner)


def make_image(dataset: Dataset, path: str = "a.png", content: bytes | None = None) -> Image:
    """Create an image whose bytes really lie in the store; equal paths give equal pictures."""
    number = int(hashlib.sha256(path.encode()).hexdigest()[:6], 16)
    content = content or picture_bytes(f"#{number:06x}")
    sha256 = hashlib.sha256(content).hexdigest()
    key = storage.key_of("images", sha256, ".png")
    storage.put(key, io.BytesIO(content))
    return Image.objects.create(
        dataset=dataset, path=path, sha256=sha256, stored_as=key, format="PNG", size=len(content), width=64, height=48
    )


def document(name: str = "plain", **members: Any) -> dict[str, Any]:
    """A perspective that asks for one sentence."""
    return {
        "name": name,
        "display_name": name.capitalize(),
        "prompt": "Say what the picture shows.",
        "schema_fields": [{"name": "caption", "type": "str", "description": "one sentence"}],
        "table_columns": [{"name": "caption", "style": "green"}],
        "context_template": "{caption}",
        **members,
    }


def make_perspective(name: str = "plain", *, by: User | None = None, **members: Any) -> Perspective:
    by = by or User.objects.get_or_create(username="librarian", is_staff=True)[0]
    return library.create(document(name, **members), by=by)


def make_provider(base_url: str = "http://127.0.0.1:1/v1", name: str = "remote", **columns: Any) -> Provider:
    """A model server of one's own network, without limits; its price is known."""
    values: Mapping[str, Any] = {
        "kind": "vllm",
        "environment": "local",
        "default_model": "tiny-vlm",
        "input_price_usd": 1,
        "output_price_usd": 2,
        **columns,
    }
    return Provider.objects.create(name=name, base_url=base_url, **values)


def make_caption(image: Image, perspective: Perspective, **columns: Any) -> Caption:
    values: Mapping[str, Any] = {
        "source": CaptionSource.MODEL,
        "provider": "remote",
        "result": {"caption": "A red square."},
        "text": "A red square.",
        **columns,
    }
    return Caption.objects.create(
        image=image, perspective=perspective, perspective_version=perspective.current, **values
    )


def client_of(user: User) -> APIClient:
    """A program that acts as this user."""
    client = APIClient()
    client.force_authenticate(user)
    return client


def completion(content: Mapping[str, Any], *, tokens_in: int = 1000, tokens_out: int = 100) -> dict[str, Any]:
    """What an OpenAI-compatible server answers when its model said this object."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny-vlm",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": json.dumps(content)},
            }
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }
