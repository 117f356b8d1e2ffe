"""What the forms and buttons of the pages do"""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from captioning.models import Dataset, Image
from jobs.models import Job, Queue
from tests.captions import make_dataset, make_image, make_perspective, make_provider, picture_bytes
from tests.workbench.rows import make_job, statuses, work

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


def press(browser, job, verb, **fields):
    return browser.post(f"/jobs/{job.job_id}/{verb}", fields, follow=True)


def nothing_starts():
    Queue.objects.filter(name="default").update(max_jobs=0)


def order():
    return [job.name for job in Job.objects.in_order()]


# --- Jobs


def test_a_button_does_its_verb_says_so_and_leads_back(ada_browses, ada):
    job = make_job(by=ada)

    response = ada_browses.post(
        f"/jobs/{job.job_id}/pause", follow=True, headers={"Referer": f"http://testserver/jobs/{job.job_id}"}
    )

    job.refresh_from_db()
    assert job.paused
    assert response.redirect_chain == [(f"http://testserver/jobs/{job.job_id}", 302)]
    assert "message success" in response.content.decode()


def test_to_htmx_a_button_answers_with_messages_and_the_word_that_something_changed(ada_browses, ada):
    job = make_job(by=ada)

    response = ada_browses.post(f"/jobs/{job.job_id}/pause", headers=HTMX)

    assert response.status_code == 200
    assert response.headers["HX-Trigger"] == '{"desk-changed": {}}'
    assert response.content.decode().startswith('<div class="messages" id="messages"')


def test_a_refusal_is_shown_in_its_own_words(ada_browses, ada):
    job = make_job(by=ada)
    job.cancel(by=ada)

    page = press(ada_browses, job, "pause").content.decode()

    assert "message error" in page
    assert "already cancelled" in page


def test_the_life_of_a_job_by_buttons(ada_browses, ada):
    job = make_job([{}, {"do": "permanent"}], by=ada)
    work()

    press(ada_browses, job, "retry")
    assert statuses(job) == ["completed", "pending"]
    press(ada_browses, job, "cancel", reason="enough")
    job.refresh_from_db()
    assert job.status == "cancelled"
    press(ada_browses, job, "archive")
    job.refresh_from_db()
    assert job.archived
    press(ada_browses, job, "restore")
    job.refresh_from_db()
    assert not job.archived


def test_retry_these_retries_only_one_cause(ada_browses, ada):
    job = make_job([{"do": "permanent"}, {"do": "permanent"}], by=ada)
    work()
    other = job.items.order_by("seq").first()
    other.error_code = "another"
    other.save(update_fields=["error_code"])

    press(ada_browses, job, "retry", code="another")

    assert statuses(job) == ["pending", "failed"]


def test_jobs_move_up_and_down_and_first(ada_browses, ada):
    nothing_starts()
    jobs = {name: make_job(by=ada, name=name) for name in ("a", "b", "c")}

    press(ada_browses, jobs["c"], "up")
    assert order() == ["a", "c", "b"]
    press(ada_browses, jobs["a"], "down")
    assert order() == ["c", "a", "b"]
    press(ada_browses, jobs["b"], "first")
    assert order() == ["b", "c", "a"]
    assert "stands there already" in press(ada_browses, jobs["b"], "up").content.decode()


def test_somebody_elses_job_has_no_buttons(bob_browses, ada):
    job = make_job(by=ada)

    for verb in ("cancel", "pause", "up", "retry", "archive"):
        assert bob_browses.post(f"/jobs/{job.job_id}/{verb}").status_code == 404
    job.refresh_from_db()
    assert (job.is_final, job.paused) == (False, False)


def test_an_unknown_verb_is_not_found(ada_browses, ada):
    assert ada_browses.post(f"/jobs/{make_job(by=ada).job_id}/explode").status_code == 404


def test_a_link_changes_nothing(ada_browses, ada):
    job = make_job(by=ada)

    assert ada_browses.get(f"/jobs/{job.job_id}/cancel").status_code == 405
    job.refresh_from_db()
    assert not job.is_final


def test_a_form_of_another_site_is_refused(closed_desk, ada):
    job = make_job(by=ada)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)

    assert browser.post(f"/jobs/{job.job_id}/cancel").status_code == 403
    job.refresh_from_db()
    assert not job.is_final


def test_a_button_never_leads_to_another_site(ada_browses, ada):
    job = make_job(by=ada)

    response = ada_browses.post(f"/jobs/{job.job_id}/pause", headers={"Referer": "https://evil.example/"})

    assert response.headers["Location"] == "/"


