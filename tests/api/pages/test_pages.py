"""Every page: who may see it, what it costs, and that it keeps the policy"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from captioning import library
from captioning.models import Provider
from jobs.models import Job
from tests.captions import make_caption, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

LARGEST_PAGE = 150_000  # bytes


class Markup(HTMLParser):
    """Collects what a strict policy forbids, and everything that the page loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if (tag == "script" and not named.get("src")) or tag == "style":
            self.forbidden.append(f"inline <{tag}>")
        self.forbidden += [f"{name} on <{tag}>" for name in named if name == "style" or name.startswith("on")]
        address = named.get("src") or (named.get("href") if tag == "link" else None)
        if address:
            self.loaded.append(address)


def policy_of(response) -> dict[str, set[str]]:
    """Read the policy of an answer: sources by directive."""
    directives = [part.split() for part in response.headers["Content-Security-Policy"].split(";")]
    return {name: set(sources) for name, *sources in directives}


def furnish(owner, n=1):
    """A desk in use: jobs in several states, pictures with captions, a provider."""
    make_provider(f"http://127.0.0.1:{n}/v1", f"remote-{n}")
    perspective = make_perspective(f"plain-{n}", by=owner)
    dataset = make_dataset(owner, f"birds-{n}")
    image = make_image(dataset, f"{n}.png")
    make_caption(image, perspective)
    failed = make_job([{}, {"do": "permanent"}], by=owner, name=f"failed {n}")
    work()
    archived = make_job(by=owner, name=f"archived {n}")
    archived.cancel(by=owner)
    archived.archive(by=owner)
    make_job(by=owner, name=f"open {n}")
    return failed, image, dataset, perspective


def addresses(failed, image, dataset, perspective):
    return [
        "/",
        "/queue",
        "/queue?status=archived",
        "/queue?search=failed",
        f"/jobs/{failed.job_id}",
        f"/jobs/{failed.job_id}?item_status=failed",
        f"/jobs/{failed.job_id}?tab=timeline",
        f"/jobs/{failed.job_id}?tab=configuration",
        f"/jobs/{failed.job_id}/pieces/progress",
        f"/jobs/{failed.job_id}/pieces/items",
        f"/jobs/{failed.job_id}/pieces/timeline",
        "/datasets",
        f"/datasets/{dataset.name}",
        f"/datasets/{dataset.name}/tiles",
        f"/images/{image.pk}",
        "/review",
        f"/review?image={image.pk}",
        "/review/ahead",
        f"/review/captions/{image.captions.get().pk}/history",
        f"/review/captions/{image.captions.get().pk}/form",
        f"/jobs/new?dataset={dataset.name}",
        "/perspectives",
        "/perspectives/new",
        f"/perspectives/{perspective.name}",
        f"/perspectives/{perspective.name}/edit",
        "/providers",
        "/pieces/counts",
    ]


def test_every_page_shows_its_owner_what_is_there_within_the_policy(ada_browses, ada):
    for address in addresses(*furnish(ada)):
        response = ada_browses.get(address)

        html = response.content.decode()
        markup = Markup(html)
        assert response.status_code == 200, address
        assert markup.forbidden == [], address
        assert all(loaded.startswith(("/static/", "/api/")) for loaded in markup.loaded), address
        assert len(response.content) < LARGEST_PAGE, address
        policy = policy_of(response)
        assert policy["script-src"] == policy["style-src"] == {"'self'"}


def test_every_page_answers_head(ada_browses, ada):
    for address in addresses(*furnish(ada)):
        assert ada_browses.head(address).status_code == 200, address


def test_a_stranger_is_asked_to_log_in(stranger, ada):
    for address in addresses(*furnish(ada)):
        response = stranger.get(address)

        assert response.status_code == 302, address
        assert response.headers["Location"].startswith("/login?next="), address


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_script_of_a_page_is_told_to_log_in(stranger, method):
    """A redirect would bring the login page into the middle of another one."""
    response = getattr(stranger, method)(
        "/queue/default/pause" if method == "post" else "/queue", headers={"Accept": "*/*"}
    )

    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert "Log in" in response.json()["detail"]


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ("http://testserver/queue?status=failed", "http%3A//testserver/queue%3Fstatus%3Dfailed"),
        ("http://elsewhere.example/", "/"),
        ("", "/"),
    ],
)
def test_a_form_sent_by_a_stranger_comes_back_to_its_page(stranger, page, place):
    """The address that it was sent to is no page."""
    response = stranger.post("/queue/default/pause", headers={"Referer": page})

    assert response["Location"] == f"/login?next={place}"


def test_an_address_that_only_takes_forms_says_so(ada_browses):
    response = ada_browses.get("/queue/default/pause")

    assert response.status_code == 405
    assert "This is no page" in response.content.decode()


def test_somebody_elses_things_are_not_there(bob_browses, ada):
    failed, image, dataset, _ = furnish(ada)

    for address in (f"/jobs/{failed.job_id}", f"/images/{image.pk}", f"/datasets/{dataset.name}"):
        assert bob_browses.get(address).status_code == 404, address
    for address in ("/", "/queue", "/queue?status=archived", "/datasets"):
        page = bob_browses.get(address).content.decode()
        assert "failed 1" not in page
        assert "archived 1" not in page
        assert "birds-1" not in page


