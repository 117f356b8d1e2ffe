"""Every page for everybody: screen readers, keyboards, dark rooms, phones, and whoever gets dizzy from motion"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.steps import ask
from tests.faults.test_surveys import SurveyDesk
from tests.scenes import scene
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

AXE = Path(__file__).resolve().parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_SECONDS = 240
LONGEST_TAB_WALK = 40

# {names} in braces stand for what the desk of these tests holds.
PAGES = {
    "home": "/",
    "queue": "/queue",
    "finished jobs": "/queue?status=finished",
    "archive": "/queue?status=archived",
    "a search without a hit": "/queue?search=nobody",
    "preview of a bulk action": "/queue/bulk/cancel?status=active",
    "job that waits": "/jobs/{pending}",
    "job that failed": "/jobs/{failed}",
    "timeline": "/jobs/{failed}?tab=timeline",
    "configuration": "/jobs/{failed}?tab=configuration",
    "item": "/jobs/{failed}/items/0",
    "item that waits": "/jobs/{pending}/items/0",
    "new job": "/jobs/new?dataset=demo",
    "changed job": "/jobs/new?from={failed}",
    "data sets": "/datasets",
    "data set": "/datasets/demo",
    "empty data set": "/datasets/empty",
    "filter without a hit": "/datasets/demo?state=rejected",
    "picture": "/images/{image}",
    "picture without a caption": "/images/{bare_image}",
    "review": "/review?dataset=demo",
    "review that is done": "/review?dataset=empty",
    "history of a caption": "/review/captions/{caption}/history",
    "form of a caption": "/review/captions/{caption}/form",
    "perspectives": "/perspectives",
    "perspective": "/perspectives/objects",
    "editor": "/perspectives/objects/edit",
    "new perspective": "/perspectives/new",
    "providers": "/providers",
    "surveys": "/surveys",
    "new survey": "/surveys/new",
    "survey": "/surveys/{survey}",
    "survey without its files": "/surveys/{begun_survey}",
    "login": "/login",
    "nothing here": "/nothing",
}
ADMIN_PAGES = {
    "front": "/admin/",
    "jobs": "/admin/jobs/job/",
    "job": "/admin/jobs/job/{failed_pk}/change/",
    "items": "/admin/jobs/jobitem/",
    "archive": "/admin/jobs/jobarchive/",
    "queues": "/admin/jobs/queue/",
    "queue": "/admin/jobs/queue/default/change/",
    "events": "/admin/jobs/jobevent/",
    "broker": "/admin/jobs/brokerdelivery/",
    "data sets": "/admin/captioning/dataset/",
    "data set": "/admin/captioning/dataset/1/change/",
    "pictures": "/admin/captioning/image/",
    "picture": "/admin/captioning/image/{image}/change/",
    "perspectives": "/admin/captioning/perspective/",
    "captions": "/admin/captioning/caption/",
    "caption": "/admin/captioning/caption/{caption}/change/",
    "providers": "/admin/captioning/provider/",
    "new provider": "/admin/captioning/provider/add/",
    "provider": "/admin/captioning/provider/{provider}/change/",
    "calls": "/admin/captioning/modelcall/",
    "surveys": "/admin/volcal/survey/",
    "regions": "/admin/volcal/region/",
    "products": "/admin/volcal/product/",
    "files": "/admin/volcal/surveyfile/",
    "users": "/admin/auth/user/",
    "new user": "/admin/auth/user/add/",
    "user": "/admin/auth/user/1/change/",
    "groups": "/admin/auth/group/",
    "tokens": "/admin/orchestrator/apitoken/",
    "new token": "/admin/orchestrator/apitoken/add/",
}

# Whoever is at the keyboard: what is focused, whether it can be seen, and whether a ring shows it.
FOCUSED = """
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const box = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  const ring = parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== "none";
  return {
    what: element.outerHTML.slice(0, 140),
    isSkip: element.classList.contains("skip"),
    isSeen: box.width > 0 && box.height > 0 && (ring || style.boxShadow !== "none"),
  };
}
"""
MOVES = """
() => [...document.querySelectorAll("*")].filter((element) => {
  const style = getComputedStyle(element);
  const lasts = (times) => times.split(",").some((time) => parseFloat(time) > 0);
  return lasts(style.transitionDuration) || (style.animationName !== "none" && lasts(style.animationDuration));
}).map((element) => element.outerHTML.slice(0, 140))
"""


@pytest.fixture(scope="module")
def desk() -> Iterator[SurveyDesk]:
    with SurveyDesk.open() as desk:
        yield desk


@pytest.fixture(scope="module")
def places(desk: SurveyDesk, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fill the desk with one of everything. Returns what the addresses of the pages name."""

    def job(name: str, **options: Any) -> str:
        body = {"type": "DATASET_PERSPECTIVE", "dataset": "demo", "perspectives": ["objects"], "name": name}
        return str(ask(desk, "create", {**body, "options": options})["jobId"])

    site = scene(4, terrain="quarry", n_points=45_000, extent_m=150, change=(12, 7), yaw_deg=20, shift_m=5)
    survey = desk.new_task(site.write(tmp_path_factory.mktemp("site")))
    begun = ask(desk, "/create_task", {})
    # A provider that nobody answers for: its job fails at once, with a cause and a request to look at.
    nobody = {"kind": "openai", "environment": "cloud", "baseUrl": "http://127.0.0.1:9/v1", "defaultModel": "none"}
    provider = ask(desk, "/api/providers", {"name": "nobody", "apiKey": "none", **nobody})["id"]
    failed = job("Fails", provider="nobody", max_attempts=1)
    wait_until(lambda: ask(desk, f"status/{failed}")["job"]["status"] == "failed", seconds=PATIENCE_SECONDS)
    assert desk.wait_for(survey, "done", "error", "killed")["status"] == "done"

    ask(desk, "limits", {"paused": True})
    pending, cancelled, archived = job("Waits"), job("Given up"), job("Put away")
    ask(desk, f"pause/{job('Paused')}", {})
    for one in (cancelled, archived):
        ask(desk, f"cancel/{one}", {})
    ask(desk, f"archive/{archived}", {})
    ask(desk, "/api/datasets", {"name": "empty"})
    images = [image["id"] for image in ask(desk, "/api/datasets/demo/images")["images"]]
    for image in images[:3]:
        body = {"image": image, "perspective": "plain_caption", "result": {"caption": "A picture, and what it shows."}}
        caption = ask(desk, "/api/captions", body)["id"]
    return {
        "survey": survey,
        "begun_survey": begun["task_id"],
        "provider": provider,
        "failed": failed,
        "failed_pk": ask(desk, f"status/{failed}?includeItems=false")["job"]["id"],
        "pending": pending,
        "image": images[0],
        "bare_image": images[-1],
        "caption": caption,
    }


