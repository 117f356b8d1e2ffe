"""tus 1.0.0, sentence by sentence, against our service and two servers by others.

Each test says one normative sentence of the protocol (tus.io, protocol.md of 2016-03-25). Peers are asked only for what
they announce; where one is known to differ, DEVIATIONS says how, and the test must then fail on it. So a test that
misreads the protocol shows up at the peers.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import pytest
import requests

from tests.conformance.conftest import Server
from tests.workbench.tus import Wire
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.slow
Test = TypeVar("Test", bound=Callable[..., None])

OCTETS = {"Content-Type": "application/offset+octet-stream"}

# What peers are known to do otherwise, by test and server. Strict: a deviation that is gone fails here.
DEVIATIONS = {
    ("test_an_unsupported_version_is_refused_and_not_processed", "@tus/server"): "answers 400 instead of 412",
    ("test_patch_of_another_media_type_is_refused", "@tus/server"): "answers 400 instead of 415, which is a SHOULD",
    ("test_the_override_names_the_method_that_counts", "@tus/server"): "does not know the override",
    ("test_metadata_come_back_as_they_were_said", "@tus/server"): "reads values as UTF-8, so others are mangled",
    ("test_the_end_is_said_at_creation_and_with_each_patch", "@tus/server"): "expires nothing unless configured",
    (
        "test_patch_stores_what_arrived_of_a_body_that_is_cut",
        "@tus/server",
    ): "keeps none of it on node 24, on 20 it did",
    ("test_an_unsupported_version_is_refused_and_not_processed", "resumable-upload"): "412 without Tus-Version",
    ("test_metadata_come_back_as_they_were_said", "resumable-upload"): "refuses values that are not UTF-8",
    ("test_metadata_that_break_the_rules_are_refused[,]", "resumable-upload"): "skips an empty key",
    ("test_a_deferred_length_is_said_later_and_stays", "resumable-upload"): "takes the length only before any byte",
    ("test_the_end_is_said_at_creation_and_with_each_patch", "resumable-upload"): "expires nothing unless configured",
    ("test_an_unknown_or_broken_checksum_is_400_and_keeps_nothing[SHA1 AAAA]", "resumable-upload"): (
        "takes names in capitals, which the protocol excludes"
    ),
    ("test_parts_become_one_file_in_the_order_said", "resumable-upload"): "shortens addresses in Upload-Concat",
    ("test_a_length_has_no_place_at_a_final_upload", "resumable-upload"): "ignores the client's mistake",
}


class Client:
    """Says what the test says and nothing else."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.extensions = set(self.options().headers.get("Tus-Extension", "").replace(" ", "").split(","))

    def ask(self, method: str, url: str, *, body: bytes = b"", version: str | None = "1.0.0", **headers: str) -> Any:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if version is not None:
            said["Tus-Resumable"] = version
        return requests.request(method, url, data=body, headers=said, timeout=30, allow_redirects=False)

    def options(self) -> Any:
        return requests.options(self.server.endpoint, timeout=30)

    def create(self, length: int | None = None, **headers: str) -> str:
        if length is not None:
            headers["Upload_Length"] = str(length)
        answer = self.ask("POST", self.server.endpoint, **headers)
        assert answer.status_code == 201, answer.text
        return self.location(answer)

    def location(self, answer: Any) -> str:
        return requests.compat.urljoin(self.server.endpoint, answer.headers["Location"])

    def head(self, url: str, **headers: str) -> Any:
        return self.ask("HEAD", url, **headers)

    def patch(self, url: str, offset: int, body: bytes, **headers: str) -> Any:
        return self.ask("PATCH", url, body=body, Upload_Offset=str(offset), **_octets(), **headers)

    def patch_when_free(self, url: str, offset: int, body: bytes, **headers: str) -> Any:
        """Come again after 423, as clients do: the server may notice only now that somebody before us was cut off."""
        for _ in range(20):
            answer = self.patch(url, offset, body, **headers)
            if answer.status_code != 423:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        return answer

    def offset(self, url: str) -> int:
        return int(self.head(url).headers["Upload-Offset"])