def test_staff_sees_everybodys_things_and_the_way_to_the_administration(staff_browses, ada_browses, ada):
    failed, image, dataset, _ = furnish(ada)

    for address in (f"/jobs/{failed.job_id}", f"/images/{image.pk}", f"/datasets/{dataset.name}"):
        assert staff_browses.get(address).status_code == 200
    assert 'href="/admin/"' in staff_browses.get("/").content.decode()
    assert 'href="/admin/"' not in ada_browses.get("/").content.decode()


@pytest.mark.parametrize("address", ["/", "/queue", "/queue?search=a", "/datasets", "/perspectives", "/providers"])
def test_lists_cost_the_same_number_of_queries_however_long_they_are(staff_browses, ada, address):
    furnish(ada)
    staff_browses.get(address)
    with CaptureQueriesContext(
        connection,
    ) as few:
        staff_browses.get(address)
    for n in range(2, 6):
        furnish(ada, n)

    with CaptureQueriesContext(connection) as many:
        staff_browses.get(address)

    # A provider costs a look at its models; nothing else may grow.
    n_providers = 4 if address in ("/perspectives", "/providers") else 0
    assert len(many) <= len(few) + n_providers


def test_a_job_page_costs_the_same_number_of_queries_however_many_items_it_has(ada_browses, ada):
    small, large = make_job([{"do": "permanent"}] * 2, by=ada), make_job([{"do": "permanent"}] * 60, by=ada)
    work()
    ada_browses.get(f"/jobs/{small.job_id}")
    with CaptureQueriesContext(connection) as few:
        ada_browses.get(f"/jobs/{small.job_id}")

    with CaptureQueriesContext(connection) as many:
        ada_browses.get(f"/jobs/{large.job_id}")

    assert len(many) <= len(few)


def test_items_are_paged_by_their_number(ada_browses, ada):
    job = make_job(40, by=ada)

    first = ada_browses.get(f"/jobs/{job.job_id}")
    second = ada_browses.get(f"/jobs/{job.job_id}?after=24")

    assert f"/jobs/{job.job_id}?after=24" in first.content.decode()
    assert "24.jpg" in first.content.decode()
    assert "25.jpg" not in first.content.decode()
    assert "25.jpg" in second.content.decode()
    assert "Next items" not in second.content.decode()


def test_a_job_page_groups_failures_by_cause(ada_browses, ada):
    job = make_job([{}, {"do": "permanent"}, {"do": "permanent"}], by=ada)
    work()

    page = ada_browses.get(f"/jobs/{job.job_id}").content.decode()

    cause = job.items.failed().first().error_code
    assert re.search(r"2 .</strong> " + cause, page)
    assert f'name="code" value="{cause}"' in page


def test_search_finds_a_job_by_name_and_by_id(ada_browses, ada):
    owls, cows = make_job(by=ada, name="Owls"), make_job(by=ada, name="Cows")

    by_name = ada_browses.get("/queue?search=owl").content.decode()
    by_id = ada_browses.get(f"/queue?search={cows.job_id}").content.decode()

    assert str(owls.job_id) in by_name
    assert str(cows.job_id) not in by_name
    assert str(cows.job_id) in by_id
    assert str(owls.job_id) not in by_id


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/queue?status=nonsense", 400),
        ("/jobs/00000000-0000-4000-8000-000000000000", 404),
        ("/jobs/nonsense", 404),
        ("/images/999999", 404),
        ("/datasets/nobody", 404),
        ("/perspectives/nobody", 404),
        ("/nothing/here", 404),
    ],
)
def test_errors_are_pages_too(ada_browses, address, status):
    response = ada_browses.get(address)

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert Markup(response.content.decode()).forbidden == []
    assert 'href="/queue"' in response.content.decode()


def test_a_fresh_desk_offers_the_demo_pictures_to_who_may_see_them(staff_browses, ada_browses):
    make_image(make_dataset(None, "demo"))
    library.load_shipped()
    assert not Job.objects.exists()

    assert "Caption the demo pictures" in staff_browses.get("/").content.decode()
    assert "Caption the demo pictures" not in ada_browses.get("/").content.decode()


def test_no_button_promises_what_nobody_can_do(staff_browses):
    make_image(make_dataset(None, "demo"))
    Provider.objects.update(is_enabled=False)

    assert "Caption the demo pictures" not in staff_browses.get("/").content.decode()


def test_an_open_desk_lets_everybody_on_its_machine_in(client, db):
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 200


def test_logging_in_leads_where_one_wanted_to_go(stranger, ada):
    ada.set_password("correct horse")
    ada.save()

    wrong = stranger.post("/login", {"username": "ada", "password": "wrong", "next": "/queue"})
    right = stranger.post("/login", {"username": "ada", "password": "correct horse", "next": "/queue"})

    assert "message error" in wrong.content.decode()
    assert right.headers["Location"] == "/queue"
    assert stranger.get("/queue").status_code == 200
    stranger.post("/logout")
    assert stranger.get("/queue").status_code == 302
