"""Health and metrics"""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs.clusters import Cluster
from jobs.models import ClusterCanary, Job
from orchestrator import health
from orchestrator.disk import Disk
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

SERVICES = {"database", "cache", "queue", "workers", "storage"}


@pytest.fixture
def _alive_clusters(db):
    for cluster in Cluster.values:
        ClusterCanary.objects.create(cluster=cluster, host="here")


@pytest.fixture
def set_free(monkeypatch):
    """Tell the desk how much of a disk of 100 GB is free."""

    def tell(n_bytes: int) -> None:
        monkeypatch.setattr(Disk, "look", lambda: Disk(used=10**11 - n_bytes, total=10**11, free=n_bytes))

    return tell


@pytest.mark.parametrize("path", ["/health", "/api/health", "/health/"])
@pytest.mark.usefixtures("_alive_clusters")
def test_a_desk_that_is_well_says_so_without_a_login(client, closed_desk, path, set_free):
    set_free(6 * 10**9)

    response = client.get(path)

    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "healthy"
    assert set(answer) == {"status", "timestamp", "version", "services"}
    assert set(answer["services"]) >= SERVICES
    assert {part["status"] for part in answer["services"].values()} == {"healthy"}
    assert answer["services"]["workers"]["alive"] == 3
    assert {"pending", "oldest_seconds"} <= set(answer["services"]["queue"])


def test_a_desk_without_workers_is_degraded(client):
    response = client.get("/health")

    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["services"]["workers"] == {"status": "degraded", "alive": 0}


@pytest.mark.usefixtures("_alive_clusters")
def test_an_old_sign_of_life_does_not_count(client, settings):
    ClusterCanary.objects.filter(cluster="heavy").update(
        beat_at=Now() - timedelta(seconds=settings.CANARY_STALE_SECONDS + 1)
    )

    assert client.get("/health").json()["services"]["workers"]["alive"] == 2


def test_a_job_that_could_start_and_does_not_degrades_the_queue(client, settings):
    settings.MAX_CONCURRENT_JOBS = 0
    job = make_job()
    Job.objects.filter(pk=job.pk).update(created_at=Now() - timedelta(hours=1))
    waiting = client.get("/health").json()["services"]["queue"]
    settings.MAX_CONCURRENT_JOBS = 1

    stuck = client.get("/health").json()["services"]["queue"]

    assert waiting["status"] == "healthy"  # nobody wants it to start
    assert stuck["status"] == "degraded"
    assert stuck["pending"] == 1
    assert stuck["oldest_seconds"] >= 3600


def test_a_database_that_is_away_is_unhealthy_at_once(client, monkeypatch):
    real = connection.get_connection_params
    monkeypatch.setattr(connection, "get_connection_params", lambda: real() | {"host": "127.0.0.1", "port": "1"})

    response = client.get("/health")

    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json()["services"]["database"] == {"status": "unhealthy"}
    assert response.json()["services"]["cache"]["status"] == "healthy"
    assert client.get("/health/db").status_code == 503
    assert client.get("/api/health/ready").status_code == 503
    assert client.get("/api/health/live").status_code == 200


def test_a_disk_that_is_nearly_full_degrades(client, set_free):
    set_free(4 * 10**9)

    storage = client.get("/health").json()["services"]["storage"]

    assert storage == {"status": "degraded", "free_bytes": 4 * 10**9}


def test_storage_that_cannot_be_written_degrades(client, settings, tmp_path):
    settings.VAR_DIR = tmp_path / "gone"

    storage = client.get("/health").json()["services"]["storage"]

    assert storage == {"status": "unhealthy"}


def test_apps_add_their_parts(client, monkeypatch):
    monkeypatch.setattr(health, "_checks", dict(health._checks))
    health.register("extra", lambda: {"status": health.HEALTHY, "active": 2})

    assert client.get("/health").json()["services"]["extra"] == {"status": "healthy", "active": 2}
    assert client.get("/api/health/service/extra").json()["active"] == 2


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_part_can_be_asked(client, closed_desk, name):
    answer = client.get(f"/api/health/service/{name}").json()

    assert answer["name"] == name
    assert answer["status"] in {"healthy", "degraded"}


def test_an_unknown_part_is_not_found(client):
    assert client.get("/api/health/service/nothing").status_code == 404


def test_details_need_a_login(client, as_ada):
    assert client.get("/api/health/detailed").status_code == 401
    assert {"services", "versions", "limits", "access"} <= set(as_ada.get("/api/health/detailed").json())


def figures(client, **extra) -> dict[str, float]:
    response = client.get("/metrics", **extra)
    assert response.status_code == 200
    lines = re.findall(r"^([^#\s]+(?:\{.*\})?) (\S+)$", response.content.decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


@pytest.mark.usefixtures("_alive_clusters")
def test_metrics_tell_of_jobs_items_and_workers(client):
    make_job([{}, {"do": "permanent"}])
    work()
    make_job().cancel(by=None)

    found = figures(client)

    assert found['desk_jobs{status="partial"}'] == 1
    assert found['desk_jobs{status="cancelled"}'] == 1
    assert found['desk_jobs{status="running"}'] == 0
    assert found['desk_items_closed_total{status="completed"}'] == 1
    assert found['desk_items_closed_total{status="failed"}'] == 1
    assert found['desk_items_closed_total{status="cancelled"}'] == 1
    assert found['desk_workers_alive{cluster="vision"}'] == 1


def test_requests_are_counted_by_route_and_never_by_path(client):
    job = make_job()
    name = 'desk_requests_total{method="GET",route="api/perspectives/batch/status/<uuid:job_id>",status="200"}'
    before = figures(client).get(name, 0)

    client.get(f"/api/perspectives/batch/status/{job.job_id}")
    client.get("/nothing/like/this")
    found = figures(client)

    assert found[name] == before + 1
    assert not any(str(job.job_id) in series or "nothing" in series for series in found)


@pytest.mark.parametrize("peer", ["203.0.113.5", "", "2001:4860::1"])
def test_metrics_are_not_for_strangers(client, closed_desk, peer):
    assert client.get("/metrics", REMOTE_ADDR=peer).status_code == 401


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "172.18.0.4", "fd00::4"])
def test_metrics_are_for_this_network(client, closed_desk, peer):
    assert client.get("/metrics", REMOTE_ADDR=peer).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_a_proxy_beside_us_does_not_open_metrics_to_the_world(client, closed_desk, header):
    response = client.get("/metrics", REMOTE_ADDR="127.0.0.1", headers={header: "for=127.0.0.1"})

    assert response.status_code == 401


def test_metrics_are_given_to_a_token(as_ada):
    assert as_ada.get("/metrics", REMOTE_ADDR="203.0.113.5").status_code == 200


def test_metrics_are_read_not_posted(client):
    assert client.act("/metrics").status_code == 405


def test_methods_that_nobody_knows_share_one_series(client):
    client.generic("BREW", "/api/health/live")

    assert not any("BREW" in series for series in figures(client))
