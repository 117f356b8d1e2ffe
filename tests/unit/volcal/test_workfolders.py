"""The folder of a survey on one machine: who may use it, and when it goes."""

from __future__ import annotations

import subprocess
from uuid import uuid4

import pytest
from django.utils.module_loading import import_string
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.signals import post_spawn

from jobs.models import Lane
from tests.surveys import make_survey, work_folders
from volcal import workfolders


def test_a_child_keeps_the_folder_until_it_ends(ada, engine):
    job_id = make_survey(ada).job.job_id

    with workfolders.opened(job_id) as folder:
        child = subprocess.Popen(["/bin/sleep", "600"], pass_fds=[folder.lock])
    try:
        with pytest.raises(workfolders.FolderBusy), workfolders.opened(job_id):
            pass
    finally:
        child.kill()
        child.wait()
    with workfolders.opened(job_id):
        assert work_folders() == [str(job_id)]


def test_sweeping_leaves_alone_what_is_still_open(ada, engine, settings):
    survey = make_survey(ada)
    with workfolders.opened(survey.job.job_id):
        pass
    (settings.VAR_DIR / "work" / "something").mkdir()

    workfolders.sweep()

    assert work_folders() == [str(survey.job.job_id)]
    assert Lane.objects.filter(token__isnull=False).count() == 0


def test_a_worker_of_the_heavy_cluster_begins_with_sweeping_its_machine(db, settings, monkeypatch):
    left = settings.VAR_DIR / "work" / str(uuid4())
    left.mkdir(parents=True)

    for cluster in ("default", "vision"):
        monkeypatch.setattr(Conf, "CLUSTER_NAME", cluster)
        post_spawn.send(sender="django_q", proc_name="worker")
        assert left.exists()
    monkeypatch.setattr(Conf, "CLUSTER_NAME", "heavy")
    post_spawn.send(sender="django_q", proc_name="worker")

    assert not left.exists()


def test_the_heavy_cluster_sweeps_by_schedule(db, settings):
    left = settings.VAR_DIR / "work" / str(uuid4())
    left.mkdir(parents=True)
    schedule = Schedule.objects.get(name="sweep work folders")

    import_string(schedule.func)()

    assert (schedule.cluster, schedule.minutes, schedule.repeats) == ("heavy", 1, -1)
    assert not left.exists()
