"""Somebody at a websocket, over a real connection."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE_SECONDS = 30.0


class Viewer:
    """origin: None sends none, as programs do; a page of the desk by default."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        origin: str | None = "own",
        host: str | None = None,
        session: str | None = None,
        **query: Any,
    ) -> None:
        headers = {}
        if origin is not None:
            headers["Origin"] = f"http://127.0.0.1:{port}" if origin == "own" else origin
        if session is not None:
            headers["Cookie"] = f"sessionid={session}"
        address = f"ws://{host or '127.0.0.1'}:{port}{path}{'?' + urlencode(query) if query else ''}"
        # The name in the address may be a lie; the connection goes to our server all the same.
        way = socket.create_connection(("127.0.0.1", port))
        self._connecting = connect(address, sock=way, additional_headers=headers, proxy=None, max_size=None)

    def __enter__(self) -> Viewer:
        self._socket = self._connecting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connecting.__exit__(kind, error, trace)

    def say(self, type_: str, **members: Any) -> None:
        self._socket.send(json.dumps({"type": type_, **members}))

    def say_raw(self, text: str | bytes) -> None:
        self._socket.send(text)

    def hear(self, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Wait for the next message. Raises TimeoutError."""
        return json.loads(self._socket.recv(timeout=seconds))

    def hear_until(self, **members: Any) -> list[dict[str, Any]]:
        """Collect messages up to the first that has these members, that one included."""
        heard = [self.hear()]
        while not members.items() <= heard[-1].items():
            heard.append(self.hear())
        return heard

    def hear_the_end(self) -> tuple[int | None, list[dict[str, Any]]]:
        """Collect messages until the other side closes. Returns the close code and the messages."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except ConnectionClosed:
            return self._socket.close_code, heard