def _octets() -> dict[str, str]:
    return {"Content_Type": OCTETS["Content-Type"]}


@pytest.fixture
def client(server: Server, request: pytest.FixtureRequest) -> Client:
    client = Client(server)
    extension = getattr(request.function, "extension", None)
    if extension is not None and extension not in client.extensions:
        if server.name == "ours":
            pytest.fail(f"we do not announce {extension}")
        pytest.skip(f"{server.name} does not announce {extension}")
    name, _, rest = request.node.name.removesuffix("]").partition("[")
    parameter = rest.removeprefix(server.name).removeprefix("-")
    if reason := DEVIATIONS.get((name, server.name)) or DEVIATIONS.get((f"{name}[{parameter}]", server.name)):
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return client


def extension(name: str) -> Callable[[Test], Test]:
    """Ask a test only of servers that announce this extension."""

    def mark(test: Test) -> Test:
        test.extension = name  # type: ignore[attr-defined]
        return test

    return mark


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def checksum(algorithm: str, body: bytes) -> str:
    return f"{algorithm} {encoded(hashlib.new(algorithm, body).digest())}"


# --- Core


def test_the_version_stands_in_every_answer_but_that_of_options(client: Client):
    url = client.create(5)
    for answer in (client.head(url), client.patch(url, 0, b"hello"), client.head(f"{client.server.endpoint}/none")):
        assert answer.headers["Tus-Resumable"] == "1.0.0"


def test_an_unsupported_version_is_refused_and_not_processed(client: Client):
    url = client.create(5)

    answer = client.ask("PATCH", url, body=b"hello", version="0.2.2", Upload_Offset="0", **_octets())

    assert answer.status_code == 412
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert client.offset(url) == 0


def test_a_missing_version_is_refused(client: Client):
    url = client.create(5)

    assert client.ask("PATCH", url, body=b"hello", version=None, Upload_Offset="0", **_octets()).status_code == 412


def test_options_says_the_versions_and_ignores_that_of_the_client(client: Client):
    answer = client.ask("OPTIONS", client.server.endpoint, version="9.9.9")

    assert answer.status_code in {200, 204}
    assert answer.headers["Tus-Version"].split(",")[0] == "1.0.0"


def test_head_always_says_the_offset_and_is_not_cached(client: Client):
    url = client.create(5)

    for offset in (0, 5):
        answer = client.head(url)
        assert answer.status_code in {200, 204}
        assert answer.headers["Upload-Offset"] == str(offset)
        assert answer.headers["Upload-Length"] == "5"
        assert "no-store" in answer.headers["Cache-Control"]
        if not offset:
            client.patch(url, 0, b"hello")


def test_head_of_nothing_says_no_offset(client: Client):
    answer = client.head(f"{client.server.endpoint}/{uuid.uuid4()}")

    assert answer.status_code in {403, 404, 410}
    assert "Upload-Offset" not in answer.headers


def test_patch_applies_the_bytes_at_the_offset(client: Client):
    url = client.create(11)

    first = client.patch(url, 0, b"hello")
    second = client.patch(url, 5, b" world")

    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "5")
    assert (second.status_code, second.headers["Upload-Offset"]) == (204, "11")
    if client.server.service:
        assert client.server.service.file_of(url) == b"hello world"


def test_patch_of_another_media_type_is_refused(client: Client):
    url = client.create(5)

    answer = client.ask("PATCH", url, body=b"hello", Upload_Offset="0", Content_Type="text/plain")

    assert answer.status_code == 415
    assert client.offset(url) == 0


@pytest.mark.parametrize("offset", [1, 3, 100])
def test_patch_at_another_offset_is_a_conflict_and_changes_nothing(client: Client, offset: int):
    url = client.create(5)
    client.patch(url, 0, b"he")

    assert client.patch(url, offset, b"llo").status_code == 409
    assert client.offset(url) == 2


