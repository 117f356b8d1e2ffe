"""Every list and page of the administration"""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from captioning.models import Dataset, Provider
from jobs.models import ClusterCanary, Job, Queue
from tests.api.pages.test_pages import Markup, policy_of
from tests.captions import make_caption, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model._meta.app_label in {"jobs", "captioning", "orchestrator"}]


def address_of(model, page="changelist", *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def furnish(owner, n):
    perspective = make_perspective(f"plain-{n}", by=owner)
    dataset = make_dataset(owner, f"birds-{n}")
    make_caption(make_image(dataset, f"{n}.png"), perspective)
    make_provider(f"http://127.0.0.1:{n}/v1", f"remote-{n}")
    make_job([{}, {"do": "permanent"}, {"depends_on": [0]}], by=owner, name=f"failed {n}")
    work()
    archived = make_job(by=owner, name=f"archived {n}")
    archived.cancel(by=owner)
    archived.archive(by=owner, reason="old")
    first = make_job(by=owner, name=f"open {n}")
    make_job(by=owner, name=f"later {n}", dependencies=[first.job_id])
    ClusterCanary.objects.create(cluster="default", host=f"host-{n}")


def test_every_model_of_the_desk_has_its_list():
    labels = {model._meta.label for model in OURS}

    for app in ("jobs", "captioning", "orchestrator"):
        # Models of a provider are lines of its page.
        missing = {model._meta.label for model in apps.get_app_config(app).get_models()} - labels
        assert missing <= {"captioning.ProviderModel"}


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_a_list_costs_the_same_number_of_queries_however_long_it_is(console, operator, model):
    furnish(operator, 1)
    address = address_of(model)
    assert console.get(address).status_code == 200
    with CaptureQueriesContext(connection) as few:
        console.get(address)
    for n in range(2, 5):
        furnish(operator, n)

    with CaptureQueriesContext(connection) as many:
        response = console.get(address)

    assert response.status_code == 200
    assert len(many) <= len(few)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_a_row_opens_and_keeps_the_policy(console, operator, model):
    furnish(operator, 1)
    row = model.objects.order_by("pk").last()
    pages = [address_of(model)] + ([address_of(model, "change", row.pk)] if row is not None else [])

    for address in pages:
        response = console.get(address)

        assert response.status_code == 200
        forbidden = Markup(response.content.decode()).forbidden
        assert [found for found in forbidden if "script" in found or found.startswith("on")] == []
        policy = policy_of(response)
        assert policy["script-src"] == {"'self'", "'unsafe-eval'"}
        assert policy["frame-ancestors"] == {"'none'"}


def test_the_login_of_the_administration_keeps_its_policy_too(closed_desk, client):
    response = client.get("/admin/login/", headers={"Accept": "text/html"})

    assert response.status_code == 200
    assert policy_of(response)["script-src"] == {"'self'", "'unsafe-eval'"}


def test_who_is_not_staff_stays_outside(closed_desk, ada, client):
    client.force_login(ada)

    assert client.get(address_of(Job)).status_code == 302


@pytest.mark.parametrize("standing", ["finished", "archived", "all"])
def test_jobs_are_filtered_by_where_they_stand(console, operator, standing):
    furnish(operator, 1)

    page = console.get(address_of(Job), {"standing": standing}).content.decode()

    assert ("failed 1" in page) == (standing in {"finished", "all"})
    assert ("archived 1" in page) == (standing in {"archived", "all"})
    assert ("open 1" in page) == (standing == "all")


@pytest.mark.parametrize(
    ("model", "query", "words", "way_on"),
    [
        (Job, "", "Nothing waits or runs.", "?standing=all"),
        (Job, "q=zebra", "Nothing matches the search and the filters.", "?"),
        (Job, "standing=archived", "Nothing matches the search and the filters.", "?"),
        (Dataset, "", "There is none yet.", "/admin/captioning/dataset/add/"),
    ],
)
def test_an_empty_list_says_why_and_what_to_do(console, operator, model, query, words, way_on):
    page = console.get(f"{address_of(model)}?{query}").content.decode()

    assert words in page
    assert f'<a href="{way_on}"' in page


def test_the_list_of_jobs_is_the_queue_in_its_order(console, operator):
    later, first = make_job(by=operator, name="later"), make_job(by=operator, name="first", priority=1)

    page = console.get(address_of(Job)).content.decode()

    assert page.index(str(first)) < page.index(str(later))


def test_a_job_shows_its_events_and_hides_secrets(console, operator):
    job = make_job(by=operator, config={"options": {"api_key": "sk-very-secret"}, "dataset": "birds"})

    page = console.get(address_of(Job, "change", job.pk)).content.decode()

    assert "Created" in page
    assert "birds" in page
    assert "sk-very-secret" not in page


def test_machine_kept_fields_cannot_be_changed(console, operator):
    job = make_job(by=operator, name="before")

    console.post(address_of(Job, "change", job.pk), {"name": "after", "status": "completed", "total_images": "9"})

    job.refresh_from_db()
    assert job.name == "after"
    assert job.status != "completed"
    assert job.total_images == 1


def test_the_workers_page_shows_canaries_and_sets_limits(console, operator):
    ClusterCanary.objects.create(cluster="vision", host="box-7")

    assert "box-7" in console.get(address_of(Queue)).content.decode()
    console.post(address_of(Queue, "change", "default"), {"max_jobs": "5", "max_items": ""})
    assert Queue.objects.get(name="default").max_jobs == 5
    page = console.post(address_of(Queue, "change", "default"), {"max_jobs": "65"}).content.decode()
    assert Queue.objects.get(name="default").max_jobs == 5
    assert "queue_max_jobs_between_0_and_64" in page


# --- Providers


def test_a_key_goes_in_and_never_comes_out(console):
    form = {
        "name": "remote",
        "kind": "vllm",
        "environment": "local",
        "base_url": "http://127.0.0.1:9/v1",
        "default_model": "tiny",
        "is_enabled": "on",
        "api_key": "sk-very-secret",
        "models-TOTAL_FORMS": "0",
        "models-INITIAL_FORMS": "0",
    }

    added = console.post(address_of(Provider, "add"), form)

    provider = Provider.objects.get(name="remote")
    assert added.status_code == 302
    assert provider.api_key == "sk-very-secret"
    page = console.get(address_of(Provider, "change", provider.pk)).content.decode()
    assert "sk-very-secret" not in page
    console.post(address_of(Provider, "change", provider.pk), {**form, "api_key": "", "default_model": "larger"})
    provider.refresh_from_db()
    assert (provider.api_key, provider.default_model) == ("sk-very-secret", "larger")
    console.post(address_of(Provider, "change", provider.pk), {**form, "api_key": "", "clears_api_key": "on"})
    provider.refresh_from_db()
    assert not provider.has_api_key


def test_a_provider_is_refused_as_the_api_refuses_it(console):
    page = console.post(
        address_of(Provider, "add"),
        {
            "name": "remote",
            "kind": "nonsense",
            "environment": "local",
            "base_url": "http://127.0.0.1:9/v1",
            "models-TOTAL_FORMS": "0",
            "models-INITIAL_FORMS": "0",
        },
    ).content.decode()

    assert "Give one of" in page
    assert not Provider.objects.filter(name="remote").exists()


def test_a_probe_is_posted_and_its_finding_kept(console):
    provider = make_provider("http://127.0.0.1:1/v1")  # nobody listens there
    address = reverse("admin:captioning_provider_probe", args=[provider.pk])

    assert console.get(address).status_code == 405
    response = console.post(address, follow=True)

    provider.refresh_from_db()
    assert provider.last_probe["success"] is False
    assert provider.last_probe["message"] in response.content.decode().replace("&#x27;", "'").replace("&quot;", '"')


def test_an_onlooker_cannot_probe(onlooker):
    provider = make_provider("http://127.0.0.1:1/v1")

    assert onlooker.post(reverse("admin:captioning_provider_probe", args=[provider.pk])).status_code == 403
    provider.refresh_from_db()
    assert provider.last_probe is None
