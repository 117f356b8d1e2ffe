"""An ASGI application for daphne that sends more than anybody should keep in memory, and tells how far it got."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator import backpressure

SIZE = 256 * 1024 * 1024
CHUNK = 256 * 1024
backpressure.install()
state = {"sent": 0, "ended": 0}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/state":
        body = f"{state['sent']} {state['ended']}".encode()
        await send({"type": "http.response.body", "body": body})
        return
    try:
        for _ in range(SIZE // CHUNK):
            await send({"type": "http.response.body", "body": b"x" * CHUNK, "more_body": True})
            state["sent"] += CHUNK
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
    finally:
        state["ended"] += 1
