"""The pages of surveys: who sees them, what they cost, and what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.api.pages.test_pages import Markup, policy_of
from tests.surveys import committed, fresh, make_survey, measure, send, status_of, upload_all, upload_of
from tests.workbench.rows import make_user
from uploads.holds import Hold
from uploads.models import Upload
from uploads.sweeping import sweep
from volcal.models import Survey

pytestmark = pytest.mark.django_db


def browser_of(user) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def browser(closed_desk, ada) -> Client:
    return browser_of(ada)


def one_of_each(ada, engine) -> dict[str, Survey]:
    """A survey in each status."""
    surveys = {"done": measure(make_survey(ada, name="done"))}
    engine.plan(align={"do": "refuse", "code": "ambiguous_registration", "detail": "The site is too flat."})
    surveys["error"] = measure(make_survey(ada, name="error"))
    surveys["killed"] = make_survey(ada, name="killed")
    surveys["killed"].job.cancel(by=ada)
    surveys["waiting"] = make_survey(ada, name="waiting", with_files=False)
    surveys["running"] = make_survey(ada, name="running")
    surveys["pending"] = make_survey(ada, name="pending")
    return surveys


def test_every_page_keeps_the_policy_in_every_status(browser, ada, engine):
    surveys = one_of_each(ada, engine)

    for status, survey in surveys.items():
        answer = browser.get(f"/surveys/{survey.task_id}")
        html = answer.content.decode()
        assert (answer.status_code, Markup(html).forbidden, len(html) < 150_000) == (200, [], True)
        assert f"state-{ {'done': 'completed', 'error': 'failed', 'killed': 'cancelled'}.get(status, status) }" in html
    for path in ("/surveys", "/surveys/new", "/surveys?survey=done"):
        answer = browser.get(path)
        assert (answer.status_code, Markup(answer.content.decode()).forbidden) == (200, [])


def test_pages_that_upload_may_reach_the_upload_service_under_the_desks_name(browser, ada):
    survey = make_survey(ada, with_files=False)

    for path in ("/surveys/new", f"/surveys/{survey.task_id}"):
        answer = browser.get(path, headers={"Host": "localhost:8000"})
        assert "http://localhost:1080" in policy_of(answer)["connect-src"]


def test_the_page_of_a_waiting_survey_shows_how_far_each_file_is(browser, ada):
    survey = make_survey(ada, with_files=False)
    send(upload_of(survey, "pre"), b"x" * 3000)
    send(upload_of(survey, "post"), b"x" * 2000, is_last=False)

    html = browser.get(f"/surveys/{survey.task_id}").content.decode()

    assert 'data-length="3000" data-offset="3000" data-done' in html
    assert 'data-length="" data-offset="2000"' in html
    assert f"http://testserver:1080/files/{upload_of(survey, 'shp').pk}" in html


def test_the_state_of_a_waiting_survey_says_which_file_a_client_is_sending(browser, ada):
    survey = make_survey(ada, with_files=False)
    send(upload_of(survey, "pre"), b"x" * 2000, is_last=False)

    with Hold.take(upload_of(survey, "pre").pk):
        while_sent = browser.get(f"/surveys/{survey.task_id}/state?seen=waiting").content.decode()
    afterwards = browser.get(f"/surveys/{survey.task_id}/state?seen=waiting").content.decode()

    assert "2.0\N{NO-BREAK SPACE}KB are here; a client is sending more." in while_sent
    assert "2.0\N{NO-BREAK SPACE}KB are here; choose the file again to go on." in afterwards


def test_a_survey_cancelled_before_its_files_came_still_takes_them(browser, ada, engine):
    survey = make_survey(ada, with_files=False)
    page = f"/surveys/{survey.task_id}"
    send(upload_of(survey, "pre"), b"pre")

    browser.post(f"{page}/cancel")
    html = browser.get(page).content.decode()
    upload_all(survey, without=("pre",))
    complete = browser.get(page).content.decode()
    browser.post(f"{page}/start")

    assert "Upload the missing files first: post, shp, shx. Then start it again." in html
    assert "survey-upload.js" in html
    assert upload_of(survey, "post").id.hex in html.replace("-", "")
    assert "Start it again to measure the same files." in complete
    assert 'id="survey-files"' not in complete
    assert status_of(measure(survey)) == "done"


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_survey_whose_files_expired_offers_a_new_one_instead_of_another_try(browser, ada, engine, is_cancelled):
    survey = make_survey(ada, with_files=False)
    page = f"/surveys/{survey.task_id}"
    if is_cancelled:
        survey.job.cancel(by=ada)
    Upload.objects.filter(survey_file__survey=survey).update(expires_at=Now() - timedelta(seconds=1))
    with committed():
        sweep()
    measure(survey)

    html = browser.get(page).content.decode()

    assert status_of(survey) == ("killed" if is_cancelled else "error")
    assert "Create a new task and send all four files again." in html
    assert 'href="/surveys/new"' in html
    for absent in (f"{page}/start", 'id="survey-files"', "change the parameters"):
        assert absent not in html


def test_an_error_says_where_why_and_how_to_go_on(browser, ada, engine):
    engine.plan(align={"do": "refuse", "code": "ambiguous_registration", "detail": "The site is too flat."})
    survey = measure(make_survey(ada))

    html = browser.get(f"/surveys/{survey.task_id}").content.decode()

    assert "Stopped at the stage “align”." in html
    assert "The site is too flat." in html
    assert f"/surveys/{survey.task_id}/start" in html


@pytest.mark.django_db(transaction=True)
def test_a_stage_that_waits_says_for_what(browser, ada, engine):
    engine.plan(compare={"do": "fill"})
    survey = measure(make_survey(ada))

    assert "The disk has no room for this stage" in browser.get(f"/surveys/{survey.task_id}").content.decode()


def test_what_was_measured_stays_in_sight_when_the_next_run_fails(browser, ada, engine):
    survey = measure(make_survey(ada))
    page, measured_before = f"/surveys/{survey.task_id}", "Measured by the run before"
    first = browser.get(page).content.decode()
    engine.plan(align={"do": "refuse", "code": "ambiguous_registration", "detail": "The site is too flat."})
    browser.post(f"{page}/again")
    measure(survey)

    later, listed = browser.get(page).content.decode(), browser.get("/surveys").content.decode()

    assert "survey-net" in first
    assert measured_before not in first
    assert "The site is too flat." in later
    assert "survey-net" in later
    assert measured_before in later
    assert "before:</span>" in listed


def test_the_list_costs_the_same_however_long_it_is(browser, ada, engine):
    one_of_each(ada, engine)
    browser.get("/surveys")
    with CaptureQueriesContext(connection) as few:
        browser.get("/surveys")
    for _ in range(4):
        make_survey(ada, with_files=False)
        make_survey(ada)

    with CaptureQueriesContext(connection) as many:
        assert browser.get("/surveys").status_code == 200

    assert len(many) <= len(few) <= 15


def test_the_list_finds_by_name_and_says_what_to_do_when_empty(browser, ada):
    assert "New survey" in browser.get("/surveys").content.decode()
    make_survey(ada, name="Quarry north", with_files=False)

    assert "Quarry north" in browser.get("/surveys?survey=NORTH").content.decode()
    assert "No survey is called so" in browser.get("/surveys?survey=south").content.decode()


def test_somebody_elses_survey_is_not_there(closed_desk, ada, bob, engine):
    survey = measure(make_survey(ada, name="Ada's quarry"))
    other = browser_of(bob)

    assert other.get(f"/surveys/{survey.task_id}").status_code == 404
    assert other.get(f"/surveys/{survey.task_id}/state").status_code == 404
    assert other.get(f"/surveys/{survey.task_id}/files/region-1.png").status_code == 404
    assert other.post(f"/surveys/{survey.task_id}/delete").status_code == 404
    assert "Ada" not in other.get("/surveys").content.decode()


def test_strangers_are_sent_to_the_login(closed_desk, client, ada):
    survey = make_survey(ada, with_files=False)

    for path in ("/surveys", "/surveys/new", f"/surveys/{survey.task_id}", f"/surveys/{survey.task_id}/files/x"):
        assert client.get(path, headers={"Accept": "text/html"})["Location"].startswith("/login")


def test_products_come_from_the_pages_own_origin(browser, ada, engine):
    survey = measure(make_survey(ada))

    answer = browser.get(f"/surveys/{survey.task_id}/files/regions.geojson")

    assert async_to_sync(_body_of)(answer) == b'{"type": "FeatureCollection", "features": []}'
    assert answer["Content-Disposition"].startswith("attachment")
    assert browser.get(f"/surveys/{survey.task_id}/files/nothing.tif").status_code == 404


def test_another_picture_has_another_address(browser, ada, engine):
    page = f"/surveys/{measure(make_survey(ada)).task_id}"
    find = re.compile(r'<img class="survey-region-picture" src="([^"]+)"').findall

    first = find(browser.get(page).content.decode())
    for trailer in ("", "drawn anew"):
        engine.plan(publish={"trailer": trailer})
        browser.post(f"{page}/again")
        measure(Survey.objects.get())
        again = find(browser.get(page).content.decode())
        assert (len(again), again == first) == (1, not trailer)

    assert browser.get(again[0]).status_code == 200


def test_results_stand_beside_the_parameters_they_were_measured_with(browser, ada, engine):
    survey = measure(make_survey(ada, parameters={"cell_m": 1.5}))
    Survey.objects.update(parameters={"cell_m": 9.5})

    html = browser.get(f"/surveys/{survey.task_id}").content.decode()

    assert "&quot;cell_m&quot;: 1.5" in html
    assert "9.5" not in html


async def _body_of(answer) -> bytes:
    return b"".join([piece async for piece in answer.streaming_content])


def test_the_state_reloads_the_page_when_the_survey_has_ended(browser, ada, engine):
    survey = measure(make_survey(ada))

    assert browser.get(f"/surveys/{survey.task_id}/state?seen=running")["HX-Refresh"] == "true"
    assert "HX-Refresh" not in browser.get(f"/surveys/{survey.task_id}/state?seen=done")


def test_a_form_without_script_makes_a_survey(browser, ada):
    answer = browser.post("/surveys/create", {"name": "By hand", "crs": "EPSG:32633"})

    survey = Survey.objects.get()
    assert (answer["Location"], survey.name, survey.crs, survey.user) == (
        f"/surveys/{survey.task_id}",
        "By hand",
        "EPSG:32633",
        ada,
    )


def test_buttons_cancel_start_rename_measure_again_and_delete(browser, ada, engine):
    survey = make_survey(ada)
    path = f"/surveys/{survey.task_id}"

    browser.post(f"{path}/cancel")
    assert status_of(survey) == "killed"
    browser.post(f"{path}/start")
    assert status_of(measure(survey)) == "done"
    browser.post(f"{path}/rename", {"name": "Quarry"})
    assert fresh(survey).name == "Quarry"
    browser.post(f"{path}/again")
    assert status_of(measure(survey)) == "done"
    assert engine.runs().count("publish") == 2
    assert browser.post(f"{path}/delete")["Location"] == "/surveys"
    assert not Survey.objects.exists()


def test_a_refusal_is_said_on_the_page(browser, ada):
    survey = make_survey(ada, with_files=False)

    answer = browser.post(f"/surveys/{survey.task_id}/start", follow=True)

    assert "Upload the missing files first: pre, post, shp, shx." in answer.content.decode()
    assert browser.post(f"/surveys/{survey.task_id}/explode").status_code == 404
    assert browser.get(f"/surveys/{survey.task_id}/start").status_code == 405


def test_staff_who_may_only_look_changes_nothing(closed_desk, ada):
    from orchestrator import roles

    viewer = make_user("viewer")
    roles.write_down()
    roles.give(viewer, roles.VIEWER)
    survey = make_survey(ada)

    browser_of(viewer).post(f"/surveys/{survey.task_id}/cancel")
    browser_of(viewer).post("/surveys/create", {"name": "x"})

    assert (status_of(survey), Survey.objects.count()) == ("running", 1)
