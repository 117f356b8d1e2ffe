"""How much clients without a login may ask: a token bucket for each address, as a row, so that it holds everywhere."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv6Address, IPv6Network

from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest

from orchestrator import proxies
from orchestrator.problems import TooManyRequests

from .models import Allowance

FORGET_AFTER = timedelta(hours=1)  # by then every bucket is full again
_FORGET_STEP = 100


def spend(request: HttpRequest, purpose: str, *, per_minute: int) -> None:
    """Take one request of this client's allowance; a minute's worth may come at once. Raises TooManyRequests.

    purpose: requests of different purposes have allowances of their own.
    """
    bucket: dict[str, str | float] = {
        "client": f"{purpose} {address_of(request)}",
        "rate": per_minute / 60,
        "most": float(per_minute),
    }
    with connection.cursor() as cursor:
        # clock_timestamp(), since a caller may have waited for the row.
        cursor.execute(
            """
            INSERT INTO volcal_allowance AS bucket (client, n_left, counted_at)
            VALUES (%(client)s, %(most)s - 1, clock_timestamp())
            ON CONFLICT (client) DO UPDATE SET
                n_left = least(%(most)s, bucket.n_left
                    + %(rate)s * extract(epoch FROM clock_timestamp() - bucket.counted_at)) - 1,
                counted_at = clock_timestamp()
            WHERE least(%(most)s, bucket.n_left
                + %(rate)s * extract(epoch FROM clock_timestamp() - bucket.counted_at)) >= 1
            """,
            bucket,
        )
        if cursor.rowcount:
            _forget()
            return
        cursor.execute(
            """
            SELECT greatest(0, (1 - n_left) / %(rate)s - extract(epoch FROM clock_timestamp() - counted_at))::float
            FROM volcal_allowance WHERE client = %(client)s
            """,
            bucket,
        )
        row = cursor.fetchone()
    raise TooManyRequests(
        f"This address may ask {per_minute} times a minute; wait, or log in.",
        retry_after=max(1.0, row[0] if row else 0),
    )


def address_of(request: HttpRequest) -> str:
    """Tell who asks: the peer, or whom a trusted proxy speaks for. An IPv6 client is all of its /64."""
    peer = request.META.get("REMOTE_ADDR", "")
    if proxies.is_trusted(peer):
        forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        peer = next((address for address in reversed(forwarded) if not proxies.is_trusted(address)), peer)
    address = proxies.parse(peer)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address) if address is not None else "unknown"


def _forget() -> None:
    """Drop some of what is long full again: whoever asks also clears away."""
    old = Allowance.objects.filter(counted_at__lt=Now() - FORGET_AFTER)
    Allowance.objects.filter(pk__in=old.values("pk")[:_FORGET_STEP]).delete()
