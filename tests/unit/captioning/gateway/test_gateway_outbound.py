"""Where the gateway refuses to connect, with real sockets behind the names."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from captioning.gateway import Endpoint, GatewayError, outbound
from captioning.gateway.errors import Permanent
from captioning.gateway.outbound import GuardedTransport, check_url

ROOT = Path(__file__).parents[4]
GOOD = {"caption": "A cat on a wall.", "tags": ["cat", "wall"]}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[::ffff:127.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_inner_addresses_are_refused_unless_staff_entered_them(host):
    with pytest.raises(Permanent) as caught:
        check_url(f"http://{host}/v1", allow_private=False)

    assert caught.value.code == "address_refused"
    check_url(f"http://{host}/v1", allow_private=True)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "[64:ff9b::808:808]", "api.openai.com"])
def test_public_addresses_pass(host):
    check_url(f"https://{host}/v1", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/v1",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@host/v1",
        "https://host:99999/v1",
        "https://host/v1?key=secret",
        "https://host/v1#x",
    ],
)
def test_what_is_no_base_address_is_refused_without_repeating_it(url):
    with pytest.raises(Permanent) as caught:
        check_url(url, allow_private=True)

    assert caught.value.code == "bad_address"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433"])
def test_a_name_for_the_inside_is_refused_when_it_is_resolved(ask, script, completion, httpserver, host):
    received = script(completion(GOOD))

    with pytest.raises(GatewayError) as caught:
        ask(to=Endpoint(f"http://{host}:{httpserver.port}/v1"))

    assert (caught.value.code, caught.value.permanent, received) == ("address_refused", True, [])


def test_a_redirect_to_the_inside_is_refused(ask, httpserver: HTTPServer, monkeypatch):
    # 127.0.0.1 plays the public host here; everything else of the loopback network stays inside.
    monkeypatch.setattr(outbound, "_is_public", lambda address: str(address) == "127.0.0.1")
    inside = f"http://127.0.0.2:{httpserver.port}/inside"
    httpserver.expect_request("/v1/chat/completions").respond_with_data("", status=307, headers={"Location": inside})

    with pytest.raises(GatewayError) as caught:
        ask(to=Endpoint(f"http://127.0.0.1:{httpserver.port}/v1"), client=_own_client())

    assert caught.value.code == "address_refused"
    assert [request.path for request, _ in httpserver.log] == ["/v1/chat/completions"]


def test_a_key_does_not_travel_to_another_origin(ask, script, completion, httpserver: HTTPServer):
    script(completion(GOOD))
    target = f"http://127.0.0.1:{httpserver.port}/v1/chat/completions"
    httpserver.expect_request("/old/chat/completions").respond_with_data("", status=307, headers={"Location": target})

    ask(to=Endpoint(f"http://localhost:{httpserver.port}/old", "sk-test-5f0c9e7a1b", allow_private=True))

    first, second = (request.headers for request, _ in httpserver.log)
    assert "Authorization" in first
    assert "Authorization" not in second


def test_a_name_is_looked_up_once_and_that_address_is_used(ask, script, completion, httpserver, monkeypatch):
    lookups: list[str] = []
    real = socket.getaddrinfo

    def changing(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *args, **kwargs)
        lookups.append(host)
        return real("127.0.0.1" if len(lookups) == 1 else "127.0.0.2", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    monkeypatch.setattr(outbound, "_is_public", lambda address: str(address) == "127.0.0.1")
    script(completion(GOOD))

    reply = ask(to=Endpoint(f"http://rebind.example:{httpserver.port}/v1"), client=_own_client())

    assert reply.result == GOOD
    assert lookups == ["rebind.example"]
    assert httpserver.log[0][0].headers["Host"] == f"rebind.example:{httpserver.port}"


def test_one_inner_address_among_public_ones_refuses_the_name(ask, monkeypatch, httpserver):
    mixed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: mixed)

    with pytest.raises(GatewayError) as caught:
        ask(to=Endpoint("http://mixed.example/v1"), client=_own_client())

    assert caught.value.code == "address_refused"


def test_certificates_are_held_against_the_name_and_not_the_address(ask, completion, tls_server):
    tls_server.expect_request("/v1/chat/completions").respond_with_json(completion(GOOD))

    reply = ask(to=Endpoint(f"https://localhost:{tls_server.port}/v1", allow_private=True), client=_own_client(True))

    assert reply.result == GOOD
    with pytest.raises(GatewayError) as caught:
        ask(to=Endpoint(f"https://127.0.0.1:{tls_server.port}/v1", allow_private=True), client=_own_client(True))
    assert (caught.value.code, caught.value.permanent) == ("bad_certificate", True)


def test_an_encrypted_answer_may_take_longer_than_one_look_at_the_stop(ask, completion, tls_server):
    looks: list[None] = []
    interrupted: list[bool] = []

    def stopped() -> bool:
        looks.append(None)
        return False

    def think(_request: Request) -> Response:
        enough, end = len(looks) + 3, time.monotonic() + 10
        while len(looks) < enough and time.monotonic() < end:  # each look interrupts a read of the encrypted stream
            threading.Event().wait(0.01)
        interrupted.append(len(looks) >= enough)
        return Response(json.dumps(completion(GOOD)), content_type="application/json")

    tls_server.expect_request("/v1/chat/completions").respond_with_handler(think)
    endpoint = Endpoint(f"https://localhost:{tls_server.port}/v1", allow_private=True)

    assert ask(to=endpoint, client=_own_client(True), stopped=stopped).result == GOOD
    assert interrupted == [True]


def test_a_forked_worker_does_not_inherit_open_connections():
    script = """
import os
from captioning.gateway.outbound import client_for
parents = client_for(allow_private=True)
child = os.fork()
if child == 0:
    os._exit(0 if client_for(allow_private=True) is not parents else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert client_for(allow_private=True) is parents
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_gateway_needs_no_django():
    script = "import sys, captioning.gateway; assert not [name for name in sys.modules if name.startswith('django')]"

    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A server with a certificate for `localhost` alone, trusted by clients made after this."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = tmp_path / "localhost.pem"
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        yield server


def _own_client(allow_private: bool = False) -> httpx2.Client:
    """A client whose open connections no other test shares."""
    return httpx2.Client(transport=GuardedTransport(allow_private=allow_private))


def test_the_address_itself_is_not_repeated_to_the_caller():
    with pytest.raises(Permanent) as caught:
        outbound._check_ip(ipaddress.ip_address("10.1.2.3"), allow_private=False)

    assert "10.1.2.3" not in str(caught.value)
