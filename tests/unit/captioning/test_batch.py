from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from captioning import batch, ledger, selection
from captioning.gateway import Attempt, Mode, Usage
from captioning.image_filter import ImageFilter
from captioning.models import Image, Provider
from captioning.selection import Selection, Wanted
from jobs.creation import EmptyJob, create
from jobs.models import ItemEdge, JobItem
from orchestrator.problems import Invalid
from tests.captions import make_caption, make_dataset, make_image, make_perspective, make_provider, picture_bytes
from tests.workbench.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _workspace(settings, tmp_path):
    settings.WORKSPACE_PATH = tmp_path
    settings.DEFAULT_PROVIDER = ""


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def dataset(ada):
    dataset = make_dataset(ada)
    for name in "abc":
        make_image(dataset, f"{name}.png")
    return dataset


@pytest.fixture
def plain():
    make_provider()
    return make_perspective("plain")


def body(**members):
    return {"type": "MULTI_PERSPECTIVE", "dataset": "birds", "perspectives": ["plain"], **members}


def items_of(drafted: batch.BatchDraft) -> list[tuple[str, str]]:
    return [(item.image_path, item.perspective) for item in drafted.job.items]


def refused(ada, request) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as refusal:
        batch.draft(request, ada)
    return refusal.value.errors


# --- What a job covers


def test_a_job_covers_every_image_under_every_perspective_image_by_image(ada, dataset, plain):
    make_perspective("poem")

    drafted = batch.draft(body(perspectives=["poem", "plain"]), ada)

    assert items_of(drafted) == [(f"{name}.png", said) for name in "abc" for said in ("poem", "plain")]


def test_images_are_named_by_id_and_by_path_and_echo_the_callers_words(ada, dataset, plain, tmp_path):
    (tmp_path / "loose.png").write_bytes(picture_bytes("blue"))
    by_id = dataset.images.get(path="b.png").pk

    drafted = batch.draft(body(images=["/loose.png", by_id, "loose.png"], dataset=None), ada)

    assert items_of(drafted) == [("/loose.png", "plain"), ("b.png", "plain")]
    assert Image.objects.filter(dataset__name="workspace", path="loose.png").count() == 1


def test_an_image_that_is_named_and_in_the_data_set_is_covered_once(ada, dataset, plain):
    named = dataset.images.get(path="c.png").pk

    drafted = batch.draft(body(images=[named]), ada)

    assert [path for path, _ in items_of(drafted)] == ["c.png", "a.png", "b.png"]


@pytest.mark.parametrize("how", [{"type": "BACKFILL"}, {"options": {"only_missing": True}}])
def test_what_has_a_current_caption_is_skipped(ada, dataset, plain, how):
    captioned = dataset.images.get(path="b.png")
    make_caption(captioned, plain, source="human")
    make_caption(dataset.images.get(path="a.png"), plain, is_current=False)

    drafted = batch.draft(body(**how), ada)

    assert items_of(drafted) == [("a.png", "plain"), ("c.png", "plain")]


def test_a_chain_adds_what_is_missing_and_runs_the_synthesizer_last(ada, dataset, plain):
    make_perspective("detail")
    make_perspective("sum", type="synthesizer", builds_on=["detail", "plain"])
    make_caption(dataset.images.get(path="a.png"), plain)

    drafted = batch.draft(body(type="DEPENDENCY_CHAIN", perspectives=["sum"]), ada)
    job = create(drafted.job, by=ada)

    assert items_of(drafted)[:5] == [
        ("a.png", "detail"), ("a.png", "sum"), ("b.png", "detail"), ("b.png", "plain"), ("b.png", "sum"),
    ]  # fmt: skip
    assert set(ItemEdge.objects.filter(job=job).values_list("seq", "depends_on_seq")) == {
        (1, 0), (4, 2), (4, 3), (7, 5), (7, 6),
    }  # fmt: skip


def test_a_chain_follows_what_its_bases_build_on(ada, dataset, plain):
    make_perspective("middle", builds_on=["plain"])
    make_perspective("top", builds_on=["middle"])

    drafted = batch.draft(body(type="DEPENDENCY_CHAIN", perspectives=["top"]), ada)

    assert [said for _, said in items_of(drafted)][:3] == ["plain", "middle", "top"]


def test_perspectives_of_one_job_wait_for_each_other_in_every_type_of_job(ada, dataset, plain):
    make_perspective("sum", builds_on=["plain"])

    items = list(batch.draft(body(perspectives=["sum", "plain"]), ada).job.items)

    assert [(item.perspective, tuple(item.depends_on)) for item in items[:2]] == [("plain", ()), ("sum", (0,))]


