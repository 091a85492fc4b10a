"""`leafzoom review`: which labels to look at again, a page to decide on them, and a new table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leafzoom.commands.options import (
    NAME_OR_FILE,
    PATH,
    data_options,
    echo_to_stderr,
    labelled_cache,
    labelled_table,
)
from leafzoom.errors import LeafzoomError, UsageError, needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.cache import Cache
    from leafzoom.dataset.columns import TableReading
    from leafzoom.review.build import ReviewRequest
    from leafzoom.review.items import Review

__all__ = ["review"]

_DECISIONS_NAME = "review.csv"
_PORT = 8001
_TOP = 100


@click.command()
@click.argument("model", required=False, default="bundled")
@data_options
@click.option("--out", type=PATH, help="Folder for review.csv, the queue and the exports.")
@click.option(
    "--split",
    "split_name",
    metavar="NAME|FILE",
    type=NAME_OR_FILE,
    default="unseen",
    show_default=True,
    help="What is ranked: unseen (what the model validated on, or all), all, or as in evaluate.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 10_000),
    default=_TOP,
    show_default=True,
    help="Photographs of each kind at most.",
)
@click.option(
    "--unlabelled",
    type=PATH,
    metavar="DIR",
    help="Photos without labels: which to label first.",
)
@click.option(
    "--page/--no-page",
    default=True,
    show_default=True,
    help="Show the page on this machine, until Ctrl+C.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Of the page; 0 takes any free one.",
)
@click.option(
    "--apply",
    "applied",
    type=PATH,
    metavar="FILE",
    help="Write a new table with the decisions of this review.csv, and end.",
)
@click.option(
    "--new-label",
    "new_labels",
    multiple=True,
    metavar="NAME",
    help="With --apply: a label that the table does not have yet (may be repeated).",
)
def review(
    model: str,
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    reading: TableReading,
    out: Path | None,
    split_name: str,
    top: int,
    unlabelled: Path | None,
    page: bool,
    port: int,
    applied: Path | None,
    new_labels: tuple[str, ...],
) -> None:
    """Rank suspect labels, and decide on them on a page.

    MODEL is a run, a .safetensors checkpoint, an .onnx file with its own weights, or bundled.
    Suspect labels, near-duplicates with other labels, outliers, and photos without labels are shown
    with their zooms. Each decision is saved in review.csv at once. --apply writes a new table
    beside it and never changes the old one. OUT also has exports for Label Studio and FiftyOne.

    \b
    Example:
      leafzoom review bundled --data leaves --out second-look
      leafzoom review --data leaves --apply second-look/review.csv
    """
    if applied is not None:
        _apply(applied, data, csv_file, reading, new_labels)
        return
    if new_labels:
        raise UsageError("--new-label goes with --apply")
    if out is None:
        raise UsageError("--out is missing: name a folder for the review, or --apply a review.csv")

    with needs_extra("train", "leafzoom review"):
        from leafzoom.model_file.checkpoint import load_checkpoint
        from leafzoom.model_file.paths import model_path
        from leafzoom.review.build import ReviewRequest
        from leafzoom.storage import make_folder

    # What can be wrong with the model, the folder or the data is found before minutes of work.
    manifest = load_checkpoint(model_path(model, prefer="torch")).manifest
    make_folder(out)
    with _alone(out):
        cache = labelled_cache(data, csv_file, cache_folder, manifest.source_size, reading)
        cache.table.require_clean()
        photos = _unlabelled_photos(unlabelled, cache) if unlabelled else ()
        request = ReviewRequest(model, data, split_name, top, photos)
        _review(request, cache, out, port if page else None)


def _review(request: ReviewRequest, cache: Cache, out: Path, port: int | None) -> None:
    """Make the review and its exports, then serve the page where a port is given."""
    from leafzoom.review.decisions import DecisionFile
    from leafzoom.review.fiftyone import write_dataset
    from leafzoom.review.items import KINDS, write_review
    from leafzoom.review.label_studio import photo_root, write_tasks

    decisions = DecisionFile(out / _DECISIONS_NAME)
    queue = _kept_or_new(request, cache, out)
    write_review(queue, out)
    write_tasks(queue, out)
    write_dataset(queue, out)

    click.echo(queue.ranked)
    counts = Counter(kind for item in queue.items for kind in item.kinds)
    shown = ", ".join(f"{counts[kind]} {_KIND_WORDS[kind]}" for kind in KINDS if counts[kind])
    click.echo(f"{len(queue.items)} photographs to look at: {shown or 'none'}")
    click.echo(f"queue and exports in {out}; Label Studio's document root: {photo_root(queue)}")
    if port is None:
        return

    from leafzoom.review.server import serve_review
    from leafzoom.review.service import create_review_app

    serve_review(create_review_app(queue, decisions), port, click.echo)
    decided = decisions.all()
    click.echo(f"{len(decided)} decisions in {decisions.path}")


_KIND_WORDS = {
    "duplicate": "near-duplicates with other labels",
    "label": "suspect labels",
    "outlier": "outliers",
    "unlabelled": "to label first",
}


def _kept_or_new(request: ReviewRequest, cache: Cache, out: Path) -> Review:
    """The review of a folder if it is of the same request, or else a new one."""
    from leafzoom.review.build import build_review, request_digest
    from leafzoom.review.items import QUEUE_NAME, read_review

    path = out / QUEUE_NAME
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["made_of"] == request_digest(request, cache):
                return replace(read_review(out, content), model=request.model)
        except (OSError, ValueError, KeyError, TypeError, LeafzoomError) as error:
            echo_to_stderr(f"{path} cannot be used ({error}): the review is made again")
    return build_review(request, cache, echo_to_stderr)


def _unlabelled_photos(folder: Path, cache: Cache) -> tuple[Path, ...]:
    """The photos below a folder that the table has no row for.

    Raises:
        DataError: there are none.
    """
    from leafzoom.errors import DataError
    from leafzoom.photo_files import find_photos

    labelled = {row.path.resolve() for row in cache.table.rows}
    found = [photo for photo in find_photos([folder]) if isinstance(photo, Path)]
    photos = tuple(photo for photo in found if photo.resolve() not in labelled)
    if not photos:
        raise DataError(f"{folder} has no photo without a row in {cache.table.csv}: name another")
    return photos


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a folder's lock, so that no other review writes its decisions.

    Raises:
        LeafzoomError: another review has it.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(out / "lock", timeout=0):
            yield
    except Timeout as error:
        raise LeafzoomError(
            f"another leafzoom review is open on {out}: stop it first, or give another --out"
        ) from error


def _apply(
    applied: Path,
    data: Path,
    csv_file: Path | None,
    reading: TableReading,
    new_labels: tuple[str, ...],
) -> None:
    """Write the new table."""
    with needs_extra("train", "leafzoom review"):
        from leafzoom.review.correction import apply_decisions

    table = labelled_table(data, csv_file, reading)
    correction = apply_decisions(applied, data, table, reading, new_labels)
    click.echo(
        f"{correction.path}: {correction.changed} rows changed, {correction.left_out} left out, "
        f"{correction.added} added, {correction.kept} kept, {correction.open} undecided; "
        f"{table.csv} is as it was"
    )
