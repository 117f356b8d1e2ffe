"""Surveys in the administration."""

from __future__ import annotations

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.admin.conftest import console, onlooker, operator
from tests.surveys import fresh, make_survey, measure, status_of
from volcal.models import Survey

__all__ = ["console", "onlooker", "operator"]

pytestmark = pytest.mark.django_db

LIST = "/admin/volcal/survey/"


def act(console, name, *surveys):
    return console.post(LIST, {"action": name, ACTION_CHECKBOX_NAME: [survey.pk for survey in surveys]}, follow=True)


@pytest.mark.parametrize("model", ["survey", "region", "product", "surveyfile", "allowance"])
def test_every_list_opens(console, ada, engine, model):
    measure(make_survey(ada))

    assert console.get(f"/admin/volcal/{model}/").status_code == 200


def test_the_list_tells_state_volume_and_error_in_as_many_queries_for_many(console, ada, engine):
    measure(make_survey(ada, name="good"))
    engine.plan(load={"do": "refuse", "code": "empty", "detail": "The cloud has no points.", "label": "pre"})
    measure(make_survey(ada, name="bad"))
    console.get(LIST)
    with CaptureQueriesContext(connection) as few:
        html = console.get(LIST).content.decode()
    for _ in range(3):
        make_survey(ada, with_files=False)
    with CaptureQueriesContext(connection) as many:
        console.get(LIST)

    assert "12\u202f733 ± 96.0 m³" in html
    assert "pre: The cloud has no points." in html
    assert len(many) <= len(few)


def test_an_operator_changes_parameters_and_measures_again(console, ada, engine):
    survey = measure(make_survey(ada, name="Quarry"))
    page = f"{LIST}{survey.pk}/change/"
    inlines = {f"{prefix}-{part}": "0" for prefix in ("files", "regions") for part in ("TOTAL_FORMS", "INITIAL_FORMS")}

    bad = console.post(page, inlines | {"name": "Quarry", "parameters": '{"core_spacing": 99}'})
    assert "core_spacing" in bad.content.decode()
    console.post(page, inlines | {"name": "Quarry", "parameters": '{"core_spacing": 5}'})
    act(console, "measure_surveys_again", survey)

    assert measure(survey).summary["parameters"] == {"core_spacing": 5.0}


def test_actions_start_and_cancel_and_say_how_many_they_left_out(console, ada, engine):
    killed, waiting = make_survey(ada), make_survey(ada, with_files=False)
    killed.job.cancel(by=ada)

    said = act(console, "start_surveys", killed, waiting).content.decode()
    assert "1 started, 1 skipped." in said
    assert status_of(measure(killed)) == "done"

    said = act(console, "cancel_surveys", killed, waiting).content.decode()
    assert "1 cancelled, 1 skipped." in said
    assert status_of(waiting) == "killed"


def test_deleting_takes_files_along(console, ada, engine):
    survey = measure(make_survey(ada))

    console.post(f"{LIST}{survey.pk}/delete/", {"post": "yes"})

    assert not Survey.objects.exists()


def test_who_may_only_look_changes_nothing(onlooker, ada):
    survey = make_survey(ada)

    assert onlooker.get(f"{LIST}{survey.pk}/change/").status_code == 200
    act(onlooker, "cancel_surveys", survey)

    assert fresh(survey).job.status == "running"