def test_patch_of_nothing_is_not_found(client: Client):
    assert client.patch(f"{client.server.endpoint}/{uuid.uuid4()}", 0, b"x").status_code in {403, 404, 410}


@pytest.mark.parametrize("offset", ["-1", "one", "1.5", ""])
def test_an_offset_that_is_no_number_is_refused(client: Client, offset: str):
    url = client.create(5)

    answer = client.ask("PATCH", url, body=b"hello", Upload_Offset=offset, **_octets())

    assert 400 <= answer.status_code < 500
    assert client.offset(url) == 0


def test_patch_stores_what_arrived_of_a_body_that_is_cut(client: Client):
    url = client.create(100_000)
    wire = Wire(client.server.port)
    wire.begin("PATCH", url.removeprefix(f"http://127.0.0.1:{client.server.port}"), {"Upload-Offset": "0"} | OCTETS,
               length=100_000)  # fmt: skip
    wire.send(b"x" * 40_000)
    wire.cut()

    wait_until(lambda: client.offset(url) == 40_000, seconds=20)
    assert client.patch(url, 40_000, b"y" * 60_000).headers["Upload-Offset"] == "100000"


def test_the_override_names_the_method_that_counts(client: Client):
    url = client.create(5)

    answer = client.ask("POST", url, body=b"hello", Upload_Offset="0", X_HTTP_Method_Override="PATCH", **_octets())

    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "5")


# --- Creation


@extension("creation")
def test_creation_says_where(client: Client):
    answer = client.ask("POST", client.server.endpoint, Upload_Length="100")

    assert answer.status_code == 201
    assert client.offset(client.location(answer)) == 0


@extension("creation")
def test_an_empty_upload_is_complete_at_once(client: Client):
    url = client.create(0)

    assert client.head(url).headers["Upload-Offset"] == client.head(url).headers["Upload-Length"] == "0"


@extension("creation")
@pytest.mark.parametrize("length", ["-5", "five", "5.0", ""])
def test_a_length_that_is_no_number_is_refused(client: Client, length: str):
    assert client.ask("POST", client.server.endpoint, Upload_Length=length).status_code == 400


@extension("creation")
def test_creation_without_a_length_is_refused(client: Client):
    assert client.ask("POST", client.server.endpoint).status_code == 400


@extension("creation")
def test_more_than_the_announced_maximum_is_refused(client: Client):
    most = client.options().headers.get("Tus-Max-Size")
    if most is None:
        pytest.skip("no maximum is announced")

    assert client.ask("POST", client.server.endpoint, Upload_Length=str(int(most) + 1)).status_code == 413


@extension("creation")
def test_metadata_come_back_as_they_were_said(client: Client):
    metadata = f"filename {encoded('Grube öst.laz'.encode())},is_confidential,raw {encoded(bytes(range(256)))}"
    url = client.create(5, Upload_Metadata=metadata)

    said = re.split(r"\s*,\s*", client.head(url).headers["Upload-Metadata"])
    assert sorted(entry.strip() for entry in said) == sorted(metadata.split(","))


@extension("creation")
@pytest.mark.parametrize("metadata", ["name not*base64", ",", "a YQ==,a Yg=="])
def test_metadata_that_break_the_rules_are_refused(client: Client, metadata: str):
    answer = client.ask("POST", client.server.endpoint, Upload_Length="5", Upload_Metadata=metadata)

    assert answer.status_code == 400


@extension("creation-defer-length")
def test_a_deferred_length_is_said_later_and_stays(client: Client):
    url = client.create(Upload_Defer_Length="1")
    before = client.head(url)
    client.patch(url, 0, b"hello")

    assert before.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in before.headers
    assert client.head(url).headers["Upload-Defer-Length"] == "1"
    assert client.patch(url, 5, b" world", Upload_Length="11").status_code == 204
    after = client.head(url)
    assert after.headers["Upload-Length"] == after.headers["Upload-Offset"] == "11"
    assert "Upload-Defer-Length" not in after.headers


