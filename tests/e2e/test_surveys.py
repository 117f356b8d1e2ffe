"""A surveyor at the browser: files in, a reload in the middle, volumes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tusclient.client import TusClient

from tests.e2e.conftest import open_tab
from tests.faults.desk import Desk, free_port
from tests.scenes import scene
from tests.workbench.tusd import Tusd

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MEASURED_MS = 400_000  # a whole survey, on a machine that is busy with other things


def test_files_go_up_in_two_visits_and_the_volume_can_be_looked_at(page: Page, tmp_path: Path) -> None:
    site = scene(4, terrain="quarry", n_points=45_000, extent_m=150, change=(12, 7), yaw_deg=20, shift_m=5)
    files = site.write(tmp_path)

    page.goto("/surveys")
    page.get_by_role("link", name="New survey").first.click()
    page.get_by_label("Name").fill("Quarry north")
    page.locator("#file-pre").set_input_files([files.post, files.pre])
    expect(page.locator('[data-label="pre"] [data-said]')).to_contain_text("pre.laz")
    expect(page.locator('[data-label="post"] [data-said]')).to_contain_text("post.laz")
    page.get_by_role("button", name="Create and upload").click()
    for label in ("pre", "post"):
        expect(page.locator(f'[data-label="{label}"] [data-said]')).to_contain_text("Complete")
    expect(page).to_have_url(re.compile("/surveys/[0-9a-f-]{36}$"))

    page.reload()
    expect(page.get_by_role("heading", name="Quarry north")).to_be_visible()
    expect(page.locator("#file-pre")).to_be_disabled()
    page.locator("#file-shp").set_input_files([files.shp, files.shx])

    expect(page.locator("#survey-state")).to_contain_text("running", timeout=MEASURED_MS)
    expect(page.locator(".survey-net")).to_be_visible(timeout=MEASURED_MS)
    said = page.locator(".survey-net").inner_text().replace("\u202f", "").replace("\u2212", "-")
    net = float(re.search(r"net (-[\d.]+)", said)[1])  # type: ignore[index]
    assert net == pytest.approx(site.net, rel=0.02)

    expect(page.locator("#survey-section-said")).to_contain_text("m long")
    first = page.locator("#survey-section-said").inner_text()
    chart = page.locator(".survey-map")
    chart.click(position={"x": 60, "y": 60})
    expect(page.locator("#survey-section-said")).to_contain_text("other end")
    chart.click(position={"x": 200, "y": 120})
    expect(page.locator("#survey-section-said")).not_to_have_text(first)
    expect(page.locator("#survey-section-said")).to_contain_text("m long")

    page.get_by_role("button", name="Open the view in space").click()
    expect(page.locator(".survey-space[data-points]")).to_have_attribute("data-points", "45000")


def test_a_file_that_another_client_sends_is_seen_to_arrive(page: Page, tmp_path: Path) -> None:
    files = scene(4, n_points=2_000, extent_m=150).write(tmp_path)
    page.goto("/surveys/new")
    page.get_by_role("button", name="Create and upload").click()
    expect(page).to_have_url(re.compile("/surveys/[0-9a-f-]{36}$"))
    address = page.locator('[data-label="shx"]').get_attribute("data-address")
    assert address is not None

    TusClient(address).uploader(str(files.shx)).upload()

    expect(page.locator('[data-label="shx"] [data-said]')).to_contain_text("Complete")
    expect(page.locator("#file-shx")).to_be_disabled()
    page.locator("#file-shp").set_input_files(files.shp)  # goes on under the eyes of the same page
    expect(page.locator('[data-label="shp"] [data-said]')).to_contain_text("Complete")


def drop(page: Page, *names: str) -> None:
    page.evaluate(
        """names => {
            const dataTransfer = new DataTransfer();
            for (const name of names) dataTransfer.items.add(new File(["points"], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        list(names),
    )


def test_clouds_that_are_dropped_one_by_one_take_one_place_each(page: Page) -> None:
    page.goto("/surveys/new")
    pre, post = (page.locator(f'[data-label="{label}"] [data-said]') for label in ("pre", "post"))

    drop(page, "New quarry 2024.laz")
    drop(page, "New quarry 2025.laz")

    expect(pre).to_contain_text("2025.laz")  # "New" names the cloud after, and the first one has taken that place
    expect(post).to_contain_text("2024.laz")
    drop(page, "June 2025.laz", "June 2024.laz")
    expect(pre).to_contain_text("June 2024.laz")
    expect(post).to_contain_text("June 2025.laz")


def test_a_survey_cancelled_while_it_waits_takes_its_files_and_starts_again(page: Page, tmp_path: Path) -> None:
    files = scene(4, n_points=2_000, extent_m=150).write(tmp_path)
    page.goto("/surveys/new")
    page.get_by_role("button", name="Create and upload").click()
    expect(page).to_have_url(re.compile("/surveys/[0-9a-f-]{36}$"))
    page.locator("#cancel summary").click()
    page.get_by_role("button", name="Cancel the survey").click()
    expect(page.get_by_role("alert")).to_contain_text("Upload the missing files first")

    page.locator("#file-pre").set_input_files([files.pre, files.post, files.shp, files.shx])

    expect(page.get_by_role("alert")).to_contain_text("Start it again to measure the same files.")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator("#survey-state")).to_contain_text(re.compile("running|error|done"), timeout=MEASURED_MS)


def test_a_file_that_is_no_cloud_ends_with_words_that_name_it(page: Page, tmp_path: Path) -> None:
    files = scene(4, n_points=2_000, extent_m=150).write(tmp_path)
    files.post.write_bytes(b"this is no point cloud" * 100)

    page.goto("/surveys/new")
    page.locator("#file-pre").set_input_files([files.pre, files.post, files.shp, files.shx])
    page.get_by_role("button", name="Create and upload").click()

    expect(page.get_by_role("alert")).to_contain_text("post:", timeout=MEASURED_MS)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_files_go_to_a_foreign_tusd_where_one_takes_the_uploads(browser: Browser, tmp_path: Path) -> None:
    files = scene(4, n_points=20_000, extent_m=150).write(tmp_path)
    port = free_port()
    variables = {"TUS_SERVER": "tusd", "TUS_ENDPOINT": f"http://127.0.0.1:{port}/files", "TUSD_HOOK_SECRET": "ours"}
    with Desk.open(**variables) as desk:
        uploads = desk.var_dir / "media" / "tusd"
        hooks = f"http://tusd:ours@127.0.0.1:{desk.port}/tusd_hook"
        with Tusd(uploads, port, hooks) as tusd, open_tab(browser, desk) as page:
            tusd.holds_back = True
            page.goto("/surveys/new")
            page.locator("#file-pre").set_input_files([files.post, files.pre])
            page.get_by_role("button", name="Create and upload").click()

            for label in ("pre", "post"):
                expect(page.locator(f'[data-label="{label}"] [data-said]')).to_contain_text("Complete")
            page.reload()
            for label in ("pre", "post"):
                expect(page.locator(f"#file-{label}")).to_be_enabled()  # tusd has not told us yet
            tusd.let_go()
            for label in ("pre", "post"):
                expect(page.locator(f'[data-label="{label}"] [data-said]')).to_contain_text("Complete")
                expect(page.locator(f"#file-{label}")).to_be_disabled()
        arrived = {path.stat().st_size for path in uploads.iterdir() if path.suffix != ".info"}
        assert arrived >= {files.pre.stat().st_size, files.post.stat().st_size}
