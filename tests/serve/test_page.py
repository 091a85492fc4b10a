"""The page as people use it: in Debian's Chromium, with turned and broken photos, by keyboard."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from serve.service_process import ServiceProcess

CHROMIUM = shutil.which("chromium")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# The colours of the first and the second zoom's box.
BLUE = (0, 114, 178)
ORANGE = (230, 159, 0)

on_desktop = pytest.mark.parametrize("page", ["desktop"], indirect=True)

# The first request's answer comes after those of later requests.
DELAY_FIRST_ANSWER = """() => {
  const plainFetch = fetch;
  let isFirst = true;
  window.fetch = async (url, options) => {
    if (!isFirst) return plainFetch(url, options);
    isFirst = false;
    const answer = await plainFetch(url, { ...options, signal: undefined });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return answer;
  };
}"""

# Files that claim a size, dropped onto the page; playwright sends no such large ones.
LARGE_FILES = """({ count, megabytes }) => {
  const content = new Uint8Array(megabytes * 2 ** 20);
  const transfer = new DataTransfer();
  for (let number = 0; number < count; number++)
    transfer.items.add(new File([content], `${number}.jpg`));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
}"""

# The service's predictions come with other values.
CHANGE_ANSWERS = """(changes) => {
  const plainFetch = fetch;
  window.fetch = async (url, options) => {
    const answer = await plainFetch(`${url}${url.includes("?") ? "&" : "?"}coverage=0.75`, options);
    const content = await answer.json();
    const changed = content.predictions.map((result) => ({ ...result, ...changes }));
    const body = JSON.stringify({ ...content, predictions: changed });
    return new Response(body, { status: answer.status });
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["desktop", "phone"])
def page(
    service: ServiceProcess, browser: Browser, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """The page; errors in the console and requests to other sites fail the test."""
    is_phone = request.param == "phone"
    context = browser.new_context(
        viewport={"width": 360, "height": 740} if is_phone else {"width": 1100, "height": 900},
        has_touch=is_phone,
        reduced_motion="reduce",
        color_scheme="dark" if is_phone else "light",
    )
    page = context.new_page()
    complaints: list[str] = []

    def note_console_error(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def note_foreign_request(request: Request) -> None:
        if not request.url.startswith((service.url, "blob:")):
            complaints.append(request.url)

    page.on("console", note_console_error)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", note_foreign_request)
    page.goto(service.url)
    page.wait_for_selector("#model:not(:empty)", state="attached")
    yield page

    # Chromium reports answers of an error status this way.
    unexpected = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert unexpected == []
    context.close()


def leaf(leaves: Path, number: int = 1) -> Path:
    return leaves / "train_images" / f"leaf-{number:05d}.jpg"


def wait_until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript.

    Playwright's own way evaluates strings in the page, which the page's policy forbids.
    """
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def choose(page: Page, *files: Path | dict[str, object]) -> None:
    """Choose photos, and wait for their answer."""
    page.set_input_files("#choose", list(files))  # type: ignore[arg-type]
    wait_until(page, "!document.querySelector('#status').textContent.startsWith('Looking')")


def status(page: Page) -> str:
    return page.locator("#status").inner_text()


def view_pixels(page: Page) -> NDArray[np.uint8]:
    """The pixels that the first photo's viewer shows, RGB."""
    data_uri = page.evaluate("document.querySelector('.view').toDataURL('image/png')")
    content = base64.b64decode(data_uri.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def outline_box(
    pixels: NDArray[np.uint8], colour: tuple[int, int, int]
) -> tuple[float, float, float, float]:
    """The box drawn in a colour, as shares of the picture: left, top, right, bottom."""
    matches = (np.abs(pixels.astype(int) - colour) < 12).all(axis=2)
    rows = np.flatnonzero(matches.sum(axis=1) > 20)
    columns = np.flatnonzero(matches.sum(axis=0) > 20)

    height, width = matches.shape
    left = columns[0] / width
    top = rows[0] / height
    right = (columns[-1] + 1) / width
    bottom = (rows[-1] + 1) / height
    return left, top, right, bottom


def grey(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float64]:
    """Grey values without the outermost pixels, where boxes are drawn."""
    values = np.asarray(image.convert("L").resize(size), np.float64)
    return values[20:-20, 20:-20]


def test_a_photo_and_its_diagnosis(page: Page, leaves: Path) -> None:
    choose(page, leaf(leaves))

    card = page.locator("article")
    assert card.count() == 1
    assert card.locator(".verdict").inner_text()
    assert "leaf-00001.jpg" in card.locator(".explain").inner_text()

    # All looks together and each of the three; the two zooms and the closest look as pictures.
    assert card.locator(".bars").count() == 4
    assert card.locator("canvas.cut").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@on_desktop
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_lie_where_they_belong_on_a_turned_photo(
    page: Page, service: ServiceProcess, leaves: Path, tmp_path: Path, orientation: int
) -> None:
    # A grey photo has none of the boxes' colours.
    path = tmp_path / "turned.jpg"
    with Image.open(leaf(leaves)) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.convert("L").convert("RGB").resize((600, 400)).save(path, exif=exif, quality=95)

    (result,) = service.post_photos(("turned.jpg", path.read_bytes())).json()
    boxes = [scale["box"] for scale in result["scales"]]
    width, height = boxes[0][2:]
    assert (width, height) == ((400, 600) if orientation in (6, 8) else (600, 400))

    # No box of a closest look lies over those of the zooms.
    page.route("**/api/v1/model", without_maps)
    page.reload(wait_until="networkidle")
    choose(page, path)
    assert page.locator(".toggle").count() == 0
    pixels = view_pixels(page)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.01)
    for box, colour in ((boxes[1], BLUE), (boxes[2], ORANGE)):
        x0, y0, x1, y1 = box
        shares = (x0 / width, y0 / height, x1 / width, y1 / height)
        assert outline_box(pixels, colour) == pytest.approx(shares, abs=0.012)

    # At the end of the slider, the second zoom fills the view.
    page.locator(".slider").focus()
    page.keyboard.press("End")
    view = Image.fromarray(view_pixels(page))
    with Image.open(path) as image:
        second_zoom = ImageOps.exif_transpose(image).crop([round(edge) for edge in boxes[2]])
    expected = grey(second_zoom, view.size)
    correlation = np.corrcoef(grey(view, view.size).ravel(), expected.ravel())[0, 1]
    assert correlation > 0.95
    assert page.locator(".caption").inner_text() == "the second zoom"


@on_desktop
def test_a_photo_that_comes_before_the_model_is_known_has_maps_too(
    page: Page, leaves: Path
) -> None:
    page.route("**/api/v1/model", late_answer)
    page.reload(wait_until="load")
    choose(page, leaf(leaves))
    assert page.locator(".toggle").count() == 3


def late_answer(route: Route) -> None:
    """The service's answer, some time later."""
    answer = route.fetch()
    time.sleep(0.5)
    route.fulfill(response=answer)


def without_maps(route: Route) -> None:
    """The service's answer about its model, as of a model without evidence maps."""
    answer = route.fetch()
    route.fulfill(response=answer, json={**answer.json(), "maps": False})


@on_desktop
def test_what_speaks_for_a_label_is_shown_and_hidden(page: Page, leaves: Path) -> None:
    choose(page, leaf(leaves))
    page.locator(".slider").focus()
    page.keyboard.press("Home")
    plain = view_pixels(page)

    toggles = page.locator(".toggle")
    expect(toggles).to_have_count(3)
    toggles.nth(1).click()
    shown = view_pixels(page)
    assert shown.mean() < 0.95 * plain.mean()  # darker where nothing speaks for the label
    assert toggles.nth(1).get_attribute("aria-pressed") == "true"

    # One label at a time; the same button hides it.
    toggles.nth(2).click()
    assert toggles.nth(1).get_attribute("aria-pressed") == "false"
    assert toggles.nth(2).get_attribute("aria-pressed") == "true"
    toggles.nth(2).click()
    assert np.array_equal(view_pixels(page), plain)


def test_several_photos_are_pooled_and_a_broken_one_is_named(
    page: Page, leaves: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    choose(page, leaf(leaves, 1), leaf(leaves, 2), broken)

    assert page.locator("article").count() == 3
    assert page.locator("article.failed").count() == 1
    assert "could not be read" in page.locator("article.failed .verdict").inner_text()
    assert page.locator("#pooled h2").inner_text() == "All 2 leaves together"
    lines = page.locator("#pooled li").all_inner_texts()
    assert lines
    assert all(re.search(r"on \d+ % of these leaves.*with \d+ %", line) for line in lines)
    assert status(page) == "2 of 3 photos could be read."
    assert page.evaluate("document.activeElement.tagName") == "H2"

    page.click("#clear")
    assert page.locator("article").count() == 0
    assert page.locator("#pooled").is_hidden()


SCAB = ["scab"]
FROG_EYE = ["frog_eye_leaf_spot"]
BOTH = ["frog_eye_leaf_spot", "scab"]


@pytest.mark.parametrize(
    ("verdict", "possible", "title", "text"),
    [
        ("diagnosis", [SCAB], "Apple scab", "62 % sure."),
        (
            "diagnosis",
            [SCAB, FROG_EYE],
            "Apple scab, or frogeye leaf spot",
            "None of these can be ruled out; Apple scab is the best answer (62 %).",
        ),
        (
            "diagnosis",
            [SCAB, FROG_EYE, BOTH, ["rust"], []],
            "Apple scab, frogeye leaf spot, frogeye leaf spot + Apple scab, or one of 2 others",
            "None of these can be ruled out",
        ),
        (
            "unsure",
            [SCAB, FROG_EYE],
            "Not sure",
            "Possible: Apple scab, or frogeye leaf spot. Apple scab is the best answer (62 %).",
        ),
        ("not_a_leaf", [], "Not a clear apple leaf", "does not look like the apple leaves"),
    ],
)
def test_answers_that_are_possible_are_all_named(
    page: Page, leaves: Path, verdict: str, possible: list[list[str]], title: str, text: str
) -> None:
    changes = {"verdict": verdict, "possible": possible, "likely": SCAB, "confidence": 0.62}
    page.evaluate(CHANGE_ANSWERS, {**changes, "labels": []})
    choose(page, leaf(leaves))

    assert page.locator("article .verdict").inner_text() == title
    assert text in page.locator("article .explain").inner_text()

    # The table for spreadsheets has them too.
    with page.expect_download() as download:
        page.click("#csv")
    (row,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert row["possible"] == " | ".join(" ".join(answer) or "no label" for answer in possible)
    if "LEAFZOOM_SHOTS" in os.environ:
        name = f"possible-{verdict}-{len(possible)}-{page.viewport_size['width']}.png"
        page.screenshot(path=Path(os.environ["LEAFZOOM_SHOTS"]) / name, full_page=True)


@on_desktop
def test_problems_are_shown(page: Page, leaves: Path, tmp_path: Path) -> None:
    choose(page, *[leaf(leaves, number) for number in range(7)])
    assert "Up to 6 photos" in status(page)

    page.evaluate(LARGE_FILES, {"count": 1, "megabytes": 101})
    assert "larger than 100 MB" in status(page)
    page.evaluate(LARGE_FILES, {"count": 2, "megabytes": 76})
    assert "Together, the photos are larger than 150 MB" in status(page)

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    choose(page, broken)
    assert page.locator("article.failed").count() == 1

    def too_slow(route: Route) -> None:
        route.fulfill(status=503, json={"detail": "it took too long"})

    page.route("**/api/v1/predictions*", too_slow)
    choose(page, leaf(leaves))
    assert "it took too long" in status(page)
    page.unroute("**/api/v1/predictions*")


@on_desktop
def test_a_busy_service_is_asked_again(page: Page, leaves: Path) -> None:
    requests = 0

    def busy_once(route: Route) -> None:
        nonlocal requests
        requests += 1
        if requests == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "busy"})
        else:
            route.continue_()

    page.route("**/api/v1/predictions*", busy_once)
    choose(page, leaf(leaves))
    page.wait_for_selector("article")
    assert requests == 2


@on_desktop
def test_downloads(page: Page, leaves: Path) -> None:
    content = leaf(leaves).read_bytes()
    formula = {"name": "=1+1.jpg", "mimeType": "image/jpeg", "buffer": content}
    choose(page, formula, {**formula, "name": "plain.jpg"})

    with page.expect_download() as table:
        page.click("#csv")
    text = Path(table.value.path()).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["photo"] for row in rows] == ["'=1+1.jpg", "plain.jpg"]
    assert 0 <= float(rows[0]["ring_spot"]) <= 1

    with page.expect_download() as picture:
        page.locator(".save").first.click()
    with Image.open(picture.value.path()) as image:
        assert image.format == "PNG"
        assert image.width > 3 * 400
        assert not image.getexif()


@on_desktop
def test_a_name_with_markup_stays_text(page: Page, leaves: Path) -> None:
    name = "<img src=x onerror=document.title=1>.jpg"
    content = leaf(leaves).read_bytes()
    choose(page, {"name": name, "mimeType": "image/jpeg", "buffer": content})

    assert name in page.locator(".explain").inner_text()
    assert page.locator("article img").count() == 0


def test_by_keyboard(page: Page, leaves: Path) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "language"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    choose(page, leaf(leaves))

    slider = page.locator(".slider")
    caption = page.locator(".caption")
    slider.focus()
    page.keyboard.press("End")
    assert slider.input_value() == "3"
    assert slider.get_attribute("aria-valuetext") == "the closest look"

    # Four arrows are one look.
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert caption.inner_text() == "the first zoom"

    page.keyboard.press("Home")
    assert caption.inner_text() == "the whole leaf"
    page.locator(".play").focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('.slider').value === '3'")


@on_desktop
@pytest.mark.parametrize("size", [(40, 4000), (6000, 60)])
def test_a_photo_of_any_shape_is_drawn_and_saved(
    page: Page, tmp_path: Path, size: tuple[int, int]
) -> None:
    colour = (200, 30, 200)
    Image.new("RGB", size, colour).save(tmp_path / "photo.png")
    choose(page, tmp_path / "photo.png")

    pixels = view_pixels(page)
    assert max(pixels.shape) < 3000
    differences = np.abs(pixels.astype(int) - colour).max(axis=2)
    assert (differences < 10).mean() > 0.2

    with page.expect_download() as picture:
        page.click(".save")
    with Image.open(picture.value.path()) as image:
        assert max(image.size) < 4000


@on_desktop
def test_a_slow_answer_to_earlier_photos_does_not_replace_a_later_one(
    page: Page, leaves: Path
) -> None:
    page.evaluate(DELAY_FIRST_ANSWER)
    page.set_input_files("#choose", [leaf(leaves, 1), leaf(leaves, 2)])
    page.wait_for_timeout(200)
    choose(page, leaf(leaves, 3))
    page.wait_for_timeout(2500)

    assert page.locator("article").count() == 1
    assert "leaf-00003.jpg" in page.locator(".explain").inner_text()


def test_axe_has_nothing_serious_to_say(page: Page, leaves: Path) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    page.wait_for_selector("article")
    report = page.evaluate(f"async () => {{ {axe}; return await axe.run() }}")

    serious = [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in report["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert report["passes"]


def test_pictures_of_the_page(page: Page, leaves: Path, tmp_path: Path) -> None:
    """For people to look at: kept where LEAFZOOM_SHOTS names a folder."""
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    page.wait_for_selector("article")
    size = page.viewport_size
    assert size

    folder = Path(os.environ.get("LEAFZOOM_SHOTS", tmp_path))
    path = folder / f"page-{size['width']}.png"
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as shot:
        assert shot.width == size["width"]
        thumbnail = np.asarray(shot.convert("RGB").resize((50, 50)))
    assert len(np.unique(thumbnail.reshape(-1, 3), axis=0)) > 50
    assert re.search("whole leaf", page.locator(".stops").first.inner_text())
