"""Figures for Prometheus: requests as they pass, and whatever the apps register a collector for."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

from . import access, problems
from .middleware import Middleware

registry = CollectorRegistry()
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Named one by one: `is_private` of the standard library also means ranges that are only reserved.
_INTERNAL = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")]
_requests = Counter("desk_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
_seconds = Histogram("desk_request_seconds", "Time to answer a request.", ["method", "route"], registry=registry)


class MetricsMiddleware(Middleware):
    """Count and time every request by the pattern of its route, never by its path: ids would make a series each."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        request._started_at = time.perf_counter()  # type: ignore[attr-defined]
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        method = request.method if request.method in _METHODS else "other"
        route = request.resolver_match.route if request.resolver_match else "unmatched"
        _requests.labels(method, route, response.status_code).inc()
        _seconds.labels(method, route).observe(time.perf_counter() - request._started_at)  # type: ignore[attr-defined]
        return response


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape from this network, or one with a token."""
    if request.method not in {"GET", "HEAD"}:
        raise problems.MethodNotAllowed("Figures are read with GET.", allowed="GET, HEAD")
    if not _is_near(request):
        text = access.bearer_of(request.headers.get("Authorization", ""))
        if text is None or access.token_of(text) is None:
            raise problems.Unauthenticated("Figures are for this network; from elsewhere, send a bearer token.")
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _is_near(request: HttpRequest) -> bool:
    """Tell whether the real peer is on this machine or this network.

    A peer that forwards for somebody else says nothing about that somebody, and what it says of them is not believed.
    """
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        peer = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return peer.is_loopback or any(peer in network for network in _INTERNAL)
