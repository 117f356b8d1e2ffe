"""What proxies say of a client is believed of those alone that TRUSTED_PROXIES names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings

App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[Any]]


class OwnScheme:
    """An ASGI application behind whom only a trusted proxy can claim that the client came by https.

    The other forwarded headers pass: that somebody speaks for somebody else matters to those who trust loopback.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        peer = (scope.get("client") or ("",))[0]
        if any(name == b"x-forwarded-proto" for name, _ in scope.get("headers", ())) and not is_trusted(peer):
            kept = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-proto"]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


def is_trusted(address: str) -> bool:
    """Tell whether this is the address of one of our proxies."""
    parsed = parse(address)
    return parsed is not None and any(parsed in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


def parse(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address; one of IPv4 written as IPv6 is one of IPv4. None for anything else."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


@lru_cache(maxsize=8)
def _networks(names: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(name, strict=False) for name in names]
