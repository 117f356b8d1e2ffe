"""The operator's desk over the queue: one file a noun."""

from . import archive, edges, events, items, jobs, queues, tables

__all__ = ["archive", "edges", "events", "items", "jobs", "queues", "tables"]
