"""What a model answers to pictures that show none of its leaves, and those that it diagnoses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from leafzoom.errors import UsageError
from leafzoom.inference.prediction import FailedPhoto
from leafzoom.inference.predictor import Predictor
from leafzoom.photo_archive import ArchivedPhoto, is_archive
from leafzoom.photo_files import PhotoSearch, is_folder, kind_by_folder
from leafzoom.photo_url import RemotePhoto

__all__ = ["Misdiagnosis", "OtherPictures", "measure_other_pictures"]


@dataclass(frozen=True)
class Misdiagnosis:
    """A picture without a leaf that gets a diagnosis all the same.

    `labels`: the answer. `confidence`: the answer's calibrated probability.
    """

    photo: Path | ArchivedPhoto | RemotePhoto
    labels: tuple[str, ...]
    confidence: float


@dataclass(frozen=True, kw_only=True)
class OtherPictures:
    """The verdicts on the pictures of one kind.

    `pictures`: how many were read; `not_a_leaf`, `unsure` and `diagnosed` add up to it.
    `unreadable`: how many could not be. `misdiagnoses`: those diagnosed, the surest first.
    """

    kind: str
    pictures: int
    not_a_leaf: int
    unsure: int
    diagnosed: int
    unreadable: int
    misdiagnoses: tuple[Misdiagnosis, ...]

    def to_dict(self) -> dict[str, Any]:
        """The entry of this kind in `metrics.json`; the files are named in the page alone."""
        return {
            "pictures": self.pictures,
            "not_a_leaf": self.not_a_leaf,
            "unsure": self.unsure,
            "diagnosed": self.diagnosed,
            "unreadable": self.unreadable,
        }


def measure_other_pictures(
    predictor: Predictor, folder: Path, echo: Callable[[str], None]
) -> tuple[OtherPictures, ...]:
    """Run a model over the pictures below a folder; each folder directly in it is a kind.

    Args:
        predictor: of the model.
        folder: or a ZIP archive; pictures directly in it are of the kind that its own name says.
        echo: prints what the search passes over.

    Raises:
        UsageError: the folder is neither.
        DataError: it has no picture.
    """
    if not is_folder(folder) and not is_archive(folder):
        raise UsageError(f"--others {folder} is no folder: name one with pictures without leaves")

    # The files of every kind.
    files_by_kind: dict[str, list[Path | ArchivedPhoto | RemotePhoto]] = {}
    search = PhotoSearch([folder])
    for photo in search:
        assert not isinstance(photo, str)  # an address is none of a folder's files
        files_by_kind.setdefault(kind_by_folder(photo, folder), []).append(photo)
    if search.passed_over:
        echo(f"--others {folder}: {search.passed_over}")

    count = sum(len(files) for files in files_by_kind.values())
    with tqdm(total=count, desc="other pictures", unit="picture", disable=None) as progress:
        return tuple(
            _measure_kind(predictor, kind, files, progress)
            for kind, files in sorted(files_by_kind.items())
        )


def _measure_kind(
    predictor: Predictor,
    kind: str,
    files: Sequence[Path | ArchivedPhoto | RemotePhoto],
    progress: tqdm[Any],
) -> OtherPictures:
    """The verdicts on the pictures of one kind."""
    verdicts: list[str] = []
    misdiagnoses = []
    results = predictor.predict_many(files)
    for file, result in zip(files, results, strict=True):
        progress.update()
        if isinstance(result, FailedPhoto):
            continue
        verdicts.append(result.verdict)
        if result.verdict == "diagnosis":
            misdiagnoses.append(Misdiagnosis(file, result.likely, result.confidence))

    return OtherPictures(
        kind=kind,
        pictures=len(verdicts),
        not_a_leaf=verdicts.count("not_a_leaf"),
        unsure=verdicts.count("unsure"),
        diagnosed=verdicts.count("diagnosis"),
        unreadable=len(files) - len(verdicts),
        misdiagnoses=tuple(sorted(misdiagnoses, key=lambda picture: -picture.confidence)),
    )
