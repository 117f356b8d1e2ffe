"""The only door to the network: where we may connect, for how long, and until somebody says stop."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from captioning.gateway.errors import Cancelled, Permanent

MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 8 * 1024 * 1024  # far above any caption; a server that sends more is not the one we meant
_POLL_SECONDS = 0.25  # how soon a stop is noticed while a model is thinking
_WRITE_BYTES = 64 * 1024
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Watch:
    """Bounds of one call: the end of its time on the monotonic clock, and a question whether to stop before."""

    deadline: float
    stopped: Callable[[], bool]

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def raise_if_stopped(self) -> None:
        if self.stopped():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, noticing a stop on the way. Raises Cancelled."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.raise_if_stopped()
            time.sleep(min(left, _POLL_SECONDS))
        self.raise_if_stopped()


_watch: ContextVar[Watch | None] = ContextVar("captioning_gateway_watch", default=None)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Put every connection used inside the block under this watch.

    httpx2 bounds single reads, so a server that drips one byte a second keeps a call alive for ever; and a blocked
    read cannot see that its job was cancelled. Both are cured where bytes are read.
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise Permanent (`bad_address` or `address_refused`) for an address that we would never call.

    Names are judged when they are resolved, at each connection; this is the early word for forms and the admin.
    """
    parts = urlsplit(url.strip())
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise Permanent("Not an address that can be called; give one like https://host/v1.", code="bad_address")
    if parts.username is not None or parts.password is not None:
        raise Permanent("Put the key into its own field, not into the address.", code="bad_address")
    if parts.query or parts.fragment:
        raise Permanent("The base address must end before any ? or #.", code="bad_address")
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    _check_ip(literal, allow_private=allow_private)


def client_for(*, allow_private: bool) -> httpx2.Client:
    """Return this process's client, made on first use; its connections are kept open between calls."""
    with _clients_lock:
        if allow_private not in _clients:
            _clients[allow_private] = httpx2.Client(
                transport=GuardedTransport(allow_private=allow_private), follow_redirects=False
            )
        return _clients[allow_private]


_clients: dict[bool, httpx2.Client] = {}
_clients_lock = threading.Lock()


def _forget_clients() -> None:
    global _clients, _clients_lock
    _clients, _clients_lock = {}, threading.Lock()


# A forked worker would share its parent's sockets, and with them the answers.
os.register_at_fork(after_in_child=_forget_clients)


class GuardedTransport(httpx2.HTTPTransport):
    """A transport that looks at the resolved address of every connection, redirected ones too.

    Proxies from the environment are not used: behind one, the address could not be judged.
    """

    def __init__(self, *, allow_private: bool) -> None:
        # httpx2 has no argument for the backend, its pool has; the parent only ever speaks to `_pool`.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=64,
            max_keepalive_connections=8,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(allow_private=allow_private),
        )


class GuardedBackend(httpcore2.SyncBackend):
    """Resolve, judge, and connect to the very address that was judged, so that a second lookup cannot differ."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = _resolve(host, port)
        # One inner address among public ones is a trick or a mistake; either way nothing to pick from.
        for address in addresses:
            _check_ip(ipaddress.ip_address(address.split("%")[0]), allow_private=self._allow_private)
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = super().connect_tcp(address, port, _bounded(timeout), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _WatchedStream(stream)
        raise failure


class _WatchedStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        watch = _watch.get()
        if watch is None:
            return self._stream.read(max_bytes, timeout)
        silence_ends = watch.deadline if timeout is None else min(watch.deadline, time.monotonic() + timeout)
        while True:
            watch.raise_if_stopped()
            left = silence_ends - time.monotonic()
            if left <= 0:
                raise httpcore2.ReadTimeout
            try:
                return self._stream.read(max_bytes, min(left, _POLL_SECONDS))
            except httpcore2.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        watch = _watch.get()
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITE_BYTES):
            if watch is not None:
                watch.raise_if_stopped()
            self._stream.write(bytes(view[start : start + _WRITE_BYTES]), _bounded(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _WatchedStream(self._stream.start_tls(ssl_context, server_hostname, _bounded(timeout)))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _bounded(timeout: float | None) -> float | None:
    watch = _watch.get()
    if watch is None:
        return timeout
    left = max(watch.seconds_left, 0.001)  # 0 would mean non-blocking
    return left if timeout is None else min(timeout, left)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _check_ip(address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, allow_private: bool) -> None:
    if allow_private or _is_public(address):
        return
    # The address itself is not repeated: to an outsider it would tell what names mean inside.
    raise Permanent(
        "The address lies in a private network; only staff may enter such providers.", code="address_refused"
    )


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # Three ways to write an IPv4 address in IPv6; each is judged by what it leads to.
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast
