"""A real desk and a real browser. Without Chromium these tests are skipped, loudly; in CI its absence fails them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.steps import clear_queue
from tests.faults.desk import Desk

# How long a condition may take on a machine that is busy with other things; met conditions do not wait.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and CI must not go without the browser tests.")
        pytest.skip("CHROMIUM IS MISSING: no page was looked at in a browser. Install chromium to run these tests.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_desk() -> Iterator[Desk]:
    with Desk.open() as desk:
        yield desk


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    """The desk of all journeys, with an empty queue that runs; starting one takes longer than most journeys."""
    clear_queue(shared_desk)
    return shared_desk


@pytest.fixture
def fresh_desk() -> Iterator[Desk]:
    """A desk of one's own, as a newcomer starts it."""
    with Desk.open() as desk:
        yield desk


@pytest.fixture
def page(browser: Browser, desk: Desk) -> Iterator[Page]:
    with open_tab(browser, desk) as page:
        yield page


@contextmanager
def open_tab(browser: Browser, desk: Desk) -> Iterator[Page]:
    """Open a tab. A broken policy or a fault of a script fails the test that it happened in."""
    context = browser.new_context(base_url=desk.address, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    try:
        yield page
    finally:
        context.close()
    assert faults == []
