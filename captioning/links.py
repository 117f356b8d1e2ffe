"""Addresses under which one image can be read without a login, for a while: for workers elsewhere."""

from __future__ import annotations

from django.conf import settings
from django.core import signing
from django.urls import reverse

from orchestrator.problems import NotFound

from .models import Image

LIFETIME_SECONDS = 3600  # longer than any lease is renewed for one picture
_SALT = "captioning.links"


class LinkUnusable(NotFound):
    """The link is no longer good"""


def address_of(image: Image) -> str:
    """Sign a link to the original bytes; absolute where the desk knows its own address."""
    token = signing.dumps(image.pk, salt=_SALT)
    return settings.PUBLIC_URL + reverse("linked-image", args=[token])


def image_behind(token: str) -> Image:
    """Raises LinkUnusable for a token that is forged or over, or whose image is gone."""
    try:
        pk = signing.loads(token, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:  # an expired one is a kind of it
        raise LinkUnusable("This link is forged or over; claim the item again for a new one.") from None
    image = Image.objects.filter(pk=pk).first()
    if image is None:
        raise LinkUnusable("The image behind this link was deleted.")
    return image
