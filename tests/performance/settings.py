"""The workbench's settings with two workers, as the peers have; Q_BULK switches to what stock Django-Q2 does best."""

import os

from tests.workbench.settings import *  # noqa: F403
from tests.workbench.settings import Q_CLUSTER

Q_CLUSTER = {
    **Q_CLUSTER,
    "workers": 2,
    "bulk": int(os.environ.get("Q_BULK", "1")),
    "queue_limit": 100,
    "recycle": 100_000,
}
MAX_CONCURRENT_ITEMS = 2
SLICE_SECONDS = 5
