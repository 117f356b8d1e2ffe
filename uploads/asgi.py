"""What the upload service serves; uvicorn runs it on TUS_PORT."""

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
django.setup(set_prefix=False)

from orchestrator import proxies  # noqa: E402
from uploads import storage, tus  # noqa: E402  they need the models
from uploads.threads import slowly  # noqa: E402

logger = logging.getLogger(__name__)
logging.getLogger("uvicorn").handlers.clear()  # what it says becomes one of our own lines
logging.getLogger("uvicorn").propagate = True


async def _serve(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await tus.application(scope, receive, send)
    else:  # nothing here speaks websocket
        await send({"type": "websocket.close", "code": 4404})


async def _live(receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await slowly(storage.ensure_place)
            except storage.StoreUnavailable:
                # Requests say so with 503 until the store is there; the service need not wait for it.
                logger.exception("the store is away at the start")
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


application = proxies.OwnScheme(_serve)
