"""What people do at the desk, in a browser"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import open_tab
from tests.e2e.steps import create_job, is_marked, mark
from tests.faults.desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FIRST_CAPTIONS_MS = 180_000  # the models are loaded first; seconds on two idle cores


def names_in_order(page: Page) -> list[str]:
    return page.locator("#result_list th.field-named, #result_list td.field-named").all_inner_texts()


def test_a_newcomer_presses_one_button_and_watches_captions_appear(browser: Browser, fresh_desk: Desk) -> None:
    with open_tab(browser, fresh_desk) as page:
        page.goto("/")
        expect(page.locator(".hero img")).to_have_count(7)
        page.get_by_role("button", name="Caption the demo pictures").click()
        page.wait_for_url("**/jobs/*")
        mark(page)
        expect(page.locator("#pulse")).to_have_text("Live")

        expect(page.locator(".caption-card").nth(2)).to_be_visible(timeout=FIRST_CAPTIONS_MS)

        assert is_marked(page)
        expect(page.locator(".caption-card .badge").first).to_contain_text("local-vision")
        page.locator(".caption-card a").first.click()
        page.wait_for_url("**/images/*")
        shown = page.locator(".picture img")
        expect(shown).to_be_visible()
        assert shown.evaluate("picture => picture.naturalWidth") > 0
        expect(page.locator("article").first).to_be_visible()
        page.goto("/")
        expect(page.get_by_role("button", name="Caption the demo pictures")).to_have_count(0)
        chart = page.locator("#chart")
        expect(chart.locator("canvas")).to_have_count(1)
        page.emulate_media(color_scheme="dark")
        chart.dispatch_event("desk-redraw")
        expect(chart.locator("canvas")).to_have_count(1)


def test_an_operator_reorders_the_queue_by_drag_and_by_keyboard(page: Page, desk: Desk) -> None:
    page.goto("/queue")
    page.get_by_role("button", name="Pause all").click()
    expect(page.locator("#queue")).to_contain_text("queue is paused")
    for name in ("first", "second", "third"):
        create_job(desk, name)
    expect(page.locator(".job-name")).to_have_text(["first", "second", "third"])
    page.goto("/admin/jobs/job/")
    handles = page.locator(".drag-handle")

    start, goal = handles.nth(2).bounding_box(), handles.nth(0).bounding_box()
    assert start is not None
    assert goal is not None
    page.mouse.move(start["x"] + 10, start["y"] + 10)
    page.mouse.down()
    page.mouse.move(goal["x"] + 10, goal["y"] + 10, steps=5)
    page.mouse.move(goal["x"] + 10, goal["y"] - 2)
    page.mouse.up()
    expect(page.locator("#order-status")).to_have_text("Moved to place 1 of the 3 shown here.")
    assert names_in_order(page) == ["third", "first", "second"]

    handles.nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#order-status")).to_have_text("Moved to place 2 of the 3 shown here.")
    page.reload()
    assert names_in_order(page) == ["first", "third", "second"]


def test_a_page_regains_its_socket_after_the_web_process_died(page: Page, desk: Desk) -> None:
    page.goto("/queue")
    mark(page)
    pulse = page.locator("#pulse")
    expect(pulse).to_have_text("Live")

    desk.roles()["web"][0].kill()
    expect(pulse).to_have_text(re.compile("Reconnecting|Offline"))
    expect(pulse).to_have_text("Live")
    create_job(desk, "after the storm")

    expect(page.locator("#queue")).to_contain_text("after the storm")
    assert is_marked(page)


def test_pages_work_without_scripts(browser: Any, desk: Desk) -> None:
    context = browser.new_context(base_url=desk.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/datasets")
    page.get_by_text("New data set").click()
    page.get_by_label("Name").fill("unscripted")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("h1")).to_have_text("unscripted")
    job_id = create_job(desk, "by hand")
    page.goto(f"/jobs/{job_id}")
    page.locator("summary").get_by_text("Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".message")).to_be_visible()
    context.close()
