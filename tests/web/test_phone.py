"""The app in Chromium: the same answers as Python's, without a network, and after an update."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.photo import read_source
from leafzoom.source_size import SourceSize
from tools.odd_photos import odd_photos, sound_photos
from tools.web_agreement import PhonePage
from web.conftest import App

_STATUS = "document.querySelector('#status').textContent"


def leaf(leaves: Path, number: int = 1) -> Path:
    return leaves / "train_images" / f"leaf-{number:05d}.jpg"


def choose(page: Page, *files: Path) -> None:
    """Choose photos, and wait for their diagnoses."""
    page.set_input_files("#choose", list(files))
    for _ in range(600):
        status = page.evaluate(_STATUS)
        if status and status != "…" and not status.startswith("Looking"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(status)


def downloaded_text(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_the_phone_gives_pythons_answers(app: App, early_exit_run: Path, leaves: Path) -> None:
    photos = [leaf(leaves, number) for number in range(6)]
    model = Predictor(open_network(str(early_exit_run)))
    page = PhonePage(app.context.browser, app.host.url)

    for photo in photos:
        content = photo.read_bytes()
        expected = model.predict(content, maps=True)
        answer = page.diagnose(photo.name, content)
        found = Prediction.from_dict(answer.prediction)

        assert answer.pixels is not None
        assert np.array_equal(answer.pixels, read_source(content, model.source_sizes).pixels)
        assert_same_answer(found, expected)
        assert_same_evidence(found, expected)


def assert_same_answer(found: Prediction, expected: Prediction) -> None:
    assert found.labels == expected.labels
    assert found.likely == expected.likely
    assert found.verdict == expected.verdict
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-3)
    for mine, other in zip(expected.scales, found.scales, strict=True):
        assert other.box == pytest.approx(mine.box, abs=0.1)
        assert other.probabilities == pytest.approx(mine.probabilities, abs=1e-3)


def assert_same_evidence(found: Prediction, expected: Prediction) -> None:
    assert expected.evidence is not None
    assert found.evidence is not None
    assert found.evidence.bias == pytest.approx(expected.evidence.bias, abs=1e-3)
    assert found.evidence.closest_box == pytest.approx(expected.evidence.closest_box, abs=0.1)
    for mine, other in zip(expected.evidence.maps, found.evidence.maps, strict=True):
        for label, rows in mine.items():
            assert other[label] == pytest.approx(rows, abs=2e-3)


_DIAGNOSE_QUICKLY = """async (content) => {
  const address = (path) => new URL(path, document.baseURI).href;
  const { PhoneEngine } = await import(address("engine-phone.js"));
  const engine = await new PhoneEngine({ threads: 1 }).open();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const { predictions } = await engine.diagnose([new File([bytes], "leaf.jpg")], { quick: true });
  engine.stop();
  return predictions[0];
}"""


def test_the_quick_answer_is_that_of_the_early_exit(
    app: App, early_exit_run: Path, leaves: Path
) -> None:
    model = Predictor(open_network(str(early_exit_run)), early_exit=True)
    page = app.open()

    # A leaf ends after its first look; what may be no leaf gets all of them.
    file = io.BytesIO()
    soft_picture((120, 90)).save(file, "PNG")
    contents = [leaf(leaves, 0).read_bytes(), leaf(leaves, 1).read_bytes(), file.getvalue()]
    predictions = [model.predict(content) for content in contents]
    assert {len(prediction.scales) for prediction in predictions} == {1, 3}

    for content, expected in zip(contents, predictions, strict=True):
        found = page.evaluate(_DIAGNOSE_QUICKLY, base64.b64encode(content).decode())
        assert len(found["scales"]) == len(expected.scales)
        assert found["labels"] == list(expected.labels)
        assert found["strangeness"] == pytest.approx(expected.ood_score, abs=0.01)


def test_it_diagnoses_without_a_network_and_without_its_host(app: App, leaves: Path) -> None:
    page = app.open()
    expect(page.locator("#offline")).to_have_text("Works without a network.")
    choose(page, leaf(leaves))
    first = downloaded_text(page, "#csv")

    # Threads come with the second visit, when the service worker answers.
    app.host.stop()
    app.context.set_offline(True)
    page.reload()
    page.wait_for_selector("#model:not(:empty)", state="attached")
    assert page.evaluate("crossOriginIsolated")
    choose(page, leaf(leaves))
    second = downloaded_text(page, "#csv")

    first_row, second_row = (next(csv.DictReader(io.StringIO(text))) for text in (first, second))
    assert first_row["verdict"] == second_row["verdict"]
    for column, value in first_row.items():
        if column not in ("photo", "verdict", "labels", "error"):
            assert float(second_row[column]) == pytest.approx(float(value), abs=1e-3)
    assert "never leave it" in page.locator("#privacy").inner_text()
    assert page.locator("#api").is_hidden()


@pytest.mark.parametrize("size", [(3000, 2000), (997, 1501), (640, 480), (130, 90), (96, 96)])
@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
def test_large_and_turned_photos_have_pillows_pixels(
    engine_page: PhonePage, size: tuple[int, int], orientation: int
) -> None:
    # Without chroma subsampling and with soft edges, so that reduced decoding rounds alike.
    image = soft_picture(size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0, exif=exif.tobytes())
    content = file.getvalue()

    expected = read_source(content, SourceSize(96, 96)).pixels.astype(int)
    found = engine_page.diagnose("photo.jpg", content)
    assert found.pixels is not None
    difference = np.abs(found.pixels.astype(int) - expected)
    is_reduced = min(size) >= 2 * 192
    assert difference.max() <= (2 if is_reduced else 0)
    assert difference.mean() < 0.3
    assert found.prediction["scales"][0]["box"][2:] == [*(size if orientation < 5 else size[::-1])]


def soft_picture(size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


_RESAMPLE = """async ({ pixels, width, height, side }) => {
  const { Resampler } = await import(new URL("resize.js", document.baseURI).href);
  const resampler = new Resampler(width, height, side);
  for (let row = 0; row < height; row++)
    resampler.addRow(Uint8Array.from(pixels.slice(row * width * 3, (row + 1) * width * 3)));
  return [...resampler.finish()];
}"""


@pytest.mark.parametrize(
    ("width", "height", "side"),
    [(50, 37, 16), (16, 16, 16), (9, 61, 24), (64, 5, 20), (1, 1, 8), (23, 24, 23), (90, 130, 96)],
)
def test_the_resize_is_pillows_bit_for_bit(
    engine_page: PhonePage, width: int, height: int, side: int
) -> None:
    pixels: NDArray[np.uint8] = np.random.default_rng(1).integers(
        0, 256, (height, width, 3), np.uint8
    )
    expected = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)

    arguments = {"pixels": pixels.ravel().tolist(), "width": width, "height": height, "side": side}
    found = engine_page.evaluate(_RESAMPLE, arguments)
    assert np.array_equal(np.array(found).reshape(side, side, 3), np.asarray(expected))


def test_a_hostile_photo_gets_a_sentence_and_the_next_one_a_diagnosis(
    app: App, leaves: Path, tmp_path: Path
) -> None:
    page = app.open()
    photos = {**sound_photos(0), **odd_photos(0)}
    for number, (name, content) in enumerate(photos.items()):
        if len(content) > 20 * 2**20:
            continue
        path = tmp_path / f"{number:02d}.jpg"
        path.write_bytes(content)
        choose(page, path)
        assert page.locator("article").count() == 1, name
        title = page.locator("article .verdict").inner_text()
        assert title, name

    choose(page, leaf(leaves))
    assert "failed" not in (page.locator("article").get_attribute("class") or "")


def test_a_worker_that_ends_is_started_again(app: App, leaves: Path) -> None:
    page = app.open()
    page.evaluate(
        """() => {
          const post = Worker.prototype.postMessage;
          let isFirst = true;
          Worker.prototype.postMessage = function (message) {
            if (message.task !== "diagnose" || !isFirst) return post.call(this, message);
            isFirst = false;
            this.dispatchEvent(new ErrorEvent("error", { cancelable: true }));
          };
        }"""
    )
    choose(page, leaf(leaves))
    assert "could not work on it" in page.locator("article .explain").inner_text()
    choose(page, leaf(leaves))
    assert page.locator("article .bars").count() >= 2


def test_heic_that_the_browser_cannot_decode_gets_a_sentence(app: App, tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200))
    page = app.open()
    choose(page, path)
    assert "HEIC" in page.locator("article .explain").inner_text()


def test_a_new_version_waits_until_it_is_wanted_and_keeps_the_results(
    app: App, leaves: Path
) -> None:
    page = app.open()
    choose(page, leaf(leaves))
    expect(page.locator("#history")).to_be_visible()

    # Another text, another list of files: as a new export writes them.
    messages = app.folder / "messages.json"
    texts = json.loads(messages.read_text(encoding="utf-8"))
    texts["en"]["clear"] = "Start afresh"
    messages.write_text(json.dumps(texts), encoding="utf-8")
    renew_list(app.folder)

    app.host.paths.clear()
    page.reload()
    expect(page.locator("#update")).to_be_visible(timeout=30_000)
    assert page.locator("#clear").evaluate("button => button.textContent") == "Clear"
    page.click("#update-now")
    expect(page.locator("#clear")).to_have_text("Start afresh", timeout=30_000)
    expect(page.locator("#history")).to_be_visible()

    # What stays the same is not loaded again.
    assert "/messages.json" in app.host.paths
    assert not [path for path in app.host.paths if path.endswith((".onnx", ".wasm", "/card.js"))]


def renew_list(folder: Path) -> None:
    """Write the list of files as `leafzoom export --web` would."""
    from leafzoom.web import folder as web_folder

    path = folder / web_folder.FILE_LIST
    content = json.loads(path.read_text().removeprefix("self.APP = ").rstrip().removesuffix(";"))
    files = {entry["path"]: (folder / entry["path"]).read_bytes() for entry in content["files"]}
    path.write_bytes(web_folder._file_list(files, content["model"]))
