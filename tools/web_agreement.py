"""Compare the phone's answers with Python's:
python -m tools.web_agreement DATA [--other NAME=FOLDER...] [--count N] [--enlarged N] [--out FILE]

Exports the model as the app, opens it in Chromium, and lets it diagnose photographs of a part of
DATA, and those of the folders. For each set: how many get the same labels and verdict as by Python,
how far probabilities and boxes are apart, how many sources have the same pixels, and how far
probabilities are apart where they have. Chromium may use one thread, so that nothing else needs to
stop. Writes results/web-agreement.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.paths import model_path
from leafzoom.photo import SUFFIXES, read_source
from leafzoom.web.folder import write_web_folder
from leafzoom.web.runtime import RUNTIME_VERSION, runtime_path
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine
from tools.static_host import StaticHost, chromium

__all__ = [
    "Comparison",
    "PhonePage",
    "compare",
    "main",
    "parser",
    "probability_difference",
    "summary",
]

_PROBABILITY_TOLERANCE = 1e-3
_DECIMALS = 6
_CAMERA_SIZE = (3000, 2000)

# A module of the page, as the page itself has it. The worker gives the source that it reads, too.
_DIAGNOSE = """async ({ name, content }) => {
  const address = (path) => new URL(path, document.baseURI).href;
  const { PhoneEngine } = await import(address("engine-phone.js"));
  globalThis.engine ??= await new PhoneEngine({ threads: 1 }).open();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], name);
  const { predictions, pooled } = await engine.diagnose([file]);
  const source = await engine.call({ task: "source", blob: file }).catch(() => null);
  if (!source) return { prediction: predictions[0], pooled, pixels: null };

  let pixels = "";
  for (let start = 0; start < source.pixels.length; start += 4096)
    pixels += String.fromCharCode(...source.pixels.subarray(start, start + 4096));
  return { prediction: predictions[0], pooled, pixels: btoa(pixels) };
}"""


@dataclass(frozen=True)
class PhoneAnswer:
    """What the app gives for a photo: its prediction, and its source's pixels, None if unread."""

    prediction: dict[str, Any]
    pooled: dict[str, Any] | None
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Comparison:
    """One photograph, by Python and by the phone.

    `same_labels`, `same_verdict`: whether they agree. `probability`: the greatest difference, of
    any head and label. `box_share`: of a box's edge, as a share of the photo's side. `pixel`: the
    greatest difference of a source's value, 0..255, and `mean_pixel` the mean one.
    """

    photo: str
    same_labels: bool
    same_verdict: bool
    probability: float
    box_share: float
    pixel: int
    mean_pixel: float