@extension("creation-defer-length")
def test_a_length_once_set_cannot_be_changed(client: Client):
    url = client.create(Upload_Defer_Length="1")
    client.patch(url, 0, b"hello", Upload_Length="20")

    assert client.patch(url, 5, b"x", Upload_Length="30").status_code == 400
    assert client.head(url).headers["Upload-Length"] == "20"


@extension("creation-defer-length")
@pytest.mark.parametrize("value", ["0", "2", "yes"])
def test_deferring_says_1_or_nothing(client: Client, value: str):
    assert client.ask("POST", client.server.endpoint, Upload_Defer_Length=value).status_code == 400


@extension("creation-with-upload")
@pytest.mark.parametrize("n_bytes", [5, 11])
def test_creation_takes_the_first_bytes(client: Client, n_bytes: int):
    answer = client.ask("POST", client.server.endpoint, body=b"hello world"[:n_bytes], Upload_Length="11", **_octets())

    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, str(n_bytes))
    assert client.offset(client.location(answer)) == n_bytes


@extension("creation-with-upload")
def test_creation_waits_for_100_continue_before_bytes(client: Client):
    wire = Wire(client.server.port)
    wire.begin("POST", "/files", {"Upload-Length": "5", "Expect": "100-continue"} | OCTETS, length=5)
    first = wire.socket.recv(65536)
    assert first.startswith(b"HTTP/1.1 100")
    wire.send(b"hello")

    answer = wire.answer()
    assert (answer.status, answer.offset) == (201, 5)


# --- Expiration


@extension("expiration")
def test_the_end_is_said_at_creation_and_with_each_patch(client: Client):
    answer = client.ask("POST", client.server.endpoint, Upload_Length="5")
    patched = client.patch(client.location(answer), 0, b"he")

    for said in (answer, patched):
        assert said.headers["Upload-Expires"].endswith(" GMT")
        assert parsedate_to_datetime(said.headers["Upload-Expires"]).tzinfo is not None


# --- Checksum


@extension("checksum")
def test_the_algorithms_are_announced_with_sha1_among_them(client: Client):
    assert "sha1" in client.options().headers["Tus-Checksum-Algorithm"].split(",")


@extension("checksum")
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_right_checksum_is_taken(client: Client, algorithm: str):
    if algorithm not in client.options().headers["Tus-Checksum-Algorithm"].split(","):
        pytest.skip(f"{algorithm} is not announced")
    url = client.create(5)

    assert client.patch(url, 0, b"hello", Upload_Checksum=checksum(algorithm, b"hello")).status_code == 204
    assert client.offset(url) == 5


@extension("checksum")
def test_a_wrong_checksum_is_460_and_keeps_nothing(client: Client):
    url = client.create(5)

    assert client.patch(url, 0, b"hello", Upload_Checksum=checksum("sha1", b"other")).status_code == 460
    assert client.offset(url) == 0
    assert client.patch(url, 0, b"hello", Upload_Checksum=checksum("sha1", b"hello")).status_code == 204


@extension("checksum")
@pytest.mark.parametrize("header", ["crc99 AAAA", "SHA1 AAAA", "sha1 not*base64"])
def test_an_unknown_or_broken_checksum_is_400_and_keeps_nothing(client: Client, header: str):
    url = client.create(5)

    assert client.patch(url, 0, b"hello", Upload_Checksum=header).status_code == 400
    assert client.offset(url) == 0


