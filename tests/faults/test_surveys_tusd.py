"""A real desk behind a tusd: surveys whose files never pass through the desk, and hooks that come twice, late or never.

tusd itself is in no package registry, so a stand-in speaks for it (tests/workbench/tusd.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.faults.desk import Desk, free_port, temporary_folder
from tests.workbench.tusd import Tusd
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SECRET = "what only the two of them know"
TUS = {"Tus-Resumable": "1.0.0"}
LABELS = ("pre", "post", "shp", "shx")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[tuple[Desk, Tusd]]:
    port = free_port()
    desk = Desk(folder, TUS_SERVER="tusd", TUS_ENDPOINT=f"http://127.0.0.1:{port}/files", TUSD_HOOK_SECRET=SECRET)
    hooks = f"http://tusd:{SECRET.replace(' ', '%20')}@127.0.0.1:{desk.port}/tusd_hook"
    with Tusd(desk.var_dir / "media" / "tusd", port, hooks, name_suffix="+2~multipart") as tusd:
        try:
            desk.start()
            yield desk, tusd
        finally:
            desk.end()


def create(desk: Desk) -> tuple[str, dict[str, str]]:
    answer = requests.post(f"{desk.address}/create_task", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["task_id"], answer.json()["upload_urls"]


def send(address: str, content: Path, *, says_length: bool = True) -> None:
    """Do as the phone client does: ask how far it is, and say the length with the first bytes."""
    whole = content.read_bytes()
    offset = int(requests.head(address, headers=TUS, timeout=60).headers["Upload-Offset"])
    while offset < len(whole):
        headers = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        headers |= {"Upload-Length": str(len(whole))} if offset == 0 and says_length else {}
        answer = requests.patch(address, data=whole[offset : offset + 40_000], headers=headers, timeout=60)
        assert answer.status_code == 204, answer.text
        offset = int(answer.headers["Upload-Offset"])


def status(desk: Desk, task_id: str) -> str:
    return str(requests.get(f"{desk.address}/query_task/{task_id}", timeout=60).json()["status"])


def n_starts(desk: Desk, task_id: str) -> int:
    """Count how often the survey's job became ready, and make sure that it has one job only."""
    with desk.connect() as connection:
        jobs = connection.execute("SELECT id FROM jobs_job WHERE config->>'task' = %s", [task_id]).fetchall()
        ((n,),) = connection.execute(
            "SELECT count(*) FROM jobs_jobevent WHERE job_id = %s AND type = 'JOB_READY'", [jobs[0][0]]
        ).fetchall()
    assert len(jobs) == 1
    return int(n)


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(os.urandom(100_000))  # no point cloud, so that the survey ends at its first stage
    return path


def test_files_go_to_tusd_and_the_last_two_hooks_start_the_survey_once(pair, file):
    """All four hooks arrive at the same moment, each of them three times."""
    desk, tusd = pair
    task_id, addresses = create(desk)
    assert all(address.startswith(f"{tusd.endpoint}/") for address in addresses.values())
    tusd.holds_back, tusd.n_deliveries = True, 3
    for label in LABELS:
        send(addresses[label], file)
    assert status(desk, task_id) == "waiting"
    tusd.held_back = [body for body in tusd.held_back if body["Type"] == "post-finish"]
    assert len(tusd.held_back) == 4
    tusd.answers.clear()

    tusd.let_go()
    tusd.holds_back, tusd.n_deliveries, tusd.held_back = False, 1, []

    wait_until(lambda: status(desk, task_id) == "error", seconds=180)
    assert n_starts(desk, task_id) == 1
    assert set(tusd.answers) <= {200, 423}
    assert "tus" not in desk.roles()


def test_a_survey_whose_client_says_no_length_starts_when_it_is_asked_for(pair, file):
    desk, _ = pair
    task_id, addresses = create(desk)
    for label in LABELS[:3]:
        send(addresses[label], file, says_length=False)
    start = f"{desk.address}/start_task/{task_id}"
    early = requests.post(start, timeout=60)
    send(addresses[LABELS[3]], file, says_length=False)

    answer = requests.post(start, timeout=60)

    assert (early.status_code, early.json()["missing"]) == (400, [LABELS[3]])
    assert (answer.status_code, answer.json()) == (200, {"started": True})
    wait_until(lambda: status(desk, task_id) == "error", seconds=180)
    assert n_starts(desk, task_id) == 1


def test_a_survey_whose_hooks_are_all_lost_starts_when_it_is_asked_for(pair, file):
    desk, tusd = pair
    task_id, addresses = create(desk)
    tusd.holds_back = True
    for label in LABELS:
        send(addresses[label], file)
    tusd.holds_back, tusd.held_back = False, []

    answer = requests.post(f"{desk.address}/start_task/{task_id}", timeout=60)

    assert (answer.status_code, answer.json()) == (200, {"started": True})
    wait_until(lambda: status(desk, task_id) == "error", seconds=180)
    assert n_starts(desk, task_id) == 1


def test_strangers_create_nothing_at_a_closed_desk_and_a_tusd_that_is_away_is_said(pair, file):
    desk, tusd = pair
    refused = requests.post(
        f"{tusd.endpoint}/",
        headers=TUS | {"Upload-Length": "5", "Origin": "https://elsewhere.example"},
        timeout=60,
    )
    assert (refused.status_code, refused.json()["error_code"]) == (403, "foreign_origin")

    tusd.__exit__()
    answer = requests.post(f"{desk.address}/create_task", timeout=60)

    assert (answer.status_code, answer.json()["error_code"]) == (503, "tusd_unavailable")
    assert answer.headers["Retry-After"]
