import threading
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from captioning import review, wording
from captioning.models import Caption, CaptionSuperseded
from tests.captions import make_caption, make_dataset, make_image, make_perspective
from tests.workbench.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def image(ada):
    return make_image(make_dataset(ada))


@pytest.fixture
def plain():
    return make_perspective("plain")


def test_new_words_make_a_human_version_and_ask_for_a_new_verdict(ada, image, plain):
    machine = make_caption(image, plain, review="accepted", parameters={"top_p": 1})

    edited = review.change(machine, {"result": {"caption": "A blue square."}}, ada)

    machine.refresh_from_db()
    assert (machine.is_current, edited.is_current, edited.supersedes) == (False, True, machine)
    assert (edited.source, edited.provider, edited.parameters, edited.author) == ("human", "", {}, ada)
    assert edited.reviewed_by == ada
    assert (edited.text, edited.review) == ("A blue square.", "proposed")


def test_a_verdict_keeps_words_and_source(ada, image, plain):
    machine = make_caption(image, plain)

    accepted = review.change(machine, {"review": "accepted"}, ada)

    assert (accepted.source, accepted.provider, accepted.text) == ("model", "remote", "A red square.")
    assert (accepted.review, accepted.author, accepted.reviewed_by) == ("accepted", None, ada)


def test_a_verdict_on_a_persons_words_leaves_them_that_persons(ada, image, plain):
    bob = make_user("bob")
    written = review.change(make_caption(image, plain), {"text": "Ada's."}, ada)

    accepted = review.change(written, {"review": "accepted"}, bob)
    review.judge({"ids": [accepted.pk], "review": "rejected"}, bob)
    rejected = Caption.objects.current().get()
    back = rejected.restore(written, by=bob)

    for version in (accepted, rejected, back):
        assert (version.author, version.reviewed_by) == (ada, bob)
    assert (written.author, written.reviewed_by) == (ada, ada)


def test_versions_from_before_reviewers_were_kept_are_told_apart(ada, image, plain):
    """As they were written then: whoever made a version stood as its author."""
    bob, machine = make_user("bob"), make_caption(image, plain, is_current=False)

    def version(supersedes, author, **columns):
        values = {"source": "human", "provider": "", "text": "Ada's.", "is_current": False, **columns}
        return make_caption(image, plain, supersedes=supersedes, author=author, **values)

    judged = version(machine, bob, source="model", text=machine.text, review="accepted")
    written = version(judged, ada)
    accepted = version(written, bob, review="accepted")
    rejected = version(accepted, ada, review="rejected")
    reworded = version(rejected, bob, text="Bob's.")
    own = make_caption(image, plain, source="human", author=ada, is_current=False)
    migration = import_module("captioning.migrations.0012_reviewers_of_versions")

    migration.tell_apart(apps, None)

    found = {row.pk: (row.author, row.reviewed_by) for row in Caption.objects.all()}
    assert found == {
        machine.pk: (None, None),
        judged.pk: (None, bob),
        written.pk: (ada, ada),
        accepted.pk: (ada, bob),
        rejected.pk: (ada, ada),
        reworded.pk: (bob, bob),
        own.pk: (ada, None),
    }
    migration.join_again(apps, None)
    authors = dict(Caption.objects.values_list("pk", "author__username"))
    assert [authors[one.pk] for one in (judged, accepted, rejected)] == ["bob", "bob", "ada"]


def test_a_new_verdict_drops_the_reason_of_the_old_one(ada, image, plain):
    rejected = review.change(make_caption(image, plain), {"review": "rejected", "reviewReason": "blurred"}, ada)

    assert rejected.review_reason == "blurred"
    assert review.change(rejected, {"review": "accepted"}, ada).review_reason == ""


def test_a_version_that_was_replaced_cannot_be_changed(ada, image, plain):
    first = make_caption(image, plain)
    review.change(first, {"review": "accepted"}, ada)

    with pytest.raises(CaptionSuperseded):
        review.change(first, {"review": "rejected"}, ada)
    assert Caption.objects.count() == 2


