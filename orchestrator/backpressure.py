"""Let a slow reader slow down what is sent to it.

Daphne hands every chunk of a reply to Twisted at once, and what the network has not taken stays in memory: measured, a
reader of 5 MB/s brought 650 MB of a file of a gigabyte into the web process within twelve seconds. Twisted tells a
producer when to pause; Daphne registers none, so each reply in pieces gets one here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import WebRequest
from daphne.server import Server
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer  # type: ignore[import-untyped]


def install() -> None:
    """Make the daphne command start our server. Call it from the module of the application, which is read before."""
    CommandLineInterface.server_class = PatientServer


@implementer(IPushProducer)
class Valve:
    """Open while the network takes what is sent."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def passed(self) -> None:
        await self._is_open.wait()

    def pauseProducing(self) -> None:  # noqa: N802  Twisted calls these
        self._is_open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._is_open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """The reader is gone: whoever waits goes on, and Daphne drops what comes."""
        self._is_open.set()


class PatientServer(Server):
    """Daphne's server, whose applications wait in `send` until there is room for more."""

    async def handle_reply(self, protocol: Any, message: Mapping[str, Any]) -> None:
        if not isinstance(protocol, WebRequest) or message.get("type") != "http.response.body":
            await super().handle_reply(protocol, message)
            return
        is_last = not message.get("more_body", False)
        if protocol.channel is not None:  # else the reader is gone
            if is_last and protocol.producer is not None:
                protocol.unregisterProducer()
            elif not is_last and protocol.producer is None:
                protocol.registerProducer(Valve(), True)
        await super().handle_reply(protocol, message)
        if not is_last and protocol.producer is not None:
            await protocol.producer.passed()
