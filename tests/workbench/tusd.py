"""A stand-in for tusd 2 with its file store: the part of tus that clients of a survey use, and its HTTP hooks.

Written from tusd's documentation of hooks and of its storage format. Hooks that only tell are sent after the answer,
as there; here they can be held back, and be sent more than once.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import requests

VERSION = {"Tus-Resumable": "1.0.0"}
# As tusd lets pages of any origin in, unless told otherwise.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, HEAD, PATCH, OPTIONS, GET, DELETE",
    "Access-Control-Allow-Headers": "Content-Type, Tus-Resumable, Upload-Defer-Length, Upload-Length, Upload-Metadata,"
    " Upload-Offset, X-HTTP-Method-Override, X-Request-ID",
    "Access-Control-Expose-Headers": "Location, Tus-Resumable, Upload-Defer-Length, Upload-Length, Upload-Offset",
}


def hook_body(kind: str, upload: dict[str, Any], request: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a hook as tusd's documentation shows it. upload: what is to be said of it; the rest is as by default."""
    whole = {
        "ID": "",
        "Size": 0,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": None,
    }
    asked = {
        "Method": "POST",
        "URI": "/files/",
        "RemoteAddr": "127.0.0.1:59395",
        "Header": {"Tus-Resumable": ["1.0.0"]},
    }
    return {"Type": kind, "Event": {"Upload": whole | upload, "HTTPRequest": asked | (request or {})}}


class Tusd:
    """One server.

    folder: its -upload-dir. hooks_http: its -hooks-http; user and password in it become basic authorization.
    name_suffix: what its names of uploads end with, as on S3.
    """

    def __init__(self, folder: Path, port: int, hooks_http: str, *, name_suffix: str = "") -> None:
        self.folder = folder
        self.port = port
        self.hooks_http = hooks_http
        self.name_suffix = name_suffix
        self.n_deliveries = 1
        self.holds_back = False
        self.held_back: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/files"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ask(self, body: dict[str, Any]) -> requests.Response:
        answer = requests.post(self.hooks_http, json=body, timeout=60)
        self.answers.append(answer.status_code)
        return answer

    def tell(self, body: dict[str, Any]) -> None:
        if self.holds_back:
            self.held_back.append(body)
            return
        for _ in range(self.n_deliveries):
            threading.Thread(target=self.ask, args=[body]).start()

    def let_go(self) -> None:
        """Deliver what was held back, all of it at the same moment."""
        bodies = self.held_back * self.n_deliveries
        barrier = threading.Barrier(len(bodies))

        def deliver(body: dict[str, Any]) -> None:
            barrier.wait()
            self.ask(body)

        threads = [threading.Thread(target=deliver, args=[body]) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # --- Files

    def path(self, upload_id: str) -> Path:
        return self.folder / upload_id.partition("+")[0]

    def notes(self, upload_id: str) -> dict[str, Any]:
        notes: dict[str, Any] = json.loads(Path(f"{self.path(upload_id)}.info").read_text())
        return notes | {"Offset": self.path(upload_id).stat().st_size}

    def write(self, notes: dict[str, Any]) -> None:
        Path(f"{self.path(notes['ID'])}.info").write_text(json.dumps(notes))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        tusd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in {**VERSION, **CORS, **headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            @property
            def asked(self) -> dict[str, Any]:
                header = {name.title(): self.headers.get_all(name) for name in self.headers}
                return {"Method": self.command, "URI": self.path, "Header": header}

            @property
            def upload_id(self) -> str:
                return self.path.rpartition("/")[2]

            def do_OPTIONS(self) -> None:
                self.answer(200)

            def do_POST(self) -> None:
                length = self.headers.get("Upload-Length")
                pairs = [pair.split(" ") for pair in self.headers.get("Upload-Metadata", "").split(",") if pair]
                notes = {
                    "ID": "",
                    "Size": int(length or 0),
                    "SizeIsDeferred": length is None,
                    "Offset": 0,
                    "MetaData": {name: base64.b64decode(value).decode() for name, value in pairs},
                }
                reply = tusd.ask(hook_body("pre-create", notes, self.asked)).json()
                if reply.get("RejectUpload"):
                    response = reply["HTTPResponse"]
                    self.answer(response["StatusCode"], response["Body"].encode(), **response["Header"])
                    return
                change = reply.get("ChangeFileInfo", {})
                notes["ID"] = change.get("ID", uuid4().hex) + tusd.name_suffix
                notes["MetaData"] = change.get("MetaData", notes["MetaData"])
                tusd.path(notes["ID"]).touch()
                tusd.write(notes)
                tusd.tell(hook_body("post-create", notes, self.asked))
                self.answer(201, Location=f"{tusd.endpoint}/{notes['ID']}")

            def do_HEAD(self) -> None:
                notes = tusd.notes(self.upload_id)
                size = (
                    {"Upload_Defer_Length": "1"} if notes["SizeIsDeferred"] else {"Upload_Length": str(notes["Size"])}
                )
                self.answer(200, Upload_Offset=str(notes["Offset"]), Cache_Control="no-store", **size)

            def do_PATCH(self) -> None:
                notes = tusd.notes(self.upload_id)
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if int(self.headers["Upload-Offset"]) != notes["Offset"]:
                    self.answer(409)
                    return
                if "Upload-Length" in self.headers:
                    notes |= {"Size": int(self.headers["Upload-Length"]), "SizeIsDeferred": False}
                    tusd.write(notes)
                with tusd.path(self.upload_id).open("ab") as file:
                    file.write(content)
                notes = tusd.notes(self.upload_id)
                self.answer(204, Upload_Offset=str(notes["Offset"]))
                if not notes["SizeIsDeferred"] and notes["Offset"] == notes["Size"]:
                    tusd.tell(hook_body("post-finish", notes, self.asked))

            def do_DELETE(self) -> None:
                notes = tusd.notes(self.upload_id)
                reply = tusd.ask(hook_body("pre-terminate", notes, self.asked)).json()
                if reply.get("RejectTermination"):
                    response = reply["HTTPResponse"]
                    self.answer(response["StatusCode"], response["Body"].encode())
                    return
                tusd.path(self.upload_id).unlink()
                Path(f"{tusd.path(self.upload_id)}.info").unlink()
                self.answer(204)
                tusd.tell(hook_body("post-terminate", notes, self.asked))

        return Handler