@pytest.fixture(scope="module")
def look(browser: Browser, desk: SurveyDesk) -> Iterator[Any]:
    """Lend a page to one kind of viewer: `look(width=390, scheme="dark")`."""
    pages: dict[str, Page] = {}

    def page_of(*, width: int = 1280, scheme: Any = "light", zone: str = "Etc/UTC") -> Page:
        if zone not in pages:
            context = browser.new_context(
                base_url=desk.address, reduced_motion="reduce", timezone_id=zone, locale="en-GB"
            )
            pages[zone] = context.new_page()
        show(pages[zone], width, scheme)
        return pages[zone]

    yield page_of
    for page in pages.values():
        page.context.close()


def show(page: Page, width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)


def barriers(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe finds serious, by rule and place. rules: only these."""
    if not AXE.exists():
        if os.environ.get("CI"):
            pytest.fail("axe-core is missing: run `npm ci` in tests/node.")
        pytest.skip("AXE-CORE IS MISSING: nobody looked for barriers. Run `npm ci` in tests/node.")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_barrier_and_fits_a_phone(look: Any, places: Any, name: str) -> None:
    page = look()
    answer = page.goto(PAGES[name].format(**places))
    assert answer.status == (404 if name == "nothing here" else 200)

    for width in (1280, 390):
        show(page, width, "light")
        assert barriers(page) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        show(page, width, "dark")
        assert barriers(page, ["color-contrast"]) == [], width  # nothing else is different in the dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ADMIN_PAGES)
def test_a_page_of_the_administration_has_no_serious_barrier(look: Any, places: Any, name: str, scheme: str) -> None:
    page = look(scheme=scheme)
    answer = page.goto(ADMIN_PAGES[name].format(**places))

    assert answer.status == 200
    assert barriers(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_walked_by_keyboard_and_stands_still_for_whoever_asks(look: Any, places: Any, name: str) -> None:
    page = look()
    page.goto(PAGES[name].format(**places))
    expect(page.locator("main")).to_be_visible()
    assert page.evaluate(MOVES) == []
    if page.locator(".skip").count() and name not in ("login", "review"):  # whose first field or caption has the focus
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED)["isSkip"]

    walked = []
    for _ in range(LONGEST_TAB_WALK):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        walked.append(focused)

    assert len({step["what"] for step in walked}) > 1
    assert [step["what"] for step in walked if not step["isSeen"]] == []


def test_the_last_places_of_the_bar_wait_behind_a_button_on_a_phone(look: Any, places: Any) -> None:
    page = look(width=390)
    page.goto("/")
    providers = page.get_by_role("navigation", name="Main").get_by_role("link", name="Providers")
    expect(providers).to_be_hidden()

    page.get_by_role("button", name="More", exact=True).click()
    providers.click()

    page.wait_for_url("**/providers")
    expect(providers).to_be_hidden()


def test_times_are_told_in_the_viewers_zone(look: Any, places: Any) -> None:
    page = look(zone="Asia/Kolkata")

    for address in ("/jobs/{failed}?tab=timeline", "/admin/jobs/job/{failed_pk}/change/"):
        page.goto(address.format(**places))
        moment = page.locator("#timeline time, [aria-labelledby=timeline] time").first
        expect(moment).to_have_attribute("title", re.compile(r"GMT\+5:30|IST"))
