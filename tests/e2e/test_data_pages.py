"""What curators do all day: upload, choose, review, compose a job; on one desk, one after the other"""

from __future__ import annotations

import base64
import re
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.steps import is_marked, mark
from tests.faults.desk import Desk
from tests.pictures import png

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LONGEST_JOB_MS = 300_000
# Files made in the page, as a drag from the desktop brings them: [name, bytes in base64].
DROP = """
([target, files]) => {
  const carried = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type: "image/png" }));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector(target).dispatchEvent(
      new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }),
    );
  }
}
"""


def shelf(page: Page, name: str, n: int, *, captioned: bool = False) -> list[int]:
    """Make a data set of n pictures through the API, each with a proposal if wanted; returns the images' ids."""
    # Which pictures these are follows from the name, so that no two data sets share any.
    seeds = [int.from_bytes(name.encode()[:2]) + n for n in range(n)]
    assert page.request.post("/api/datasets", data={"name": name}).ok
    ids = []
    for number, seed in enumerate(seeds):
        file = {"name": f"{number:03}.png", "mimeType": "image/png", "buffer": png(seed, 64 + number, 48)}
        answer = page.request.post(f"/api/datasets/{name}/images", multipart={"images": file})
        assert answer.ok, answer.text()
        ids.append(answer.json()["images"][0]["id"])
        if captioned:
            caption = {"image": ids[-1], "perspective": "plain_caption", "result": {"caption": f"Picture {number}."}}
            assert page.request.post("/api/captions", data=caption).ok
    return ids


def reviews(page: Page, name: str) -> list[str]:
    captions = page.request.get(f"/api/captions?dataset={name}&limit=500&ordering=createdAt").json()["captions"]
    return [caption["review"] for caption in captions]


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    page.evaluate(DROP, ["main", [[name, base64.b64encode(content).decode()] for name, content in files]])


def test_fifty_captions_are_reviewed_by_keyboard(page: Page) -> None:
    shelf(page, "fifty", 50, captioned=True)
    page.goto("/review?dataset=fifty")
    expect(page.locator("#review-progress")).to_contain_text("1 of 50")

    for n in range(50):
        here = page.locator(".review-item:visible")
        expect(here.locator(".review-card.is-active")).to_contain_text(f"Picture {n}.")
        if n % 10 == 3:
            page.keyboard.press("r")
            page.keyboard.press("4")  # too vague
        elif n % 10 == 7:
            page.keyboard.press("e")
            words = here.locator(".edit-form textarea").first
            expect(words).to_be_focused()
            words.fill(f"Picture {n}, seen by a person.")
            page.keyboard.press("Control+Enter")
        else:
            page.keyboard.press("a")
    expect(page.locator("#review-end")).to_be_visible()
    expect(page.locator("#review-saving")).to_be_hidden()

    assert sorted(reviews(page, "fifty")) == ["accepted"] * 45 + ["rejected"] * 5
    page.goto("/review?dataset=fifty&state=rejected")
    expect(page.locator(".review-card.is-active")).to_contain_text("Because: too vague")
    page.goto("/review?dataset=fifty&state=accepted&source=human")
    expect(page.locator(".review-item")).not_to_have_count(0)


def test_a_verdict_is_taken_back_and_differences_are_shown(page: Page) -> None:
    shelf(page, "undone", 3, captioned=True)
    page.goto("/review?dataset=undone")
    active = page.locator(".review-item:visible .review-card.is-active")
    expect(active).to_contain_text("Picture 0.")
    page.keyboard.press("a")
    expect(active).to_contain_text("Picture 1.")

    page.keyboard.press("z")
    expect(active).to_contain_text("Picture 0.")
    expect(page.locator("#review-saving")).to_be_hidden()
    expect(active).to_contain_text("to review")
    assert sorted(reviews(page, "undone")) == ["proposed"] * 3

    page.keyboard.press("e")
    page.locator(".review-item:visible .edit-form textarea").first.fill("Picture 0 and an owl.")
    page.keyboard.press("Control+Enter")
    expect(active).to_contain_text("Picture 1.")
    page.keyboard.press("k")
    expect(active).to_contain_text("and an owl")
    page.keyboard.press("d")
    expect(page.locator("#history ins").first).to_contain_text("and an owl")
    page.keyboard.press("d")
    expect(page.locator("#history")).to_be_hidden()


