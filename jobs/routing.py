"""Addresses of the websockets, with and without `v1` and a slash at the end, as everywhere."""

from django.urls import re_path

from .consumers import JobSocket, NowhereSocket, QueueSocket

_WS = r"^api/(?:v1/)?ws/"

websocket_urlpatterns = [
    re_path(_WS + r"jobs/(?P<job_id>[^/]+)/?$", JobSocket.as_asgi()),
    re_path(_WS + r"job-queue/?$", QueueSocket.as_asgi()),
    # Last: without a match Channels would end the connection with a trace in the log.
    re_path(r"", NowhereSocket.as_asgi()),
]
