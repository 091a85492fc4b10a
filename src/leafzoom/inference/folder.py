"""Diagnosing into a folder: a picture a photo, index.html, predictions.csv and predictions.jsonl, resumable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from leafzoom.errors import PhotoError
from leafzoom.inference.formats import write_records
from leafzoom.inference.index_page import index_page
from leafzoom.inference.journal import Journal
from leafzoom.inference.picture import draw_prediction
from leafzoom.inference.predictor import FailedPhoto, Predictor
from leafzoom.storage import make_folder, replacing, write_text

__all__ = ["diagnose_into"]

_SHOWN = 1000


def diagnose_into(
    folder: Path,
    photos: Iterable[Path],
    predictor: Predictor,
    *,
    model: str,
    progress: Callable[[int], object] = lambda count: None,
) -> Journal:
    """Diagnose photos into a folder; what an interrupted call has done is not done again.

    `predictions.csv`, `predictions.jsonl` and `index.html` (the first 1,000) are written at the end, from the
    journal; each photo's picture as soon as it is diagnosed. A photo that cannot be read is a record like the others.

    Args:
        folder: made if it is not there.
        photos: each once; may be a generator.
        predictor: diagnoses.
        model: a digest of the model (see `Journal`).
        progress: called with 1 for each photo that is done, known ones included.

    Returns:
        The journal, open: `results()` gives everything that was said. Close it.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    make_folder(folder)
    journal = Journal(folder, model)
    try:
        _diagnose(folder, photos, predictor, journal, progress)
        _write_results(folder, journal, predictor)
    except BaseException:
        journal.close()  # what is done stays done
        raise
    return journal


def _diagnose(
    folder: Path, photos: Iterable[Path], predictor: Predictor, journal: Journal, progress: Callable[[int], object]
) -> None:
    """Diagnose what the journal does not know, and draw it."""
    own = folder.resolve()
    waiting: deque[tuple[Path, int]] = deque()  # what the predictor was given and has not answered

    def fresh() -> Iterator[Path]:
        for place, photo in enumerate(photos):
            if photo.parent.resolve() == own and journal.is_picture(photo.name):
                continue  # the results lie among the photos
            if journal.knows(photo, place):
                progress(1)
            else:
                waiting.append((photo, place))
                yield photo

    for result in predictor.stream(fresh()):
        photo, place = waiting.popleft()
        picture: str | None = None
        said = result.to_dict()
        if not isinstance(result, FailedPhoto):
            try:
                picture = journal.picture_name(photo)
                draw_prediction(result, folder / picture)
            except PhotoError as error:  # gone or damaged since it was diagnosed
                said, picture = FailedPhoto(str(photo), str(error)).to_dict(), None
        journal.add(photo, place, said, picture)
        progress(1)


def _write_results(folder: Path, journal: Journal, predictor: Predictor) -> None:
    """The files for people and programs, from the journal."""
    labels = predictor.network.manifest.labels.names

    def said() -> Iterator[dict[str, Any]]:
        return (result for result, _ in journal.results())

    for name, form in (("predictions.csv", "csv"), ("predictions.jsonl", "jsonl")):
        with (
            replacing(folder / name) as temporary,
            temporary.open("w", encoding="utf-8", errors="replace", newline="") as file,
        ):
            write_records(said(), form, file, labels)
    page = index_page(journal.results(_SHOWN), journal.count(), predictor.network.manifest.name)
    write_text(folder / "index.html", page)