class PhonePage:
    """The app, opened in a browser, with its engine.

    Args:
        browser: that opens it.
        url: of the app.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._page: Page = browser.new_context(locale="en-GB").new_page()
        self._page.goto(url)

    def evaluate(self, script: str, argument: object) -> Any:
        """What a function of JavaScript gives for an argument, in the page."""
        return self._page.evaluate(script, argument)

    def diagnose(self, name: str, content: bytes) -> PhoneAnswer:
        """The answer for one photo's file."""
        text = base64.b64encode(content).decode()
        answer = self.evaluate(_DIAGNOSE, {"name": name, "content": text})
        pixels = None
        if answer["pixels"] is not None:
            values = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8)
            side = round((len(values) // 3) ** 0.5)
            pixels = values.reshape(side, side, 3)
        return PhoneAnswer(answer["prediction"], answer["pooled"], pixels)


def main() -> None:
    """Compare and write."""
    arguments = parser().parse_args()
    code = commit("src", "tools")  # as it is now, not at the end
    network = open_network(arguments.model)
    predictor = Predictor(network)

    # Photographs of the validation part, and whatever else is named.
    cache = open_data(arguments.data, network.manifest.source_size)
    rows = rows_of_part(cache, arguments.split, network.manifest)
    photos = {
        "leaves": [cache.table.rows[row].path for row in _spread(rows.tolist(), arguments.count)]
    }
    for option in arguments.other:
        name, _, folder = option.partition("=")
        paths = [p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in SUFFIXES]
        photos[name] = _spread(paths, arguments.count)

    with tempfile.TemporaryDirectory() as folder:
        if arguments.enlarged:
            leaves = _spread(photos["leaves"], arguments.enlarged)
            photos["enlarged leaves"] = _enlarged(leaves, Path(folder))
        app = Path(folder) / "app"
        write_web_folder(model_path(arguments.model), app, arguments.runtime)
        sets = _compare_sets(app, predictor, photos)

    options = [f"--other '{option.partition('=')[0]}=…'" for option in arguments.other]
    options += [f"--count {arguments.count}", f"--enlarged {arguments.enlarged}"]
    result = {
        "name": "web-agreement",
        "command": f"python -m tools.web_agreement DATA {' '.join(options)}",
        "commit": code,
        "machine": machine(),
        "model_digest": model_digest(model_path(arguments.model)),
        "runtime": RUNTIME_VERSION,
        "split": arguments.split,
        "sets": sets,
    }
    text = json.dumps(result, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.web_agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("data", type=Path, metavar="DATA")
    options.add_argument("--model", default="bundled")
    options.add_argument("--split", default="inner-validation")
    options.add_argument("--other", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--count", type=int, default=500, help="photographs of each set")
    options.add_argument(
        "--enlarged",
        type=int,
        default=0,
        metavar="N",
        help="so many of the leaves also as large JPEGs, which Pillow decodes at a reduced size",
    )
    options.add_argument("--runtime", type=Path, default=runtime_path(), metavar="FILE")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "web-agreement.json")
    return options


def compare(photo: Path, predictor: Predictor, page: PhonePage) -> Comparison:
    """Compare both answers for one photo, which both can read."""
    content = photo.read_bytes()
    expected = predictor.predict(content)
    source = read_source(content, predictor.source_sizes)
    answer = page.diagnose(photo.name, content)
    found = Prediction.from_dict(answer.prediction)
    assert not isinstance(expected, FailedPhoto)
    assert answer.pixels is not None

    sides = np.array([source.photo_size, source.photo_size]).reshape(4)
    box_shares = [
        float((np.abs(np.subtract(mine.box, other.box)) / sides).max())
        for mine, other in zip(expected.scales, found.scales, strict=True)
    ]
    pixels = np.abs(source.pixels.astype(int) - answer.pixels.astype(int))
    return Comparison(
        photo=photo.name,
        same_labels=set(expected.labels) == set(found.labels),
        same_verdict=expected.verdict == found.verdict,
        probability=probability_difference(expected, found),
        box_share=max(box_shares),
        pixel=int(pixels.max()),
        mean_pixel=float(pixels.mean()),
    )


def probability_difference(expected: Prediction, found: Prediction) -> float:
    """The greatest difference between two answers to a photo, of any head and label."""
    pairs = [(expected.probabilities, found.probabilities)]
    pairs += [
        (mine.probabilities, other.probabilities)
        for mine, other in zip(expected.scales, found.scales, strict=True)
    ]
    return max(abs(mine[label] - other[label]) for mine, other in pairs for label in mine)


def summary(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The figures of a set of photographs."""
    identical = [one.probability for one in comparisons if one.pixel == 0]
    probabilities = [one.probability for one in comparisons]
    return {
        "photographs": len(comparisons),
        "same_labels": _share(one.same_labels for one in comparisons),
        "same_verdict": _share(one.same_verdict for one in comparisons),
        "other_answer": [
            one.photo for one in comparisons if not (one.same_labels and one.same_verdict)
        ],
        "same_pixels": _share(one.pixel == 0 for one in comparisons),
        "greatest_pixel_difference": max(one.pixel for one in comparisons),
        "mean_pixel_difference": _rounded(np.mean([one.mean_pixel for one in comparisons])),
        "probability_difference": {
            "greatest": _rounded(max(probabilities)),
            "median": _rounded(np.median(probabilities)),
            "greatest_with_same_pixels": _rounded(max(identical)) if identical else None,
            "within_tolerance": _share(value <= _PROBABILITY_TOLERANCE for value in probabilities),
            "within_tolerance_with_same_pixels": (
                _share(value <= _PROBABILITY_TOLERANCE for value in identical)
            ),
            "tolerance": _PROBABILITY_TOLERANCE,
        },
        "greatest_box_difference": _rounded(max(one.box_share for one in comparisons)),
    }


def _compare_sets(
    app: Path, predictor: Predictor, photos: dict[str, list[Path]]
) -> dict[str, dict[str, Any]]:
    """The figures of each set; the photographs come one by one."""
    host = StaticHost(app)
    sets = {}
    with chromium() as browser:
        page = PhonePage(browser, host.url)
        for name, paths in photos.items():
            comparisons = [compare(path, predictor, page) for path in paths]
            sets[name] = summary(comparisons)
            print(name, json.dumps(sets[name]), flush=True)
    host.stop()
    return sets


def _enlarged(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Photographs as large as a camera's, with its chroma subsampling."""
    enlarged = []
    for path in paths:
        with Image.open(path) as image:
            large = image.convert("RGB").resize(_CAMERA_SIZE, Image.Resampling.BICUBIC)
        enlarged.append(folder / f"{path.stem}-large.jpg")
        large.save(enlarged[-1], quality=90, subsampling="4:2:0")
    return enlarged


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most so many values, spread over all of them."""
    places = np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)
    return [values[place] for place in places]


def _share(values: Iterable[bool]) -> float | None:
    """The share of true values; None of nothing."""
    listed = list(values)
    return _rounded(np.mean(listed)) if listed else None


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), _DECIMALS)


if __name__ == "__main__":
    main()