@pytest.mark.parametrize("width", [1440, 390])
def test_the_question_why_lies_inside_the_screen(page: Page, width: int) -> None:
    name = f"why{width}"
    shelf(page, name, 1, captioned=True)
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"/review?dataset={name}")

    page.locator("details.reject summary").click()

    for part in (page.get_by_text("Why?"), page.locator("form[data-verb=reject] button")):
        expect(part).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_verdicts_that_were_not_taken_wait_until_they_are(page: Page) -> None:
    shelf(page, "waited", 3, captioned=True)
    page.goto("/review?dataset=waited")
    active = page.locator(".review-item:visible .review-card.is-active")
    saving = page.locator("#review-saving")
    fault = "logged out"

    def answer(route: Route) -> None:
        if route.request.method == "GET" or not fault:
            route.continue_()
        elif fault == "logged out":
            route.fulfill(status=401, json={"detail": "You are logged out."})
        else:
            route.abort()

    page.route("**/review/**", answer)
    page.keyboard.press("a")
    expect(active).to_contain_text("Picture 1.")
    expect(saving).to_contain_text("1 not saved yet: you are logged out")
    expect(saving.get_by_role("link", name="Log in")).to_be_visible()
    fault = "no network"
    page.keyboard.press("a")
    expect(active).to_contain_text("Picture 2.")
    expect(saving).to_contain_text("2 not saved yet: the desk does not answer")
    page.keyboard.press("e")
    form = page.locator(".review-item:visible .edit-form").first
    form.locator("textarea").first.fill("Picture 2 and an owl.")
    page.keyboard.press("Control+Enter")
    expect(form).to_contain_text("1 not saved yet: the desk does not answer")
    fault = ""

    page.keyboard.press("Control+Enter")
    expect(page.locator("#review-end")).to_be_visible()
    saving.get_by_role("button", name="Try again").click()

    expect(saving).to_be_hidden()
    captions = page.request.get("/api/captions?dataset=waited").json()["captions"]
    assert sorted((one["review"], one["text"]) for one in captions) == [
        ("accepted", "Picture 0."),
        ("accepted", "Picture 1."),
        ("accepted", "Picture 2 and an owl."),
    ]


def test_two_reviewers_at_one_caption_lose_nothing(page: Page, browser: Browser, desk: Desk) -> None:
    shelf(page, "two", 1, captioned=True)
    page.goto("/review?dataset=two")
    page.keyboard.press("e")
    mine = page.locator(".edit-form textarea").first
    mine.fill("What I wrote.")
    other = page.request.get("/api/captions?dataset=two").json()["captions"][0]
    assert page.request.patch(f"/api/captions/{other['id']}", data={"result": {"caption": "What they wrote."}}).ok

    page.keyboard.press("Control+Enter")

    conflict = page.locator("#conflict")
    expect(conflict).to_contain_text("What they wrote.")
    expect(conflict).to_contain_text("I wrote")
    conflict.get_by_role("button", name="Use mine instead").click()
    expect(conflict).to_be_hidden()
    expect(page.locator(".review-card").first).to_contain_text("What I wrote.")
    assert page.request.get("/api/captions?dataset=two").json()["captions"][0]["text"] == "What I wrote."


def test_pictures_are_uploaded_by_drag_and_drop_with_a_reason_for_what_is_refused(page: Page) -> None:
    assert page.request.post("/api/datasets", data={"name": "dropped"}).ok
    page.goto("/datasets/dropped")
    expect(page.get_by_role("heading", name="No pictures yet")).to_be_visible()

    drop(page, *((f"{n}.png", png(n + 900)) for n in range(4)), ("letter.png", b"Dear Ada"))

    expect(page.locator("#upload-summary")).to_contain_text("4 added, 0 here already, 1 refused, 0 to go")
    refused = page.locator('[data-end="refused"]')
    expect(refused).to_contain_text("letter.png")
    expect(refused).to_contain_text("This is text, not a picture")
    page.reload()
    expect(page.locator("#grid .tile")).to_have_count(4)
    drop(page, ("again.png", png(900)), ("new.png", png(990)))
    expect(page.locator("#upload-summary")).to_contain_text("1 added, 1 here already, 0 refused, 0 to go")
    expect(page.locator("#grid .tile")).to_have_count(5)


