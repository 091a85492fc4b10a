"""The page as people use it: in Debian's Chromium, with turned and broken photos, on a phone, by keyboard."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from test_serve import Running

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    service = Running(trained)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["desktop", "phone"])
def page(running: Running, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page; whatever the console complains of, or what is fetched from elsewhere, fails the test."""
    phone = getattr(request, "param", "desktop") == "phone"
    context = browser.new_context(
        viewport={"width": 360, "height": 740} if phone else {"width": 1100, "height": 900},
        has_touch=phone,
        reduced_motion="reduce",
        color_scheme="dark" if phone else "light",
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda asked: complaints.append(asked.url) if not asked.url.startswith((running.url, "blob:")) else None,
    )
    page.goto(running.url)
    yield page
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
    context.close()


def leaf(leaves: Path, number: int = 1) -> Path:
    return leaves / "train_images" / f"leaf-{number:05d}.jpg"


def choose(page: Page, *files: Path | dict[str, object]) -> None:
    page.set_input_files("#choose", list(files))  # type: ignore[arg-type]
    until(page, "!document.querySelector('#status').textContent.startsWith('Looking')")


def until(page: Page, condition: str) -> None:
    """Wait for a condition (Playwright's own way evaluates strings, which the page's policy forbids)."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def canvas(page: Page, place: int = 0) -> np.ndarray:
    """The pixels that a photo's viewer shows, RGB."""
    data = page.evaluate(f"document.querySelectorAll('.view')[{place}].toDataURL('image/png')")
    content = base64.b64decode(data.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def outline_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float, float, float]:
    """The box drawn in a colour, as shares of the picture: left, top, right, bottom."""
    hit = (np.abs(pixels.astype(int) - colour) < 12).all(axis=2)
    rows, columns = np.flatnonzero(hit.sum(axis=1) > 20), np.flatnonzero(hit.sum(axis=0) > 20)
    high, wide = hit.shape
    return columns[0] / wide, rows[0] / high, (columns[-1] + 1) / wide, (rows[-1] + 1) / high


def test_a_photo_and_its_diagnosis(page: Page, leaves: Path) -> None:
    choose(page, leaf(leaves))
    card = page.locator("article")
    assert card.count() == 1
    assert card.locator(".verdict").inner_text()
    assert "leaf-00001.jpg" in card.locator(".explain").inner_text()
    assert card.locator(".bars").count() == 4  # all looks together, then each
    assert card.locator("canvas.cut").count() == 2  # the two zooms
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_are_in_the_right_place_on_a_turned_photo(
    page: Page, running: Running, leaves: Path, tmp_path: Path, orientation: int
) -> None:
    with Image.open(leaf(leaves)) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        grey = image.convert("L").convert("RGB").resize((600, 400))  # no colour of the boxes in it
        grey.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    files = [("photos", ("turned.jpg", (tmp_path / "turned.jpg").read_bytes()))]
    (said,) = httpx.post(f"{running.url}/api/v1/predictions", files=files).json()
    wide, high = said["scales"][0]["box"][2:]
    assert (wide, high) == ((400, 600) if orientation in (6, 8) else (600, 400))
    choose(page, tmp_path / "turned.jpg")
    pixels = canvas(page)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(wide / high, rel=0.01)
    for scale, colour in ((1, BLUE), (2, ORANGE)):
        x0, y0, x1, y1 = said["scales"][scale]["box"]
        assert outline_of(pixels, colour) == pytest.approx((x0 / wide, y0 / high, x1 / wide, y1 / high), abs=0.012)
    # At the end of the slider, the second zoom fills the view.
    page.locator(".slider").focus()
    page.keyboard.press("End")
    with Image.open(tmp_path / "turned.jpg") as image:
        zoomed = ImageOps.exif_transpose(image).crop([round(edge) for edge in said["scales"][2]["box"]])
    shown = canvas(page)
    wanted = np.asarray(zoomed.resize((shown.shape[1], shown.shape[0])).convert("L"), float)
    inner = (slice(20, -20), slice(20, -20))
    found = np.asarray(Image.fromarray(shown).convert("L"), float)
    assert np.corrcoef(found[inner].ravel(), wanted[inner].ravel())[0, 1] > 0.95
    assert page.locator(".caption").inner_text() == "the second zoom"