def test_a_draft_becomes_a_job_with_all_its_items(ada, dataset, plain):
    drafted = batch.draft(body(priority=7, options={"max_attempts": 5, "temperature": 0.5}), ada)

    job = create(drafted.job, by=ada)

    assert (job.total_images, job.priority, job.cluster) == (3, 7, "default")
    assert job.config["provider"] == "remote"
    assert job.config["model"] == "tiny-vlm"
    assert set(JobItem.objects.filter(job=job).values_list("max_attempts", flat=True)) == {5}


def test_a_large_selection_is_read_in_pages_and_not_image_by_image(ada, plain):
    dataset = make_dataset(ada, "many")
    Image.objects.bulk_create(
        Image(
            dataset=dataset, path=f"{n}.png", sha256=f"{n:064x}", stored_as="x", format="PNG", size=1, width=1, height=1
        )
        for n in range(12_000)
    )
    wanted = [Wanted(plain.pk, "plain", plain.current_id, skips_present=True)]

    with CaptureQueriesContext(
        connection,
    ) as queries:
        chosen = Selection(wanted, dataset_id=dataset.pk)

    assert chosen.n_items == 12_000
    assert sum(1 for _ in chosen) == sum(1 for _ in chosen) == 12_000
    assert len(queries) == 3 * 2 + 1  # a page of images and one of captions each, and the empty page at the end
    assert selection.PAGE == 5_000


def test_a_filter_is_evaluated_once_however_many_pages_match(ada, plain):
    dataset = make_dataset(ada, "many")
    Image.objects.bulk_create(
        Image(
            dataset=dataset, path=f"{n}.png", sha256=f"{n:064x}", stored_as="x", format="PNG", size=1, width=1, height=1
        )
        for n in range(6_000)
    )
    wanted = [Wanted(plain.pk, "plain", plain.current_id)]

    with CaptureQueriesContext(connection) as queries:
        chosen = Selection(wanted, dataset_id=dataset.pk, among=ImageFilter(search="png"))

    assert (chosen.n_images, len(list(chosen))) == (6_000, 6_000)
    assert [item.image_path for item in chosen][:2] == ["0.png", "1.png"]
    assert len([one for one in queries if "to_tsvector" in one["sql"]]) == 1


# --- Who answers


def test_the_provider_asked_for_answers(ada, dataset, plain):
    make_provider(name="other", default_model="big-vlm")

    drafted = batch.draft(body(options={"provider": "other"}), ada)

    assert (drafted.job.config["provider"], drafted.job.config["model"]) == ("other", "big-vlm")


def test_without_a_word_the_configured_provider_answers(ada, dataset, plain, settings):
    make_provider(name="other")
    settings.DEFAULT_PROVIDER = "other"

    assert batch.draft(body(), ada).job.config["provider"] == "other"


def test_else_the_first_that_is_enabled_and_can_answer(ada, dataset, plain):
    Provider.objects.filter(name="remote").update(is_enabled=False)
    make_provider(name="second", environment="cloud")  # has no key
    make_provider(name="third")

    assert batch.draft(body(), ada).job.config["provider"] == "third"


def test_one_that_failed_when_it_was_tested_is_the_last_choice(ada, dataset, plain):
    Provider.objects.update(last_probe={"success": False})
    make_provider(name="untested")

    assert batch.draft(body(), ada).job.config["provider"] == "untested"

    Provider.objects.filter(name="untested").update(is_enabled=False)

    assert batch.draft(body(), ada).job.config["provider"] == "remote"


def test_workers_elsewhere_need_no_provider(ada, dataset, plain):
    Provider.objects.all().delete()

    drafted = batch.draft(body(options={"executor": "external"}), ada)

    assert drafted.job.executor == "external"
    assert drafted.job.config["provider"] == ""


def test_local_vision_refuses_what_it_cannot_follow_with_the_reason(ada, dataset, plain):
    errors = refused(ada, body(options={"provider": "local-vision"}))

    assert "cannot answer 'plain'" in errors["perspectives"][0]
    assert "language model" in errors["perspectives"][0]


