"""The home, queue and job pages, as an operator uses them all day"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.e2e.steps import ask, create_job, is_marked, mark
from tests.faults.desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

AXE = Path(__file__).resolve().parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_SECONDS = 60
NOT_EVENTS = {"CONNECTED", "SNAPSHOT", "PONG", "ERROR"}


def order(desk: Desk) -> list[str]:
    return [job["jobId"] for job in ask(desk, "list?status=pending")["jobs"]]


def pause_all(desk: Desk) -> None:
    ask(desk, "limits", {"paused": True})


def queue_of_three(page: Page, desk: Desk) -> list[str]:
    """Open the queue with three jobs that wait. Returns their ids in order."""
    pause_all(desk)
    ids = [create_job(desk, name) for name in ("first", "second", "third")]
    page.goto("/queue")
    expect(page.locator("#pulse")).to_have_text("Live")
    expect(page.locator("#jobs .job-name")).to_have_text(["first", "second", "third"])
    return ids


def test_jobs_are_reordered_by_mouse(page: Page, desk: Desk) -> None:
    first, second, third = queue_of_three(page, desk)
    grips = page.locator("#jobs .grip")
    start, goal = grips.nth(2).bounding_box(), grips.nth(0).bounding_box()
    assert start is not None
    assert goal is not None

    page.mouse.move(start["x"] + 10, start["y"] + 10)
    page.mouse.down()
    page.mouse.move(goal["x"] + 10, goal["y"] + 10, steps=5)
    page.mouse.move(goal["x"] + 10, goal["y"] + 2)
    page.mouse.up()

    expect(page.locator("#order-status")).to_have_text("Moved to place 1.")
    expect(page.locator("#jobs .job-name")).to_have_text(["third", "first", "second"])
    assert order(desk) == [third, first, second]


def test_jobs_are_reordered_by_finger(browser: Browser, desk: Desk) -> None:
    context = browser.new_context(base_url=desk.address, viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    first, second, third = queue_of_three(page, desk)
    start = page.locator("#jobs .grip").nth(0).bounding_box()
    goal = page.locator("#jobs [data-row]").nth(2).bounding_box()
    assert start is not None
    assert goal is not None
    session = context.new_cdp_session(page)
    x, y = start["x"] + 10, start["y"] + 10

    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for share in (0.3, 0.7, 1.0):
        at = y + share * (goal["y"] + goal["height"] - 4 - y)
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": at}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    expect(page.locator("#order-status")).to_have_text("Moved to place 3.")
    assert order(desk) == [second, third, first]
    context.close()


def test_jobs_are_reordered_by_keyboard_alone(page: Page, desk: Desk) -> None:
    first, second, third = queue_of_three(page, desk)

    page.keyboard.press("j")
    expect(page.locator("#jobs [data-row]").first).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("#order-status")).to_have_text("Moved to place 2.")
    expect(page.locator(f"[data-job='{first}']")).to_be_focused()
    page.locator("#jobs .grip").nth(2).focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#jobs .job-name")).to_have_text(["second", "third", "first"])

    page.reload()
    expect(page.locator("#jobs .job-name")).to_have_text(["second", "third", "first"])
    assert order(desk) == [second, third, first]


def test_a_move_in_a_queue_that_has_changed_is_taken_back_and_explained(page: Page, desk: Desk) -> None:
    first, second, third = queue_of_three(page, desk)
    page.route("**/pieces/**", lambda route: route.abort())
    page.route("**/queue", lambda route: route.abort())
    ask(desk, "reorder", {"jobId": third, "before": first})

    page.locator("#jobs .grip").nth(0).focus()
    page.keyboard.press("ArrowDown")

    expect(page.locator("#order-status")).to_contain_text("read it again")
    assert order(desk) == [third, first, second]


def test_rows_stand_still_under_the_pointer_and_a_pill_tells_the_news(page: Page, desk: Desk) -> None:
    first, _, third = queue_of_three(page, desk)
    page.locator(f"[data-job='{first}'] .progress").hover()

    create_job(desk, "fourth")
    ask(desk, "reorder", {"jobId": third, "before": first})

    expect(page.locator("#news")).to_have_text("1 new above")
    expect(page.locator("#jobs .job-name")).to_have_text(["first", "second", "third"])
    page.locator("#news").press("Enter")
    expect(page.locator("#jobs .job-name")).to_have_text(["third", "first", "second", "fourth"])
    expect(page.locator("#news")).to_be_hidden()


def test_an_open_menu_and_what_is_typed_in_it_outlive_an_update(page: Page, desk: Desk) -> None:
    first, second, _ = queue_of_three(page, desk)
    mark(page)
    row = page.locator(f"[data-job='{first}']")
    row.locator("summary").click()
    field = row.get_by_label("Priority, lower runs first")
    field.fill("7")

    ask(desk, f"pause/{second}", {})
    expect(page.locator(f"[data-job='{second}'] .state")).to_have_text("paused")

    expect(field).to_have_value("7")
    row.get_by_role("button", name="Set").click()
    expect(page.locator("#messages")).to_contain_text("priority 7")
    assert ask(desk, f"status/{first}?includeItems=false")["job"]["priority"] == 7
    assert is_marked(page)


def test_a_page_that_lost_its_socket_hears_every_event_once_and_in_order(page: Page, desk: Desk) -> None:
    pause_all(desk)
    job = create_job(desk, "stormy")
    heard: list[dict[str, Any]] = []
    sockets: list[WebSocketRoute] = []
    is_cut = False

    def between(socket: WebSocketRoute) -> None:
        if is_cut:
            socket.close()
            return
        server = socket.connect_to_server()

        def pass_on(text: str | bytes) -> None:
            heard.append(json.loads(text))
            socket.send(text)

        server.on_message(pass_on)
        socket.on_message(server.send)
        sockets.append(socket)

    page.route_web_socket(re.compile("/api/ws/"), between)
    page.goto(f"/jobs/{job}?tab=timeline")
    mark(page)
    pulse, timeline = page.locator("#pulse"), page.locator("#timeline")
    expect(pulse).to_have_text("Live")
    ask(desk, f"pause/{job}", {})
    expect(timeline.get_by_text("Paused")).to_have_count(1)

    is_cut = True
    sockets[-1].close()
    expect(pulse).to_have_text("Reconnecting")
    for verb in ("resume", "pause", "resume", "pause", "resume"):
        ask(desk, f"{verb}/{job}", {})
    is_cut = False

    expect(pulse).to_have_text("Live")
    expect(timeline.get_by_text("Paused")).to_have_count(3)
    expect(timeline.get_by_text("Resumed")).to_have_count(3)

    def events() -> list[dict[str, Any]]:
        return [event for event in heard if event["type"] not in NOT_EVENTS]

    # The page fetches its timeline anew with the first word that it hears; the other words may still be on their way.
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while len(events()) < 6 and time.monotonic() < ends_at:
        page.wait_for_timeout(50)
    numbers = [event["sequence"] for event in events()]
    assert [event["type"] for event in events()] == ["JOB_PAUSED", "JOB_RESUMED"] * 3
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    assert is_marked(page)


def test_many_jobs_are_cancelled_with_a_preview_and_taken_back(page: Page, desk: Desk) -> None:
    queue_of_three(page, desk)

    page.locator("#bulk-menu summary").click()
    page.get_by_role("button", name="Cancel …").click()
    expect(page.locator("h1")).to_have_text("Cancel: 3 jobs")
    page.get_by_role("button", name="Cancel: 3 jobs").click()
    expect(page.locator(".bulk-action").first).to_contain_text("Cancelling 3 jobs")
    page.get_by_role("button", name="Undo").click()

    expect(page.locator("#messages")).to_contain_text("nothing was changed")
    expect(page.locator(".bulk-action").first).to_contain_text("taken back")
    assert len(order(desk)) == 3


def test_chosen_jobs_are_paused_at_once_when_somebody_does_not_want_to_wait(page: Page, desk: Desk) -> None:
    first, second, third = queue_of_three(page, desk)

    for job in (first, third):
        page.locator(f"[data-job='{job}'] [name=job]").check()
    expect(page.locator("#bulk-menu summary")).to_contain_text("Chosen: 2")
    page.locator("#bulk-menu summary").click()
    page.get_by_role("button", name="Pause …").click()
    page.get_by_role("button", name="Pause: 2 jobs").click()
    page.get_by_role("button", name="Do it now").click()

    expect(page.locator(".bulk-action").first).to_contain_text("2 jobs paused")
    expect(page.locator(f"[data-job='{first}'] .state")).to_have_text("paused")
    expect(page.locator(f"[data-job='{second}'] .state")).to_have_text("pending")


def test_an_operator_works_the_queue_without_a_mouse(page: Page, desk: Desk) -> None:
    queue_of_three(page, desk)

    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("second")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queue?search=second")
    expect(page.locator("#jobs .job-name")).to_have_text(["second"])
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    page.keyboard.press("g")
    page.keyboard.press("h")
    page.wait_for_url(f"{desk.address}/")


# --- A viewer who may not


@pytest.fixture
def closed_desk() -> Iterator[Desk]:
    """A desk that asks who comes, with a member of the staff and a viewer."""
    with Desk.open(API_ACCESS="token") as desk, desk.connect() as database:
        for name, is_staff in (("otto", True), ("vera", False)):
            database.execute(
                "INSERT INTO auth_user (username, password, is_staff, is_superuser, is_active, first_name,"
                " last_name, email, date_joined) VALUES (%s, %s, %s, %s, true, '', '', '', now())",
                [name, make_password("correct horse"), is_staff, is_staff],
            )
        yield desk


def log_in(page: Page, name: str) -> None:
    page.goto("/login?next=/queue")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    page.wait_for_url("**/queue")


def queue_of_one(operator: Page) -> str:
    """Pause the queue and make a job in it; returns its id."""
    operator.get_by_role("button", name="Pause all").click()
    expect(operator.locator("#queue")).to_contain_text("queue is paused")
    body = {"type": "DATASET_PERSPECTIVE", "dataset": "demo", "perspectives": ["colours_and_composition"]}
    cookies = {cookie["name"]: cookie["value"] for cookie in operator.context.cookies()}
    created = operator.request.post(
        "/api/perspectives/batch/create", data=body, headers={"X-CSRFToken": cookies["csrftoken"]}
    )
    expect(operator.locator("#jobs .job-name")).to_have_count(1)
    return str(created.json()["jobId"])


def test_a_viewer_may_look_at_own_jobs_and_at_nothing_else(browser: Browser, closed_desk: Desk) -> None:
    contexts = [browser.new_context(base_url=closed_desk.address) for _ in range(2)]
    operator, viewer = (context.new_page() for context in contexts)
    log_in(operator, "otto")
    job = queue_of_one(operator)

    log_in(viewer, "vera")

    expect(viewer.locator("#pulse")).to_have_text("Live")
    expect(viewer.locator("#queue")).to_contain_text("The queue is empty")
    expect(viewer.get_by_role("button", name="Pause all")).to_have_count(0)
    expect(viewer.get_by_role("button", name="Resume all")).to_have_count(0)
    expect(viewer.get_by_text("Limits:")).to_be_visible()
    expect(viewer.get_by_role("link", name="Admin")).to_have_count(0)
    answer = viewer.goto(f"/jobs/{job}")
    assert answer is not None
    assert answer.status == 404
    expect(viewer.locator("h1")).to_have_text("There is nothing here")
    token = next(cookie["value"] for cookie in contexts[1].cookies() if cookie["name"] == "csrftoken")
    for path, status in (("/queue/default/resume", 403), (f"/jobs/{job}/cancel", 404)):
        refused = viewer.request.post(path, headers={"X-CSRFToken": token, "Referer": closed_desk.address})
        assert refused.status == status, path
    for context in contexts:
        context.close()


# --- Everybody


def violations(page: Page) -> list[str]:
    """What axe finds serious, by rule and place."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.fixture
