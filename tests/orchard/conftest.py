"""A report of photos whose names and cameras are as awkward as they can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from leafzoom.exif import Exif
from leafzoom.inference.journal import JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.verdict import Verdict
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.confusion import Confusion
from leafzoom.model_file.manifest import Manifest
from leafzoom.orchard.groups import read_groupings
from leafzoom.orchard.report import OrchardReport, make_report

LABELS = LabelSet(("healthy", "rust", "scab"), ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)))
CONFUSION = Confusion.from_matrix(
    np.array([[90, 5, 0, 0, 5, 0], [0, 80, 0, 0, 0, 0], [4, 0, 20, 0, 0, 0], [0, 0, 0, 95, 0, 1]])
)
DECISION = Decision((0.5,) * 3, 1.0, (0.0,) * 4)
MANIFEST = Manifest(
    labels=LABELS,
    source_size=96,
    input_size=64,
    scales=2,
    decisions=dict.fromkeys(("scale1", "scale2", "fusion12"), DECISION),
    recipe={},
    name="tiny <model>",
    confusion=CONFUSION,
)
FORMULA = "orchard/row 10/=HYPERLINK(1).jpg"
MARKUP = "orchard/row 9/<img src=x onerror=alert(1)>.jpg"

# Latitude and longitude that no other number of a page has.
PLACE = (50.861234, 7.092345)


def entry(
    name: str, labels: tuple[str, ...], verdict: Verdict = "diagnosis", exif: Exif | None = None
) -> JournalEntry:
    """A photo's result."""
    prediction = Prediction(
        photo=name,
        labels=labels if verdict == "diagnosis" else (),
        probabilities=dict.fromkeys(LABELS.names, 0.5),
        scales=(),
        verdict=verdict,
        likely=labels,
        confidence=0.9,
        ood_score=None,
        model=MANIFEST.name,
        exif=exif or Exif(),
    )
    return JournalEntry(prediction, f"{name.rpartition('/')[2]}-diagnosis.png")


def entries() -> list[JournalEntry]:
    """Forty photos of two rows and two days, some of each verdict, and one that is unreadable."""
    latitude, longitude = PLACE
    result = []
    for number in range(36):
        row = 9 + number % 2
        taken = f"2026-06-0{1 + number // 18}T10:{number:02d}:00"
        exif = Exif(taken, latitude + number * 1e-5, longitude - number * 1e-5, "=1+1")
        labels = [("scab",), ("healthy",), ("rust", "scab")][number % 3]
        result.append(entry(f"orchard/row {row}/{number}.jpg", labels, exif=exif))
    result.append(entry(FORMULA, ("scab",), "unsure"))
    result.append(entry(MARKUP, ("rust",)))
    result.append(entry("orchard/row 9/room.jpg", ("scab",), "not_a_leaf"))
    result.append(JournalEntry(FailedPhoto("orchard/row 9/broken.jpg", "cannot be read"), None))
    return result


@pytest.fixture(scope="session")
def make() -> Callable[[str, str], OrchardReport]:
    """Makes the report of the photos: by a grouping, uncorrected for a reason."""

    def make_by(by: str, uncorrected: str) -> OrchardReport:
        names = [item.result.photo for item in entries()]
        groupings = read_groupings(by, names)
        return make_report(entries(), groupings, MANIFEST, uncorrected=uncorrected)

    return make_by


@pytest.fixture(scope="session")
def report(make: Callable[[str, str], OrchardReport]) -> OrchardReport:
    """By folder, corrected."""
    return make("folder", "")
