"""The page in Chromium: by keyboard, by axe, on a phone, in the dark, and on paper."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_core_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from leafzoom.orchard.folder import write_report
from leafzoom.orchard.page import orchard_page
from leafzoom.orchard.report import OrchardReport
from orchard.conftest import PLACE

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(report: OrchardReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("day")
    write_report(folder, report, location=True)
    for photo in report.photos:
        if photo.picture is not None and "/" not in photo.picture:
            Image.new("RGB", (90, 30), "green").save(folder / photo.picture)
    return (folder / "orchard.html").as_uri()


def open_page(browser: Browser, address: str, width: int = 1200, scheme: str = "light") -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(address)
    return page


def keep_picture(page: Page, name: str) -> None:
    """For people, where LEAFZOOM_SHOTS names a folder."""
    if "LEAFZOOM_SHOTS" in os.environ:
        path = Path(os.environ["LEAFZOOM_SHOTS"]) / f"orchard-{name}.png"
        page.screenshot(path=path, full_page=True)


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_overflows(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    page = open_page(browser, address, width, scheme)
    keep_picture(page, f"{width}-{scheme}")
    page.evaluate("location.hash = 'photos-1'")

    violations = Axe().run(page)["violations"]
    assert [violation["id"] for violation in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_photos_are_one_key_away_from_their_number(browser: Browser, address: str) -> None:
    page = open_page(browser, address)
    link = page.get_by_role("link", name="7 photos: photos, row 9: rust")
    link.focus()
    page.keyboard.press("Enter")

    section = page.locator(".photos:target")
    assert section.locator("h2").inner_text() == "row 9: rust"
    assert section.locator("li").count() == 7
    assert page.evaluate("document.activeElement.className") == "photos"
    assert page.locator(".photos:visible").count() == 1

    # And one more to the picture, or back.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Back to the table"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.href").endswith("-diagnosis.png")
    assert section.locator("img").first.evaluate("image => image.naturalWidth") == 90


def test_each_mark_of_the_map_leads_to_its_picture(browser: Browser, address: str) -> None:
    page = open_page(browser, address)
    marks = page.locator("svg.map a")
    assert marks.count() == 36
    assert marks.first.get_attribute("aria-label") == "orchard/row 9/0.jpg: scab"
    assert marks.first.get_attribute("href") == "0.jpg-diagnosis.png"

    # North is up, east is right: later photos lie further north and west.
    first = marks.first.bounding_box()
    last = marks.last.bounding_box()
    assert first is not None
    assert last is not None
    assert last["y"] < first["y"]
    assert last["x"] < first["x"]


def test_on_paper_there_are_tables_and_drawings_alone(browser: Browser, address: str) -> None:
    page = open_page(browser, f"{address}#photos-1", scheme="dark")
    page.emulate_media(media="print")
    keep_picture(page, "print")

    assert page.locator(".photos:visible").count() == 0
    assert page.locator("table:visible").count() == 2
    assert page.locator("svg.map:visible").count() == 1
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_the_page_has_no_place_and_no_foreign_markup(report: OrchardReport) -> None:
    page = orchard_page(report, draw_map=True)

    for degrees in PLACE:
        assert f"{degrees:.3f}" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "tiny &lt;model&gt;" in page
    assert not re.search(r"(src|href)=.https?:", page)


def test_the_page_says_how_shares_were_made(make: Callable[[str, str], OrchardReport]) -> None:
    corrected = orchard_page(make("folder", ""), draw_map=False)
    assert "counted on 300 validation photographs" in corrected
    assert "Trend over days" in corrected

    plain = orchard_page(make("day", "of the first look"), draw_map=False)
    assert "Shares are uncorrected: of the first look." in plain
    assert plain.count("<table>") == 1
