"""What the journeys have in common: jobs made through the API, and marks that a reload would wipe away."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from playwright.sync_api import Page

from tests.faults.desk import Desk


def ask(desk: Desk, path: str, body: dict[str, Any] | None = None) -> Any:
    """Talk to the API, a POST where there is a body. path: one of batch jobs unless it begins with a slash."""
    data = None if body is None else json.dumps(body).encode()
    address = urljoin(f"{desk.address}/api/perspectives/batch/", path)
    with urlopen(Request(address, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


def create_job(desk: Desk, name: str) -> str:
    body = {"type": "DATASET_PERSPECTIVE", "dataset": "demo", "perspectives": ["colours_and_composition"], "name": name}
    return str(ask(desk, "create", body)["jobId"])


def clear_queue(desk: Desk) -> None:
    """Put every job away and let the queue run, as if nobody had been here."""
    for job in ask(desk, "list?limit=500")["jobs"]:
        if job["status"] in ("waiting", "pending", "running"):
            _cancel(desk, job["jobId"])
        ask(desk, f"archive/{job['jobId']}", {})
    ask(desk, "limits", {"paused": False})


def _cancel(desk: Desk, job: str) -> None:
    try:
        ask(desk, f"cancel/{job}", {})
    except HTTPError as refusal:
        if refusal.code != 409:  # it has just finished
            raise


def mark(page: Page) -> None:
    """Leave a mark that a reload would wipe away."""
    page.evaluate("window.isStillTheSamePage = true")


def is_marked(page: Page) -> Any:
    return page.evaluate("window.isStillTheSamePage === true")
