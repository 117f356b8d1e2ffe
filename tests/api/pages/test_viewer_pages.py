"""What somebody who may only look sees on the pages, and that no form of theirs changes anything"""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import URLPattern

from captioning.models import Caption
from jobs.models import Job
from orchestrator import page_urls, roles
from tests.captions import make_caption, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import make_job, make_staff, make_user
from volcal import intake

pytestmark = pytest.mark.django_db

# What belongs to whoever sends it, or changes nothing.
HARMLESS = {
    *("login", "logout", "queue/views", "queue/views/<int:view_id>/delete", "queue/bulk/<int:action_id>/<slug:verb>"),
    *("jobs/new/check", "perspectives/check"),
}
VERBS = {
    "jobs/<uuid:job_id>": ("cancel", "pause", "clone", "priority", "first"),
    "queue/<slug:name>": ("pause", "limits"),
    "queue/bulk": ("pause", "priority"),
    "review/captions/<int:caption_id>": ("accept", "reject", "edit", "undo"),
    "surveys/<uuid:task_id>": ("start", "cancel", "rename", "delete"),
}


@pytest.fixture
def viewer(closed_desk: None, db: None) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(make_staff("vera", role=roles.VIEWER))
    return client


@pytest.fixture
def things() -> dict[str, str]:
    """One of everything that an address may name."""
    owner = make_user("owner")
    perspective = make_perspective("plain", by=owner)
    image = make_image(make_dataset(owner, "birds"), "owl.png")
    caption = make_caption(image, perspective)
    return {
        "job_id": str(make_job(by=owner).job_id),
        "image_id": str(image.pk),
        "caption_id": str(caption.pk),
        "provider_id": str(make_provider("http://127.0.0.1:1/v1", "remote").pk),
        "task_id": str(intake.create(by=owner).task_id),
        "name": "birds",
    }


def addresses(things: dict[str, str]) -> list[str]:
    found = []
    for pattern in page_urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        if route in HARMLESS:
            continue
        verbs = next((verbs for start, verbs in VERBS.items() if route.startswith(start) and ":verb>" in route), ("",))
        named = {**things, "name": "plain"} if route.startswith("perspectives/") else things
        named = {**named, "name": "default"} if route.startswith("queue/") else named
        for verb in verbs:
            filled = re.sub(r"<\w+:(\w+)>", lambda one, verb=verb, named=named: named.get(one[1], verb or "1"), route)
            found.append("/" + filled)
    return found


def test_no_form_of_a_viewer_changes_anything(viewer, things):
    before = (list(Job.objects.values()), list(Caption.objects.values()))
    taken = []

    for address in addresses(things):
        answer = viewer.post(address, {"verb": "delete", "ids": things["image_id"], "name": "x"}, follow=True)
        if answer.status_code in {403, 405}:
            continue
        if "Your role may look at this but not do it." not in answer.content.decode():
            taken.append((address, answer.status_code))

    assert taken == []
    assert (list(Job.objects.values()), list(Caption.objects.values())) == before


@pytest.mark.parametrize(
    "address",
    [
        *("/", "/queue", "/datasets", "/datasets/birds", "/review", "/review?dataset=birds&state=rejected", "/surveys"),
        *("/providers", "/perspectives", "/perspectives/plain", "/images/{image_id}"),
    ],
)
def test_a_viewer_is_shown_no_button_that_would_be_refused(viewer, things, address):
    page = viewer.get(address.format(**things)).content.decode()

    forms = set(re.findall(r'(?:formaction|hx-post|action)="([^"]+)"', page))
    assert {
        form for form in forms if re.search(r"/(pause|cancel|delete|upload|create|selection|accept|jobs|trial)$", form)
    } == set()
    assert re.findall(r'href="(/(?:jobs|perspectives|surveys)/new[^"]*)"', page) == []


@pytest.mark.parametrize("address", ["/jobs/new", "/perspectives/new", "/perspectives/plain/edit", "/surveys/new"])
def test_a_form_that_a_viewer_may_not_send_names_the_role_that_it_takes(viewer, things, address):
    answer = viewer.get(address)

    assert answer.status_code == 403
    assert "Ask an administrator for the role `curator`." in answer.content.decode()