# --- The queue


def test_staff_pauses_resumes_and_limits_the_queue(staff_browses):
    staff_browses.post("/queue/default/pause")
    assert Queue.objects.get(name="default").paused
    staff_browses.post("/queue/default/resume")
    staff_browses.post("/queue/default/limits", {"max_jobs": "3", "max_items": ""})

    queue = Queue.objects.get(name="default")
    assert (queue.paused, queue.max_jobs, queue.max_items) == (False, 3, None)


def test_a_limit_out_of_bounds_is_refused_with_the_bounds(staff_browses):
    page = staff_browses.post("/queue/default/limits", {"max_jobs": "65"}, follow=True).content.decode()

    assert "from 0 to 64" in page
    assert Queue.objects.get(name="default").max_jobs is None


def test_only_staff_changes_the_queue(ada_browses):
    for verb in ("pause", "resume", "limits"):
        assert ada_browses.post(f"/queue/default/{verb}").status_code == 403
    assert not Queue.objects.get(name="default").paused


# --- Data sets


def test_several_pictures_are_uploaded_at_once_and_refusals_are_named(ada_browses, ada):
    make_dataset(ada)
    files = [
        SimpleUploadedFile("red.png", picture_bytes("red")),
        SimpleUploadedFile("blue.png", picture_bytes("blue")),
        SimpleUploadedFile("letter.png", b"Dear Ada"),
    ]

    page = ada_browses.post("/datasets/birds/upload", {"images": files}, follow=True).content.decode()

    assert sorted(Image.objects.values_list("path", flat=True)) == ["blue.png", "red.png"]
    assert "letter.png" in page
    assert "2 pictures added" in page


def test_the_same_picture_is_kept_once(ada_browses, ada):
    make_dataset(ada)
    for _ in range(2):
        file = SimpleUploadedFile("red.png", picture_bytes("red"))
        page = ada_browses.post("/datasets/birds/upload", {"images": [file]}, follow=True).content.decode()

    assert Image.objects.count() == 1
    assert "1 was here already" in page


def test_an_upload_without_files_says_what_to_do(ada_browses, ada):
    make_dataset(ada)

    assert "Choose at least one" in ada_browses.post("/datasets/birds/upload", follow=True).content.decode()


def test_a_data_set_is_created_and_opened(ada_browses, ada):
    response = ada_browses.post("/datasets/create", {"name": "owls", "description": "At night"})

    assert response.headers["Location"] == "/datasets/owls"
    assert Dataset.objects.get(name="owls").owner == ada


@pytest.mark.parametrize(("name", "said"), [("birds", "already a data set"), ("with space", "letters, digits")])
def test_a_bad_name_is_refused_in_words(ada_browses, ada, name, said):
    make_dataset(ada)

    assert said in ada_browses.post("/datasets/create", {"name": name}, follow=True).content.decode()
    assert Dataset.objects.count() == 1


def test_a_caption_job_is_queued_and_opened(ada_browses, ada):
    dataset = make_dataset(ada)
    make_image(dataset)
    make_perspective("plain")
    make_provider(name="remote")

    response = ada_browses.post("/datasets/birds/jobs", {"perspectives": ["plain"], "provider": "remote"})

    job = Job.objects.get()
    assert response.headers["Location"] == f"/jobs/{job.job_id}"
    assert (job.user, job.type, job.total_images) == (ada, "DATASET_PERSPECTIVE", 1)


def test_a_caption_job_without_a_perspective_is_refused(ada_browses, ada):
    make_image(make_dataset(ada))

    page = ada_browses.post("/datasets/birds/jobs", follow=True).content.decode()

    assert "message error" in page
    assert not Job.objects.exists()


def test_pictures_and_data_sets_are_deleted(ada_browses, ada):
    dataset = make_dataset(ada)
    image = make_image(dataset)

    assert ada_browses.post(f"/images/{image.pk}/delete").headers["Location"] == "/datasets/birds"
    assert not dataset.images.exists()
    assert ada_browses.post("/datasets/birds/delete").headers["Location"] == "/datasets"
    assert not Dataset.objects.visible_to(ada).exists()


def test_nobody_changes_somebody_elses_data_set(bob_browses, ada):
    image = make_image(make_dataset(ada))

    for address in ("/datasets/birds/upload", "/datasets/birds/jobs", "/datasets/birds/delete"):
        assert bob_browses.post(address).status_code == 404
    assert bob_browses.post(f"/images/{image.pk}/delete").status_code == 404
    assert Image.objects.count() == 1
