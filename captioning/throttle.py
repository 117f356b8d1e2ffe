"""Keep to a provider's requests and tokens per minute, over all processes."""

from __future__ import annotations

from typing import NamedTuple

from django.db import connection

from .models import Provider, Throttle

# Waiting so long in place is cheaper than giving the item back to the queue.
PATIENCE_SECONDS = 2.0


class Turn(NamedTuple):
    """taken: the call may start after `wait_seconds`; if not, a place within PATIENCE_SECONDS may be free after them.

    is_asked: the wait is what the provider asked for, and longer than its limits would make it.
    """

    taken: bool
    wait_seconds: float
    is_asked: bool = False


def reserve(provider: Provider, *, n_tokens: int) -> Turn:
    """Take the next free place for one call of about `n_tokens`, or nothing.

    Two clocks, for requests and for tokens, each moved on by the
    call's share of a minute; a clock that fell behind the present starts from it, so no burst is ever saved up and no
    minute sees more calls than allowed. A provider without limits is only held back when it asked for it.
    """
    shares = {
        "requests": 60.0 / provider.requests_per_minute if provider.requests_per_minute else 0.0,
        "tokens": 60.0 * n_tokens / provider.tokens_per_minute if provider.tokens_per_minute else 0.0,
        "patience": PATIENCE_SECONDS,
        "provider": provider.pk,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO captioning_throttle (provider_id) VALUES (%(provider)s) ON CONFLICT DO NOTHING", shares
        )
        # clock_timestamp(), since a caller may have waited for the row. RETURNING undoes the step to see the clocks
        # as they were.
        cursor.execute(
            """
            UPDATE captioning_throttle SET
                requests_free_at = greatest(requests_free_at, clock_timestamp()) + %(requests)s * interval '1 second',
                tokens_free_at = greatest(tokens_free_at, clock_timestamp()) + %(tokens)s * interval '1 second'
            WHERE provider_id = %(provider)s
                AND greatest(requests_free_at, tokens_free_at)
                    <= clock_timestamp() + %(patience)s * interval '1 second'
            RETURNING greatest(0, extract(epoch FROM greatest(
                requests_free_at - %(requests)s * interval '1 second',
                tokens_free_at - %(tokens)s * interval '1 second') - clock_timestamp()))::float
            """,
            shares,
        )
        if row := cursor.fetchone():
            return Turn(True, row[0])
        cursor.execute(
            """
            SELECT greatest(0, extract(epoch FROM
                greatest(requests_free_at, tokens_free_at) - clock_timestamp()) - %(patience)s)::float,
                requests_free_at > clock_timestamp() + (%(requests)s + %(patience)s) * interval '1 second'
            FROM captioning_throttle WHERE provider_id = %(provider)s
            """,
            shares,
        )
        row = cursor.fetchone()
    return Turn(False, *row) if row else Turn(False, 0.0)


def correct(provider: Provider, *, n_reserved: int, n_used: int) -> None:
    """Move the token clock by the difference between what was reserved and what the call really took."""
    if not provider.tokens_per_minute or n_used == n_reserved:
        return
    seconds = 60.0 * (n_used - n_reserved) / provider.tokens_per_minute
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE captioning_throttle SET tokens_free_at = tokens_free_at + %s * interval '1 second'"
            " WHERE provider_id = %s",
            [seconds, provider.pk],
        )


def hold_back(provider: Provider, *, seconds: float) -> None:
    """Let nobody call before `seconds` have passed: the provider has said so.

    provider: as it was called. What was said to an earlier key, or at another address, does not hold for the present.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO captioning_throttle (provider_id, requests_free_at)
            SELECT id, clock_timestamp() + %(seconds)s * interval '1 second'
            FROM captioning_provider WHERE id = %(provider)s AND updated_at = %(updated_at)s
            ON CONFLICT (provider_id) DO UPDATE
            SET requests_free_at = greatest(captioning_throttle.requests_free_at, excluded.requests_free_at)
            """,
            {"provider": provider.pk, "updated_at": provider.updated_at, "seconds": seconds},
        )


def forget(provider: Provider) -> None:
    """Let calls begin anew: another key, address or limit than the one that was used up or turned away."""
    Throttle.objects.filter(provider=provider).delete()
