"""The app as people use it: history, exports, camera, languages, narrow screens, axe."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from web.conftest import App
from web.test_phone import choose, downloaded_text, leaf

LANGUAGES = ("en", "de", "fr", "es", "it", "pl")
PAGE_FOLDER = Path(str(resources.files("leafzoom.serve") / "page"))

on_both = pytest.mark.parametrize("app", ["desktop", "phone"], indirect=True)


def photo_with_place(leaves: Path, path: Path) -> Path:
    """A photo that says when and where it was taken."""
    with Image.open(leaf(leaves)) as image:
        exif = image.getexif()
        exif.get_ifd(0x8769)[0x9003] = "2026:06:01 10:15:00"
        exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (9.0, 0.0, 36.0)})
        image.save(path, exif=exif)
    return path


def keep_two_trees(page: Page, leaves: Path, tmp_path: Path) -> None:
    """Keep two leaves of one tree and two of another, one of which says its place."""
    page.fill("#tree", "Row 3, tree 7")
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    expect(page.locator("#history .entries li")).to_have_count(2)
    page.fill("#tree", "=Boskoop")
    page.check("#place")
    choose(page, photo_with_place(leaves, tmp_path / "placed.jpg"), leaf(leaves, 3))
    expect(page.locator("#history .entries li")).to_have_count(4)


def test_results_are_kept_by_tree(app: App, leaves: Path, tmp_path: Path) -> None:
    page = app.open()
    keep_two_trees(page, leaves, tmp_path)

    # They are there after a restart, with the day on which a photo was taken.
    page.reload()
    page.wait_for_selector("#history:not([hidden])")
    page.click("#history summary")
    names = page.locator("#history h3").all_inner_texts()
    assert names == ["=Boskoop", "Row 3, tree 7"]
    assert page.locator("#history .entries li").count() == 4
    assert any("1 Jun 2026" in day for day in page.locator("#history h4").all_inner_texts())


def test_kept_results_are_exported(app: App, leaves: Path, tmp_path: Path) -> None:
    page = app.open()
    keep_two_trees(page, leaves, tmp_path)
    page.click("#history summary")

    rows = list(csv.DictReader(io.StringIO(downloaded_text(page, "#history-csv"))))
    assert [row["tree"] for row in rows] == ["Row 3, tree 7"] * 2 + ["'=Boskoop"] * 2
    assert [row["latitude"] for row in rows] == ["", "", "48.5", "47.5"]
    assert [row["longitude"] for row in rows] == ["", "", "-9.01", "-9.25"]
    assert rows[2]["taken"] == "2026-06-01T10:15:00"

    collection = json.loads(downloaded_text(page, "#history-geojson"))
    points = [feature["geometry"]["coordinates"] for feature in collection["features"]]
    assert points == [[-9.01, 48.5], [-9.25, 47.5]]


def test_kept_pictures_are_exported_without_the_cameras_data(
    app: App, leaves: Path, tmp_path: Path
) -> None:
    page = app.open()
    keep_two_trees(page, leaves, tmp_path)
    page.click("#history summary")
    with page.expect_download() as download:
        page.click("#history-pictures")

    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 4
        for name in archive.namelist():
            with archive.open(name) as file, Image.open(file) as picture:
                assert picture.size == (96, 96)
                assert not picture.getexif()


def test_a_browser_that_asks_the_reader_first_keeps_results_meanwhile(
    app: App, leaves: Path
) -> None:
    page = app.open()
    page.evaluate("() => { navigator.storage.persist = () => new Promise(() => {}); }")
    choose(page, leaf(leaves))
    expect(page.locator("#history .entries li")).to_have_count(1)


# As WebKit does where it has no place on disk. The entry is also kept as the first versions did.
REFUSE_BLOBS = """() => {
  const put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (entry) {
    if (entry.picture instanceof Blob) throw new DOMException("no blob", "DataCloneError");
    const picture = new Blob([entry.picture], { type: "image/jpeg" });
    put.call(this, { ...entry, id: `${entry.id}-first`, picture });
    return put.call(this, entry);
  };
}"""


def test_pictures_are_kept_where_blobs_are_not_and_older_blobs_are_shown(
    app: App, leaves: Path
) -> None:
    page = app.open()
    page.evaluate(REFUSE_BLOBS)
    choose(page, leaf(leaves))
    expect(page.locator("#history .entries li")).to_have_count(2)
    page.reload()
    page.wait_for_selector("#history:not([hidden])")
    page.click("#history summary")

    pictures = page.locator("#history .entries img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("naturalWidth", 96)


def test_results_are_deleted_one_by_one_and_all(app: App, leaves: Path) -> None:
    page = app.open()
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, leaf(leaves, 1), leaf(leaves, 2), leaf(leaves, 3))
    expect(page.locator("#history .entries li")).to_have_count(3)
    page.click("#history summary")
    page.locator("#history .entries button").first.click()
    expect(page.locator("#history .entries li")).to_have_count(2)

    page.click("#history-delete")
    expect(page.locator("#history")).to_be_hidden()
    page.reload()
    page.wait_for_selector("#model:not(:empty)", state="attached")
    expect(page.locator("#history")).to_be_hidden()


def test_nothing_is_kept_where_that_is_not_wanted(app: App, leaves: Path) -> None:
    page = app.open()
    page.uncheck("#keep")
    choose(page, leaf(leaves))
    expect(page.locator("#history")).to_be_hidden()
    page.reload()
    page.wait_for_selector("#model:not(:empty)", state="attached")
    assert not page.is_checked("#keep")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("indexedDB.open = () => { throw new DOMException('no', 'SecurityError'); }", "no storage"),
        (
            "IDBObjectStore.prototype.put = () => { "
            "throw new DOMException('full', 'QuotaExceededError'); }",
            "no room left",
        ),
    ],
)
def test_storage_that_is_refused_or_full_is_said(
    app: App, leaves: Path, script: str, words: str
) -> None:
    page = app.open()
    page.evaluate(f"() => {{ {script} }}")
    choose(page, leaf(leaves))
    expect(page.locator("#status")).to_contain_text(words)
    assert page.locator("article").count() == 1


@on_both
def test_six_leaves_in_a_row_from_the_camera(app: App) -> None:
    page = app.open()
    page.click("#viewfinder")
    expect(page.locator("#finder-advice")).not_to_be_empty()

    # Thumbs reach every button, and hit it.
    for button in page.locator("#finder button").all():
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 44
    page.click("#finder-shoot")
    page.click("#finder-shoot")
    expect(page.locator("#finder-count")).to_have_text("2 / 6")
    page.click("#finder-undo")
    expect(page.locator("#finder-count")).to_have_text("1 / 6")
    keep_shot(page, "camera")
    for _ in range(5):
        page.click("#finder-shoot")

    # The sixth photo ends it; the tree's leaves are answered together.
    expect(page.locator("#finder")).to_be_hidden()
    expect(page.locator("article")).to_have_count(6, timeout=60_000)


def test_a_camera_that_is_closed_or_refused_changes_nothing(app: App) -> None:
    page = app.open()
    page.click("#viewfinder")
    page.click("#finder-close")
    expect(page.locator("#finder")).to_be_hidden()
    assert page.locator("article").count() == 0

    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => "
        "{ throw new DOMException('no', 'NotAllowedError'); } }"
    )
    page.click("#viewfinder")
    expect(page.locator("#status")).to_contain_text("not allowed")


_ADVICE = """async ({ kind }) => {
  const address = new URL("frame-quality.js", document.baseURI).href;
  const { adviceFor, SAMPLE_SIDE: side } = await import(address);
  const pixels = new Uint8ClampedArray(4 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const fine = 90 + 60 * ((x ^ y) & 2);
      const soft = 110 + 40 * Math.sin(x / 25) * Math.cos(y / 25);
      const value = { fine, soft, dark: fine / 5, bright: 200 + fine }[kind];
      pixels.set([value, value, value, 255], 4 * (y * side + x));
    }
  }
  return adviceFor(pixels, side);
}"""


@pytest.mark.parametrize(
    ("kind", "advice"),
    [("fine", "good"), ("soft", "blurred"), ("dark", "dark"), ("bright", "bright")],
)
def test_the_viewfinder_says_what_to_change(engine_page: object, kind: str, advice: str) -> None:
    assert engine_page.evaluate(_ADVICE, {"kind": kind}) == advice  # type: ignore[attr-defined]


@on_both
def test_axe_has_nothing_to_say_and_nothing_is_too_wide(app: App, leaves: Path) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    page = app.open()
    page.fill("#tree", "Boskoop")
    choose(page, leaf(leaves, 1), leaf(leaves, 2))
    page.click("#history summary")
    for shown in ("page", "camera"):
        if shown == "camera":
            page.click("#viewfinder")
            expect(page.locator("#finder")).to_be_visible()
        report = page.evaluate(f"async () => {{ {axe}; return await axe.run() }}")
        assert [violation["id"] for violation in report["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("app", ["phone"], indirect=True)
def test_every_language_fits_a_narrow_screen(app: App, leaves: Path) -> None:
    page = app.open()
    for language in LANGUAGES:
        page.select_option("#language", language)
        choose_any(page, leaf(leaves, 1), leaf(leaves, 2))
        assert page.evaluate("document.documentElement.lang") == language
        is_english = page.locator("#downloads #clear").inner_text() == "Clear"
        assert is_english == (language == "en")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), language
        keep_shot(page, language)
    page.reload()
    assert page.evaluate("document.documentElement.lang") in LANGUAGES


def choose_any(page: Page, *files: Path) -> None:
    """Choose photos, and wait for their cards, in whatever language."""
    page.set_input_files("#choose", list(files))
    expect(page.locator("article")).to_have_count(len(files), timeout=60_000)


def keep_shot(page: Page, name: str) -> None:
    """For people to look at: kept where LEAFZOOM_SHOTS names a folder."""
    folder = os.environ.get("LEAFZOOM_SHOTS")
    if folder:
        width = (page.viewport_size or {"width": 0})["width"]
        page.screenshot(path=Path(folder) / f"app-{name}-{width}.png", full_page=name != "camera")


def test_texts_have_the_same_values_in_every_language() -> None:
    texts = json.loads((PAGE_FOLDER / "messages.json").read_text(encoding="utf-8"))
    assert tuple(texts) == LANGUAGES
    for language, by_key in texts.items():
        for key, text in by_key.items():
            places = sorted(re.findall(r"\{\w+\}", text))
            assert places == sorted(re.findall(r"\{\w+\}", texts["en"][key])), language


def test_every_text_that_the_page_asks_for_exists() -> None:
    texts = json.loads((PAGE_FOLDER / "messages.json").read_text(encoding="utf-8"))
    sources = [path.read_text(encoding="utf-8") for path in PAGE_FOLDER.glob("*.js")]
    sources.append((PAGE_FOLDER / "index.html").read_text(encoding="utf-8"))
    pattern = re.compile(r"""\bt\("([\w.]+)"|data-t(?:-label)?="([\w.]+)\"""")
    keys = {first or second for source in sources for first, second in pattern.findall(source)}
    assert len(keys) > 50
    assert keys <= texts["en"].keys()


def test_the_app_is_installable(app: App) -> None:
    page = app.open()
    manifest = json.loads((app.folder / "manifest.webmanifest").read_text(encoding="utf-8"))
    assert {"name", "short_name", "start_url", "display", "icons"} <= manifest.keys()
    for icon in manifest["icons"]:
        with Image.open(app.folder / icon["src"]) as image:
            assert f"{image.width}x{image.height}" == icon["sizes"]
    assert page.locator("link[rel=manifest]").count() == 1

    # What Chromium itself asks of an app.
    session = page.context.new_cdp_session(page)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [e["errorId"] for e in errors if e["errorId"] != "in-incognito"] == []