# --- Refusals


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "POEM"}, "type"),
        ({"type": None}, "type"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"dataset": 5}, "dataset"),
        ({"dataset": None}, "images"),
        ({"dataset": None, "type": "DATASET_PERSPECTIVE", "images": [1]}, "dataset"),
        ({"images": "a.png"}, "images"),
        ({"images": [True]}, "images"),
        ({"images": [1.5]}, "images"),
        ({"images": [987654321]}, "images[0]"),
        ({"images": [10**30]}, "images[0]"),
        ({"images": ["nothing.png"]}, "images[0]"),
        ({"images": ["../../etc/passwd"]}, "images[0]"),
        ({"images": ["x"] * 10_001}, "images"),
        ({"perspectives": []}, "perspectives"),
        ({"perspectives": None}, "perspectives"),
        ({"perspectives": "plain"}, "perspectives"),
        ({"perspectives": ["plain", "unheard"]}, "perspectives"),
        ({"perspectives": ["asleep"]}, "perspectives"),
        ({"perspectives": ["orphan"], "type": "DEPENDENCY_CHAIN"}, "perspectives"),
        ({"perspectives": ["custom"]}, "options.global_context"),
        ({"priority": -1}, "priority"),
        ({"priority": 1001}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"dependencies": ["not-an-id"]}, "dependencies"),
        ({"dependencies": "x"}, "dependencies"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"name": 5}, "name"),
        ({"filters": {}}, "filters"),
        ({"options": []}, "options"),
        ({"options": {"max_tokens": 0}}, "options.max_tokens"),
        ({"options": {"max_tokens": 32_769}}, "options.max_tokens"),
        ({"options": {"temperature": 2.1}}, "options.temperature"),
        ({"options": {"temperature": True}}, "options.temperature"),
        ({"options": {"top_p": 1.1}}, "options.top_p"),
        ({"options": {"repetition_penalty": -0.1}}, "options.repetition_penalty"),
        ({"options": {"resize": "yes"}}, "options.resize"),
        ({"options": {"resize_resolution": "HUGE"}}, "options.resize_resolution"),
        ({"options": {"only_missing": 1}}, "options.only_missing"),
        ({"options": {"max_attempts": 11}}, "options.max_attempts"),
        ({"options": {"executor": "elsewhere"}}, "options.executor"),
        ({"options": {"executor": "external", "provider": "remote"}}, "options.provider"),
        ({"options": {"on_failed_dependency": "cry"}}, "options.on_failed_dependency"),
        ({"options": {"budget_usd": 0}}, "options.budget_usd"),
        ({"options": {"budget_usd": 1, "provider": "priceless"}}, "options.budget_usd"),
        ({"options": {"colour": "red"}}, "options.colour"),
        ({"options": {"provider": "unheard"}}, "options.provider"),
        ({"options": {"provider": "off"}}, "options.provider"),
        ({"options": {"provider": "remote", "model": "retired"}}, "options.model"),
        ({"options": {"provider": "local-vision", "model": "x"}}, "options.model"),
    ],
)
def test_a_job_is_refused_by_the_field_that_is_wrong(ada, dataset, plain, change, field):
    make_perspective("asleep", enabled=False)
    make_perspective("custom", type="custom", prompt="Do this: {custom_instructions}")
    make_perspective("base")
    make_perspective("orphan", builds_on=["base"]).current  # noqa: B018
    type(plain).objects.filter(name="base").update(enabled=False)
    make_provider(name="off", is_enabled=False)
    make_provider(name="priceless", input_price_usd=None, output_price_usd=None)
    Provider.objects.get(name="remote").models.create(name="retired", is_enabled=False)

    assert field in refused(ada, body(**change))


def test_all_errors_are_told_at_once(ada, dataset, plain):
    assert refused(ada, {"type": "x", "priority": "x", "options": {"x": 1}}).keys() >= {"type", "priority", "options.x"}


def test_somebody_elses_data_set_and_images_do_not_exist(dataset, plain):
    stranger = make_user("stranger")

    assert "dataset" in refused(stranger, body())
    assert "images[0]" in refused(stranger, body(dataset=None, images=[dataset.images.first().pk]))


def test_nothing_to_do_says_why(ada, dataset, plain):
    make_dataset(ada, "empty")
    for image in dataset.images.all():
        make_caption(image, plain)

    with pytest.raises(EmptyJob, match="have captions"):
        batch.draft(body(type="BACKFILL"), ada)
    with pytest.raises(EmptyJob, match="no images"):
        batch.draft(body(dataset="empty"), ada)


# --- What it will cost


def test_the_cost_of_a_job_follows_from_the_latest_calls(ada, dataset, plain):
    provider = Provider.objects.get(name="remote")
    item = JobItem.objects.get(
        job=create(batch.draft(body(images=[Image.objects.first().pk], dataset=None), ada).job, by=ada)
    )
    calls = [
        Attempt(Mode.NATIVE, status=200, usage=Usage(10, 5), cost_usd=Decimal("0.02")),
        Attempt(Mode.NATIVE, status=200, usage=Usage(10, 5), cost_usd=Decimal("0.01"), repair_turn=True),
        Attempt(Mode.NATIVE, status=500),
    ]

    ledger.record(provider, "tiny-vlm", calls, job_id=item.job_id, item_id=item.pk)

    assert batch.draft(body(), ada).estimated_cost_usd == Decimal("0.09")  # 0.03 an item, three items


def test_an_unknown_cost_stays_unknown_and_local_vision_costs_nothing(ada, dataset, plain):
    assert batch.draft(body(), ada).estimated_cost_usd is None
    assert ledger.expected_cost_usd(Provider.objects.get(name="local-vision"), "", 5) == 0