@extension("checksum")
def test_a_cut_body_with_a_checksum_keeps_nothing(client: Client):
    url = client.create(100_000)
    headers = {"Upload-Offset": "0", "Upload-Checksum": checksum("sha1", b"x" * 100_000)} | OCTETS
    wire = Wire(client.server.port)
    wire.begin("PATCH", url.removeprefix(f"http://127.0.0.1:{client.server.port}"), headers, length=100_000)
    wire.send(b"x" * 40_000)
    wire.cut()

    answer = client.patch_when_free(url, 0, b"x" * 100_000, Upload_Checksum=checksum("sha1", b"x" * 100_000))
    assert (answer.status_code, answer.headers.get("Upload-Offset")) == (204, "100000"), answer.text


# --- Termination


@extension("termination")
@pytest.mark.parametrize("n_bytes", [2, 5])
def test_delete_ends_an_upload_finished_or_not(client: Client, n_bytes: int):
    url = client.create(5)
    client.patch(url, 0, b"hello"[:n_bytes])

    assert client.ask("DELETE", url).status_code == 204
    assert client.head(url).status_code in {404, 410}
    assert client.patch(url, n_bytes, b"").status_code in {404, 410}
    assert client.ask("DELETE", url).status_code in {404, 410}


# --- Concatenation


@extension("concatenation")
def test_parts_become_one_file_in_the_order_said(client: Client):
    parts = [client.create(len(piece), Upload_Concat="partial") for piece in (b"hello", b" world")]
    for url, piece in zip(parts, (b"hello", b" world"), strict=True):
        assert client.head(url).headers["Upload-Concat"] == "partial"
        assert client.patch(url, 0, piece).status_code == 204
    concat = f"final;{parts[1]} {parts[0]}"

    url = client.create(None, Upload_Concat=concat)

    answer = client.head(url)
    assert answer.headers["Upload-Length"] == answer.headers["Upload-Offset"] == "11"
    assert answer.headers["Upload-Concat"] == concat
    if client.server.service:
        assert client.server.service.file_of(url) == b" worldhello"


@extension("concatenation")
def test_parts_may_be_named_by_path_alone_and_be_used_again(client: Client):
    part = client.create(3, Upload_Concat="partial")
    client.patch(part, 0, b"abc")
    path = part.removeprefix(f"http://127.0.0.1:{client.server.port}")

    for _ in range(2):
        url = client.create(None, Upload_Concat=f"final;{path} {path}")
        assert client.offset(url) == 6


@extension("concatenation")
def test_a_final_upload_takes_no_bytes(client: Client):
    part = client.create(3, Upload_Concat="partial")
    client.patch(part, 0, b"abc")
    url = client.create(None, Upload_Concat=f"final;{part}")

    assert client.patch(url, 3, b"").status_code == 403


@extension("concatenation")
def test_metadata_of_parts_are_not_those_of_the_final_upload(client: Client):
    part = client.create(3, Upload_Concat="partial", Upload_Metadata=f"filename {encoded(b'part')}")
    client.patch(part, 0, b"abc")
    with_own = client.create(None, Upload_Concat=f"final;{part}", Upload_Metadata=f"filename {encoded(b'whole')}")

    assert "Upload-Metadata" not in client.head(client.create(None, Upload_Concat=f"final;{part}")).headers
    assert client.head(with_own).headers["Upload-Metadata"] == f"filename {encoded(b'whole')}"


@extension("concatenation")
def test_parts_that_are_not_complete_cannot_be_joined(client: Client):
    if "concatenation-unfinished" in client.extensions:
        pytest.skip("this server joins them later")
    part = client.create(3, Upload_Concat="partial")
    client.patch(part, 0, b"ab")

    answer = client.ask("POST", client.server.endpoint, Upload_Concat=f"final;{part}")

    assert 400 <= answer.status_code < 500


@extension("concatenation")
def test_a_length_has_no_place_at_a_final_upload(client: Client):
    part = client.create(3, Upload_Concat="partial")
    client.patch(part, 0, b"abc")

    answer = client.ask("POST", client.server.endpoint, Upload_Concat=f"final;{part}", Upload_Length="3")

    assert answer.status_code == 400