def test_a_bulk_delete_is_undone(page: Page) -> None:
    shelf(page, "bulk", 12)
    page.goto("/datasets/bulk")
    expect(page.locator("#grid .tile")).to_have_count(12)

    page.keyboard.press("ArrowRight")
    expect(page.locator("#grid .tile-link").first).to_be_focused()
    page.keyboard.press("x")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Space")
    expect(page.locator("#chosen")).to_have_text("5 chosen")
    page.locator("#selection summary").click()
    expect(page.locator("#delete-question")).to_have_text("Delete 5 pictures?")
    page.get_by_role("button", name="Delete them").click()
    expect(page.locator("#grid .tile")).to_have_count(7)
    page.keyboard.press("Control+a")
    expect(page.locator("#chosen")).to_have_text("7 chosen")

    page.get_by_role("button", name="Undo").click()

    expect(page.locator(".message.success")).to_have_text("5 pictures are back.")
    expect(page.locator("#grid .tile")).to_have_count(12)


def make_large(connection: psycopg.Connection[Any], name: str, n_images: int) -> None:
    """Make a data set of pictures n1, n2 and so on, which all look like the first one of the desk."""
    connection.execute("INSERT INTO captioning_dataset (name, updated_at) VALUES (%s, now())", [name])
    connection.execute(
        "INSERT INTO captioning_image (dataset_id, path, sha256, stored_as, format, size, width, height)"
        " SELECT d.id, 'n' || n, md5(d.name || n) || md5('x' || n), i.stored_as, i.format, i.size, i.width, i.height"
        " FROM generate_series(1, %s) n, captioning_dataset d,"
        " (SELECT * FROM captioning_image ORDER BY id LIMIT 1) i WHERE d.name = %s",
        [n_images, name],
    )


def test_the_grid_shows_any_place_of_many_pictures_and_keeps_few(page: Page, desk: Desk) -> None:
    with desk.connect() as connection:
        make_large(connection, "many", 20_000)
    page.goto("/datasets/many")
    expect(page.locator("#grid .tile").first).to_be_visible()

    page.locator("#grid .tile-link").first.focus()
    page.keyboard.press("End")

    last = page.locator('[data-place="20000"] .tile-link')
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    assert page.locator("#grid .tile").count() < 1500
    density = page.locator("#density")
    size = int(density.input_value())
    for _ in range(4):
        page.keyboard.press("+")
    expect(density).to_have_value(str(size + 4 * 24))
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    page.keyboard.press("Home")
    expect(page.locator('[data-place="1"] .tile-link')).to_be_focused()
    density.fill("312")
    expect(page.locator('[data-place="1"]')).to_be_in_viewport()


def test_a_common_word_shows_pictures_at_once_and_all_counts_a_moment_later(page: Page, desk: Desk) -> None:
    with desk.connect() as connection:
        make_large(connection, "words", 9_000)
        connection.execute(
            "INSERT INTO captioning_caption (image_id, perspective_id, perspective_version_id, source, result, text)"
            " SELECT i.id, p.id, p.current_id, 'model', '{}', 'A heron.' FROM captioning_image i"
            " JOIN captioning_dataset d ON d.id = i.dataset_id AND d.name = 'words'"
            " JOIN captioning_perspective p ON p.name = 'plain_caption' WHERE i.path <> 'n1'"
        )
    held: list[Route] = []
    page.route("**/datasets/words/counts?*", lambda route: held.append(route))
    page.goto("/datasets/words?search=heron")
    expect(page.locator("#grid .tile").first).to_be_visible()
    chip = page.locator("a.chip", has_text="to review")
    expect(chip).to_contain_text("+")
    chip.focus()
    before = chip.bounding_box()
    page.keyboard.press("Control+a")
    expect(page.locator("#chosen")).to_have_text("All chosen")

    held[0].continue_()

    expect(chip).to_contain_text("8,999")
    expect(chip).to_be_focused()
    assert chip.bounding_box() == before
    expect(page.get_by_text("8,999 pictures match.")).to_have_attribute("role", "status")
    expect(page.locator("#chosen")).to_have_text("8,999 chosen")
    page.keyboard.press("Escape")
    page.locator("#grid .tile-link").first.focus()
    page.keyboard.press("End")
    expect(page.locator('[data-place="8999"] .tile-link')).to_be_focused()
    assert len(held) == 1


