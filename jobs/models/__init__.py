"""The queue's rows: queues, jobs, items, lanes, events, archives.

Rows are the truth; a Django-Q task only brings a process to them (docs/explanation/queue.md).
"""

from .archive import JobArchive
from .columns import NextRank, RandomUUID
from .event import BrokerDelivery, EventStream, JobEvent
from .item import ItemEdge, JobItem
from .job import Executor, Job, JobDependency, OnFailedDependency
from .queue import Queue
from .worker import ClusterCanary, Lane

# Rows with a story of their own live beside it; Django finds them here. After the others, which they use.
from ..bulk import BulkAction  # isort: skip
from ..saved_views import SavedView  # isort: skip
from ..tallies import Tally  # isort: skip

__all__ = [
    "BrokerDelivery",
    "BulkAction",
    "ClusterCanary",
    "EventStream",
    "Executor",
    "ItemEdge",
    "Job",
    "JobArchive",
    "JobDependency",
    "JobEvent",
    "JobItem",
    "Lane",
    "NextRank",
    "OnFailedDependency",
    "Queue",
    "RandomUUID",
    "SavedView",
    "Tally",
]
