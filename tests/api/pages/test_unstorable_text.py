"""Text that no column takes, in the addresses and forms of every app's pages"""

from __future__ import annotations

import pytest

from tests.api.pages.conftest import browser_of
from tests.captions import make_dataset
from tests.workbench.rows import make_job, make_user
from volcal import intake

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "address",
    [
        *("/queue?search=%00", "/datasets?dataset=a%00b", "/datasets/birds?search=%00", "/datasets/birds?lacks=%00"),
        *("/review?dataset=%00", "/jobs/new?dataset=%00", "/surveys?survey=%00", "/queue?%00=1"),
    ],
)
def test_a_nul_in_the_address_of_a_page_is_refused_with_a_page(ada_browses, ada, address):
    make_dataset(ada)

    answer = ada_browses.get(address)

    assert answer.status_code == 400
    assert "NUL characters" in answer.content.decode()


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/datasets/create", {"name": "a\0b"}),
        ("/jobs/{job}/cancel", {"reason": "a\0b"}),
        ("/surveys/{survey}/rename", {"name": "a\0b"}),
        ("/jobs/new", {"perspectives": ["plain", "a\0b"]}),
        ("/login", {"username": "a\0b", "password": "x"}),
    ],
)
def test_a_nul_in_a_form_is_refused_with_a_page(ada_browses, ada, address, fields):
    things = {"job": make_job(by=ada).job_id, "survey": intake.create(by=ada).task_id}

    answer = ada_browses.post(address.format(**things), fields)

    assert answer.status_code == 400
    assert "NUL characters" in answer.content.decode()


@pytest.mark.parametrize("address", ["jobs/job/?status__exact=%00", "captioning/provider/?kind__exact=%00"])
def test_a_nul_in_a_filter_of_the_administration_is_refused(closed_desk, address):
    root = browser_of(make_user("root", is_staff=True, is_superuser=True))

    assert root.get(f"/admin/{address}").status_code == 400


def test_a_program_is_told_as_a_problem(closed_desk, client, ada):
    client.force_login(ada)

    told = client.get("/datasets?dataset=%00")

    assert (told.status_code, told.json()["error_code"]) == (400, "invalid")