def test_a_job_is_tried_and_then_started(page: Page) -> None:
    page.goto("/jobs/new?dataset=demo&perspectives=colours_and_composition")
    page.get_by_role("button", name="What would it take?").click()
    expect(page.locator("#forecast")).to_contain_text("7 for 7 pictures")
    expect(page.locator("#forecast")).to_contain_text("nothing")

    page.get_by_role("button", name="Try it on 3 pictures").click()
    trial = page.locator("#trial")
    expect(trial).to_contain_text("kept as proposals", timeout=LONGEST_JOB_MS)
    expect(trial.locator(".trial-picture .caption-text")).to_have_count(3)
    page.get_by_role("button", name="Start the job").click()

    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    mark(page)
    expect(page.locator("h1")).to_contain_text("Colours and composition: demo")
    expect(page.locator("h1 + span")).to_have_text("completed", timeout=LONGEST_JOB_MS)
    expect(page.locator(".caption-card")).to_have_count(7)
    expect(page.locator(".figures")).to_contain_text("Latency p50 / p95")
    assert is_marked(page)

    page.get_by_role("link", name="Change and repeat").click()
    expect(page.get_by_label("Data set")).to_have_value("demo")
    expect(page.get_by_role("checkbox", name="Colours and composition")).to_be_checked()

    page.go_back()
    first = page.url
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url(lambda address: address != first)
    expect(page.locator("h1")).to_contain_text("Colours and composition: demo")
    expect(page.locator(".figures")).to_contain_text("of 7")


def test_a_wording_is_tried_before_it_is_saved(page: Page) -> None:
    page.goto("/perspectives/new?from=colours_and_composition")
    page.get_by_label("As text").fill("Tried: {colour_summary}")
    page.get_by_label("answered by").select_option("local-vision")

    page.get_by_role("button", name="Try the wording as it is typed").click()

    sample = page.locator("#sample")
    expect(sample.locator(".caption-text")).to_contain_text("Tried: Colours:", timeout=LONGEST_JOB_MS)
    expect(sample).to_contain_text("nothing was written to the picture")
    page.get_by_label("Title").fill("Saved after all")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("h1")).to_have_text("Saved after all")


def test_a_data_set_is_deleted_and_brought_back(page: Page) -> None:
    shelf(page, "whole", 3)
    page.goto("/datasets/whole")

    page.locator("summary").get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Delete the data set").click()
    page.wait_for_url("**/datasets")
    expect(page.locator("table")).not_to_contain_text("whole")
    page.locator(".undo", has_text="whole").get_by_role("button", name="Undo").click()

    expect(page.locator(".message.success")).to_have_text("“whole” is back with 3 pictures.")
    expect(page.locator("#grid .tile")).to_have_count(3)


def test_review_and_grid_work_without_scripts(browser: Browser, page: Page, desk: Desk) -> None:
    shelf(page, "plain", 2, captioned=True)
    context = browser.new_context(base_url=desk.address, java_script_enabled=False)
    plain = context.new_page()
    plain.goto("/review?dataset=plain")
    plain.get_by_role("button", name="Accept").click()
    expect(plain.locator(".review-card")).to_contain_text("Picture 1.")
    plain.locator("summary").get_by_text("Reject").click()
    plain.get_by_label("In your own words").fill("It says nothing.")
    plain.locator(".reject").get_by_role("button", name="Reject").click()
    expect(plain.get_by_role("heading", name="All done")).to_be_visible()
    plain.get_by_role("button", name="Undo").click()
    expect(plain.locator(".review-card")).to_contain_text("Picture 1.")

    plain.goto("/datasets/plain")
    plain.locator(".tile input").first.check()
    plain.locator("#selection summary").click()
    plain.get_by_role("button", name="Delete them").click()
    expect(plain.locator(".tile")).to_have_count(1)
    plain.get_by_role("button", name="Undo").click()
    expect(plain.locator(".tile")).to_have_count(2)
    context.close()
