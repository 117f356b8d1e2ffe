"""Keys of providers, encrypted at rest with a key that is derived from SECRET_KEY."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from orchestrator.problems import Conflict

# Bound to this one use: the same SECRET_KEY also signs sessions, and neither may help to guess the other.
_PURPOSE = b"captioning provider keys"


class KeyUnreadable(Conflict):
    """A stored key cannot be decrypted"""


def encrypt(value: str) -> bytes:
    """Encrypt a key; an empty one stays empty."""
    return _fernet().encrypt(value.encode()) if value else b""


def decrypt(token: bytes) -> str:
    """Raises KeyUnreadable if it was encrypted under another SECRET_KEY."""
    if not token:
        return ""
    try:
        return _fernet().decrypt(token).decode()
    except InvalidToken:
        raise KeyUnreadable(
            "The stored key was encrypted under another SECRET_KEY; enter the provider's key again."
        ) from None


def _fernet() -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(settings.SECRET_KEY.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