def test_several_photos_are_pooled_and_a_broken_one_is_said_to_be(page: Page, leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    choose(page, leaf(leaves, 1), leaf(leaves, 2), tmp_path / "broken.jpg")
    assert page.locator("article").count() == 3
    assert page.locator("article.failed").count() == 1
    assert "could not be read" in page.locator("article.failed .verdict").inner_text()
    assert page.locator("#pooled h2").inner_text() == "All 2 leaves together"
    assert page.locator("#status").inner_text() == "2 of 3 photos could be read."
    assert page.evaluate("document.activeElement.tagName") == "H2"
    page.click("#clear")
    assert page.locator("article").count() == 0
    assert page.locator("#pooled").is_hidden()


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_what_goes_wrong_is_said(page: Page, leaves: Path, tmp_path: Path) -> None:
    choose(page, *[leaf(leaves, number) for number in range(7)])
    assert "Up to 6 photos" in page.locator("#status").inner_text()
    choose(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": bytes(26 * 2**20)})
    assert "larger than 25 MB" in page.locator("#status").inner_text()
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    choose(page, tmp_path / "broken.jpg")
    assert page.locator("article.failed").count() == 1
    page.route("**/api/v1/predictions", lambda route: route.fulfill(status=503, json={"detail": "it took too long"}))
    choose(page, leaf(leaves))
    assert "it took too long" in page.locator("#status").inner_text()
    page.unroute("**/api/v1/predictions")


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_a_busy_service_is_asked_again(page: Page, leaves: Path) -> None:
    asked = 0

    def busy(route: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "busy"})  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    page.route("**/api/v1/predictions", busy)
    choose(page, leaf(leaves))
    page.wait_for_selector("article")
    assert asked == 2


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_downloads(page: Page, leaves: Path) -> None:
    odd = {"name": "=1+1.jpg", "mimeType": "image/jpeg", "buffer": leaf(leaves).read_bytes()}
    choose(page, odd, {**odd, "name": "plain.jpg"})
    with page.expect_download() as table:
        page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text())))
    assert [row["photo"] for row in rows] == ["'=1+1.jpg", "plain.jpg"]
    assert 0 <= float(rows[0]["ring_spot"]) <= 1
    with page.expect_download() as picture:
        page.locator(".save").first.click()
    with Image.open(picture.value.path()) as image:
        assert image.format == "PNG"
        assert image.width > 3 * 400
        assert not image.getexif()


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_a_name_with_markup_stays_text(page: Page, leaves: Path) -> None:
    name = "<img src=x onerror=document.title=1>.jpg"
    choose(page, {"name": name, "mimeType": "image/jpeg", "buffer": leaf(leaves).read_bytes()})
    assert name in page.locator(".explain").inner_text()
    assert page.locator("article img").count() == 0


def test_by_keyboard(page: Page, leaves: Path) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    choose(page, leaf(leaves))
    slider = page.locator(".slider")
    slider.focus()
    page.keyboard.press("End")
    assert slider.input_value() == "2"
    assert slider.get_attribute("aria-valuetext") == "the second zoom"
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator(".caption").inner_text() == "the first zoom"
    page.keyboard.press("Home")
    assert page.locator(".caption").inner_text() == "the whole leaf"
    page.locator(".play").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.slider').value === '2'")


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_photos_of_any_shape_are_drawn_and_saved(page: Page, tmp_path: Path) -> None:
    for size in ((40, 4000), (6000, 60)):
        Image.new("RGB", size, (200, 30, 200)).save(tmp_path / f"{size[0]}.png")
        choose(page, tmp_path / f"{size[0]}.png")
        pixels = canvas(page)
        assert max(pixels.shape) < 3000
        assert (np.abs(pixels.astype(int) - (200, 30, 200)).max(axis=2) < 10).mean() > 0.2
        with page.expect_download() as picture:
            page.click(".save")
        with Image.open(picture.value.path()) as image:
            assert max(image.size) < 4000


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_the_last_photos_chosen_are_those_shown(page: Page, leaves: Path) -> None:
    """A slow answer to earlier photos does not replace a later one."""
    page.evaluate(
        "() => { const real = fetch; let first = true; window.fetch = async (...given) => {"
        " if (!first) return real(...given); first = false;"
        " const answer = await real(given[0], { ...given[1], signal: undefined });"
        " await new Promise(done => setTimeout(done, 1500)); return answer } }"
    )
    page.set_input_files("#choose", [leaf(leaves, 1), leaf(leaves, 2)])
    page.wait_for_timeout(200)
    choose(page, leaf(leaves, 3))
    page.wait_for_timeout(2500)
    assert page.locator("article").count() == 1
    assert "leaf-00003.jpg" in page.locator(".explain").inner_text()


def test_axe_has_nothing_serious_to_say(page: Page, leaves: Path) -> None:
    axe = resources.files("axe_core_python") / "axe.min.js"
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    page.wait_for_selector("article")
    found = page.evaluate(f"async () => {{ {axe.read_text(encoding='utf-8')}; return await axe.run() }}")
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in serious] == []
    assert found["passes"]


def test_pictures_of_the_page(page: Page, leaves: Path, tmp_path: Path) -> None:
    """For people to look at: kept where LEAFZOOM_SHOTS names a folder."""
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    page.wait_for_selector("article")
    folder = Path(os.environ.get("LEAFZOOM_SHOTS", tmp_path))
    size = page.viewport_size
    assert size
    page.screenshot(path=folder / f"page-{size['width']}.png", full_page=True)
    with Image.open(folder / f"page-{size['width']}.png") as shot:
        assert shot.width == size["width"]
        assert len(np.unique(np.asarray(shot.convert("RGB").resize((50, 50))).reshape(-1, 3), axis=0)) > 50
    assert re.search("wh", page.locator(".stops").first.inner_text())
