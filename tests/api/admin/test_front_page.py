"""What the administration's front page tells an operator"""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils.timezone import now

from jobs.models import BrokerDelivery, ClusterCanary, EventStream, Queue
from orchestrator import roles
from tests.workbench.rows import make_job, make_staff, make_user, work

pytestmark = pytest.mark.django_db


def front(client) -> str:
    return client.get("/admin/").content.decode()


def test_a_desk_that_is_well_says_so(console):
    ClusterCanary.objects.create(cluster="default", host="here")

    assert "Nothing: every worker reports" in front(console)


def test_each_thing_that_needs_an_operator_is_named(console, operator):
    make_job([{"do": "permanent"}], by=operator)
    work()
    ClusterCanary.objects.create(cluster="heavy", host="there", beat_at="2020-01-01T00:00Z")
    Queue.objects.get(name="default").pause(by=operator)
    BrokerDelivery.objects.create(stream=EventStream.objects.get(job=None), parked_at=now())

    page = front(console)

    assert "Cluster heavy on there gives no sign of life." in page
    assert "The queue default is paused." in page
    assert "1 job failed, wholly or in part." in page
    assert "1 stream of events is parked." in page
    assert "Nothing: every worker reports" not in page


def test_what_people_did_is_listed_with_their_names(console, operator):
    job = make_job(by=operator, name="owls at dusk")
    job.pause(by=make_user("grace"))

    page = front(console)

    assert "owls at dusk" in page
    assert "by grace" in page


def test_the_number_of_queries_does_not_grow(console, operator, django_assert_max_num_queries):
    for n in range(6):
        make_job(by=operator, name=f"job {n}").pause(by=operator)
        ClusterCanary.objects.create(cluster="default", host=f"host-{n}")
    front(console)

    with django_assert_max_num_queries(20):
        front(console)


def test_each_role_sees_the_front_page_and_staff_without_one_learns_what_is_missing(closed_desk):
    for role in roles.ROLES:
        client = Client()
        client.force_login(make_staff(role.name, role=role))
        assert "Needs you" in front(client)

    client = Client()
    client.force_login(make_user("new", is_staff=True))
    assert "Your account has no role yet." in front(client)


def test_a_stranger_comes_to_no_page_of_the_administration(closed_desk):
    client = Client()
    client.force_login(make_user("stranger"))

    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/jobs/job/").status_code == 302