def axe() -> None:
    if not AXE.exists():
        if os.environ.get("CI"):
            pytest.fail("axe-core is missing: run `npm ci` in tests/node.")
        pytest.skip("AXE-CORE IS MISSING: nobody looked for barriers. Run `npm ci` in tests/node.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_open_menu_has_no_serious_barrier(browser: Browser, desk: Desk, axe: None, scheme: Any) -> None:
    pause_all(desk)
    create_job(desk, "first")
    context = browser.new_context(base_url=desk.address, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto("/queue")
    expect(page.locator("#pulse")).to_have_text("Live")

    page.locator("#jobs details summary").first.click()

    expect(page.get_by_role("button", name="Cancel the job")).to_be_visible()
    assert violations(page) == []
    context.close()


def test_who_was_logged_out_logs_in_again_beside_and_presses_once_more(browser: Browser, closed_desk: Desk) -> None:
    context = browser.new_context(base_url=closed_desk.address)
    page = context.new_page()
    log_in(page, "otto")
    job = queue_of_one(page)
    pause = page.locator("#jobs").get_by_role("button", name="Pause")
    context.clear_cookies(name="sessionid")

    pause.click()

    expect(page.locator("#messages")).to_contain_text("You are logged out")
    expect(page.locator("#jobs .job-name")).to_have_count(1)
    with context.expect_page() as opened:
        page.locator("#messages").get_by_role("link", name="Log in").click()
    log_in(opened.value, "otto")
    opened.value.close()
    # Without a screen no window is ever hidden, so that none comes into view again.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    pause.click()
    expect(page.locator(f"[data-job='{job}'] .state")).to_have_text("paused")
    expect(page.locator("#messages")).not_to_contain_text("logged out")


def test_a_button_says_that_no_answer_came(page: Page, desk: Desk) -> None:
    first, *_ = queue_of_three(page, desk)
    page.route("**/pause", lambda route: route.abort())
    pause = page.locator(f"[data-job='{first}']").get_by_role("button", name="Pause")

    pause.click()

    expect(page.locator("#messages")).to_contain_text("No answer came from the desk")
    page.unroute_all()
    pause.click()
    expect(page.locator(f"[data-job='{first}'] .state")).to_have_text("paused")
    expect(page.locator("#messages")).not_to_contain_text("No answer came")
