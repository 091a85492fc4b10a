"""Results in a folder: a picture a photo, index.html, predictions.csv and .jsonl, resumable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from leafzoom.errors import PhotoError
from leafzoom.inference.formats import write_records
from leafzoom.inference.index_page import index_page
from leafzoom.inference.journal import Journal, JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction, without_place
from leafzoom.inference.predictor import Predictor
from leafzoom.photo_files import FoundPhoto
from leafzoom.storage import make_folder, replacing, write_text

__all__ = ["diagnose_into"]

_MAX_PAGE_ROWS = 1000

_TABLES = {"predictions.csv": "csv", "predictions.jsonl": "jsonl"}


def diagnose_into(
    folder: Path,
    photos: Iterable[FoundPhoto],
    predictor: Predictor,
    *,
    model: str,
    coverage: float | None = None,
    maps: bool = False,
    location: bool = True,
    progress: Callable[[int], object] = lambda count: None,
) -> Journal:
    """Diagnose photos into a folder; an interrupted call resumes where it stopped.

    A photo's picture is written as soon as the photo is diagnosed. `predictions.csv`,
    `predictions.jsonl` and `index.html` (the first 1,000) are written at the end, from the journal.
    A photo that cannot be read is a record like the others.

    Args:
        folder: made if it is not there.
        photos: each once; may be a generator.
        predictor: diagnoses the photos that the journal does not have.
        model: a digest of the model (see `Journal`).
        coverage, maps: see `Predictor.predict`.
        location: whether latitude and longitude are kept.
        progress: called with 1 for each photo that is done, reused results included.

    Returns:
        The journal, open: `results()` gives this call's results. Close it.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    make_folder(folder)
    journal = Journal(folder, model)
    try:
        new = partial(_predict, predictor, coverage, maps, location)
        _diagnose_new_photos(folder, photos, new, journal, progress)
        labels = predictor.network.manifest.labels.names
        _write_tables(folder, journal, labels, possible=coverage is not None)
        _write_page(folder, journal, predictor.network.manifest.name)
    except BaseException:
        journal.close()  # the results so far are kept
        raise
    return journal


def _predict(
    predictor: Predictor,
    coverage: float | None,
    maps: bool,
    location: bool,
    photos: Iterator[FoundPhoto],
) -> Iterator[Prediction | FailedPhoto]:
    """The predictor's results, without the place where it is not kept."""
    results = predictor.predict_many(photos, coverage=coverage, maps=maps)
    return results if location else map(without_place, results)


@dataclass(frozen=True)
class _PhotoAtPosition:
    path: FoundPhoto
    position: int


def _diagnose_new_photos(
    folder: Path,
    photos: Iterable[FoundPhoto],
    predict: Callable[[Iterator[FoundPhoto]], Iterator[Prediction | FailedPhoto]],
    journal: Journal,
    progress: Callable[[int], object],
) -> None:
    """Diagnose the photos that the journal does not have, and draw them."""
    results_folder = folder.resolve()
    in_progress: deque[_PhotoAtPosition] = deque()  # the predictor reads ahead of its results

    def new_photos() -> Iterator[FoundPhoto]:
        for position, path in enumerate(photos):
            # The results may lie among the photos.
            if _is_result(path, results_folder, journal):
                continue

            # A photo that was diagnosed in an earlier run is not run again.
            if journal.reuse(path, position):
                progress(1)
            else:
                in_progress.append(_PhotoAtPosition(path, position))
                yield path

    # Results come in the order of the photos, so the oldest in progress is this one's.
    for result in predict(new_photos()):
        photo = in_progress.popleft()
        entry = _with_picture(result, photo.path, folder, journal)
        journal.add(photo.path, photo.position, entry.result, entry.picture)
        progress(1)


def _is_result(photo: FoundPhoto, results_folder: Path, journal: Journal) -> bool:
    """Whether a file among the photos is a picture of these results."""
    if not isinstance(photo, Path) or photo.parent.resolve() != results_folder:
        return False
    return journal.is_picture(photo.name)


def _with_picture(
    result: Prediction | FailedPhoto, photo: FoundPhoto, folder: Path, journal: Journal
) -> JournalEntry:
    """Write the picture of a prediction; a photo that has gone since becomes a failed one."""
    if isinstance(result, FailedPhoto):
        return JournalEntry(result, None)

    picture = journal.picture_name(photo)
    try:
        result.save(folder / picture)
    except PhotoError as error:
        return JournalEntry(FailedPhoto(str(photo), str(error)), None)
    return JournalEntry(result, picture)


def _write_tables(
    folder: Path, journal: Journal, labels: tuple[str, ...], *, possible: bool
) -> None:
    for name, output_format in _TABLES.items():
        results = (entry.result for entry in journal.results())
        with (
            replacing(folder / name) as temporary,
            temporary.open("w", encoding="utf-8", errors="replace", newline="") as file,
        ):
            write_records(results, output_format, file, labels, possible=possible)


def _write_page(folder: Path, journal: Journal, model_name: str) -> None:
    page = index_page(journal.results(_MAX_PAGE_ROWS), journal.count(), model_name)
    write_text(folder / "index.html", page)