def test_a_change_that_is_asked_for_again_was_made_once(ada, bob, image, plain):
    first = make_caption(image, plain)
    accepted = review.change(first, {"review": "accepted"}, ada)

    assert review.change(first, {"review": "accepted"}, ada) == accepted
    with pytest.raises(CaptionSuperseded):
        review.change(first, {"review": "accepted"}, bob)
    reworded = review.change(accepted, {"result": {"caption": "An owl."}}, ada)
    assert review.change(accepted, {"result": {"caption": "An owl."}}, ada) == reworded
    with pytest.raises(CaptionSuperseded):
        review.change(accepted, {"result": {"caption": "A crow."}}, ada)
    undone = reworded.restore(accepted, by=ada)
    assert reworded.restore(accepted, by=ada) == undone
    with pytest.raises(CaptionSuperseded):  # what was accepted then is no longer what stands
        review.change(first, {"review": "accepted"}, ada)
    assert list(review.history(first)) == [undone, reworded, accepted, first]


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_change_one_version_only_one_succeeds(ada, image, plain):
    caption = make_caption(image, plain)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def change(words: str) -> None:
        mine = Caption.objects.get(pk=caption.pk)
        start.wait()
        try:
            mine.revise(by=ada, text=words)
            outcomes.append("changed")
        except CaptionSuperseded:
            outcomes.append("too late")
        connection.close()

    threads = [threading.Thread(target=change, args=(words,)) for words in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["changed", "too late"]
    assert Caption.objects.current().count() == 1


def test_the_history_is_the_same_from_whichever_version_one_looks(ada, image, plain):
    first = make_caption(image, plain)
    second = review.change(first, {"text": "two"}, ada)
    third = review.change(second, {"text": "three"}, ada)
    make_caption(image, plain, text="another line")

    for version in (first, second, third):
        assert list(review.history(version)) == [third, second, first]


def test_one_statement_judges_many_and_leaves_what_has_the_verdict(ada, image, plain):
    captions = [make_caption(image, plain, provider=str(n)) for n in range(3)]
    done = make_caption(image, plain, review="accepted")

    answer = review.judge({"ids": [*(c.pk for c in captions), done.pk, 999_999], "review": "accepted"}, ada)

    assert answer == {"updated": 3, "unchanged": 1, "ignored": [999_999]}
    current = Caption.objects.current()
    assert set(current.values_list("review", flat=True)) == {"accepted"}
    assert current.count() == 4
    assert set(current.filter(supersedes__isnull=False).values_list("reviewed_by__username", flat=True)) == {"ada"}
    assert not current.filter(author__isnull=False).exists()


def test_a_filter_judges_what_it_matches(ada, image, plain):
    make_caption(image, plain, text="an owl at night")
    make_caption(image, plain, text="a cow", provider="other")

    answer = review.judge({"filter": {"search": "owls"}, "review": "rejected", "reason": "wrong bird"}, ada)

    assert answer["updated"] == 1
    assert Caption.objects.current().get(review="rejected").review_reason == "wrong bird"


def test_nobody_judges_captions_of_others(image, plain):
    caption = make_caption(image, plain)

    answer = review.judge({"ids": [caption.pk], "review": "accepted"}, make_user("stranger"))

    assert answer == {"updated": 0, "unchanged": 0, "ignored": [caption.pk]}


def test_search_finds_forms_of_words_phrases_and_exclusions(image, plain):
    make_caption(image, plain, text="Two owls sit on a branch")
    make_caption(image, plain, text="An owl in flight", provider="other")

    def found(words: str) -> int:
        return Caption.objects.current().matching(words).count()

    assert (found("owl"), found('"owl in flight"'), found("owl -branch"), found("cow")) == (2, 1, 1, 0)


def test_search_uses_its_index(image, plain):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    assert "caption_words" in Caption.objects.current().matching("owl").explain()


def test_the_preferred_caption_is_accepted_before_human_before_newest(image, plain):
    def preferred() -> str:
        return Caption.objects.preferred().get().text

    make_caption(image, plain, text="old machine")
    make_caption(image, plain, text="new machine", provider="other")
    assert preferred() == "new machine"
    make_caption(image, plain, text="human", source="human", provider="")
    make_caption(image, plain, text="newest machine", provider="third")
    assert preferred() == "human"
    make_caption(image, plain, text="accepted", review="accepted", provider="fourth")
    make_caption(image, plain, text="rejected", review="rejected", source="human")
    assert preferred() == "accepted"


def test_a_template_is_filled_from_nested_answers():
    result = {
        "tags": [{"tag": "owl", "confidence": 0.9}, {"tag": "night", "confidence": 0.5}],
        "sure": True,
        "none": None,
    }

    assert wording.render("Tags: {tags}; sure: {sure}{none}", result) == "Tags: owl 0.9, night 0.5; sure: yes"
    assert wording.text_of("", result) == "owl 0.9, night 0.5\nyes"
