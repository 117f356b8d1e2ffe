"""Whose word for where a client comes from is taken."""

import asyncio

import pytest

from orchestrator import proxies

SAYS_HTTPS = [(b"host", b"desk"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"10.9.9.9")]


def passed_on(client, headers=SAYS_HTTPS):
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    async def nothing(*_):
        return {}

    scope = {"type": "http", "client": client, "headers": headers}
    asyncio.run(proxies.OwnScheme(app)(scope, nothing, nothing))
    return dict(seen)


def test_a_trusted_proxy_says_how_the_client_came(settings):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "::1"]

    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "::1"):
        assert passed_on((peer, 4711))[b"x-forwarded-proto"] == b"https"


@pytest.mark.parametrize("client", [("192.0.2.1", 4711), ("proxy", 0), None])
def test_nobody_else_does(settings, client):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]

    headers = passed_on(client)

    assert b"x-forwarded-proto" not in headers
    # Who trusts loopback has to see that somebody speaks for somebody else.
    assert headers[b"x-forwarded-for"] == b"10.9.9.9"
    assert headers[b"host"] == b"desk"
