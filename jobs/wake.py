"""Bringing workers to the rows: a Django-Q task is one slice, and any copy of it is as good as another."""

from django_q.tasks import async_task

from .taskbroker import TaskBroker, takeable

SLICE = "jobs.slices.run_slice"


def workers(cluster: str, n: int = 1) -> None:
    """Enqueue n slices for a cluster, in the caller's transaction: they are seen exactly when the rows are."""
    for _ in range(n):
        async_task(SLICE, q_options={"cluster": cluster})


def workers_in(cluster: str, seconds: float) -> None:
    """Enqueue one slice that no cluster takes before `seconds` have passed."""
    async_task(SLICE, q_options={"cluster": cluster, "broker": TaskBroker(cluster, delay_seconds=seconds)})


def close_items(job_pk: int) -> None:
    """Enqueue closing what a cancellation left open; reconcile does it too, should this be lost."""
    async_task("jobs.reconcile.close_items_of_cancelled", job_pk, q_options={"cluster": "default"})


def bulk_action(action_pk: int, seconds: float = 0) -> None:
    """Enqueue a bulk action, not to be taken before `seconds` have passed; reconcile does it too, should it be lost."""
    cluster = "default"
    async_task(
        "jobs.bulk.run", action_pk, q_options={"cluster": cluster, "broker": TaskBroker(cluster, delay_seconds=seconds)}
    )


def repair() -> None:
    """Enqueue the repair of everything that was lost (jobs/reconcile.py)."""
    async_task("jobs.reconcile.reconcile", q_options={"cluster": "default"})


def n_queued(cluster: str) -> int:
    """Count the tasks that wait for this cluster and could be taken now."""
    return takeable(cluster).count()
