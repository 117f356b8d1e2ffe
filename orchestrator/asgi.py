"""What the web process serves: pages and API by Django, live updates by Channels."""

import gc
import os
from importlib import import_module
from typing import IO, Any

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.handlers.asgi import ASGIHandler, ASGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402

from jobs import relay  # noqa: E402  it and the consumers need the models
from jobs.routing import websocket_urlpatterns  # noqa: E402
from orchestrator import backpressure, proxies  # noqa: E402


class MeasuredRequest(ASGIRequest):
    """A request that knows its length also where the client sent it in chunks; DRF takes no length for no body."""

    def __init__(self, scope: dict[str, Any], body_file: IO[bytes]) -> None:
        super().__init__(scope, body_file)
        if not self.META.get("CONTENT_LENGTH"):
            self.META["CONTENT_LENGTH"] = str(body_file.seek(0, os.SEEK_END))
            body_file.seek(0)


class DeskHandler(ASGIHandler):
    request_class = MeasuredRequest


def load_for_good() -> None:
    """Load every view, and leave what is loaded out of all garbage collections to come.

    A full one went through 170,000 objects that never go away, and held every request up for 90 ms.
    """
    import_module(settings.ROOT_URLCONF)
    gc.collect()
    gc.freeze()


application = proxies.OwnScheme(
    ProtocolTypeRouter({"http": DeskHandler(), "websocket": URLRouter(websocket_urlpatterns)})
)
backpressure.install()
if settings.IN_WEB:
    load_for_good()
    relay.start()
