"""`leafzoom predict`: diagnoses on standard output, and into a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from leafzoom.commands.options import PATH, PHOTO_PATH, model_option, source_size_option
from leafzoom.errors import UsageError
from leafzoom.fonts import missing_characters
from leafzoom.inference.formats import format_names, format_writer
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import check_evidence
from leafzoom.inference.photo_list import read_photo_list
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.prediction_sets import coverage_note
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.results_folder import diagnose_into
from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import model_path
from leafzoom.photo_files import PhotoSearch
from leafzoom.storage import make_folder, sha256_of

__all__ = ["predict"]


@click.command()
@click.argument("photos", nargs=-1, type=PHOTO_PATH)
@click.option(
    "--from-file",
    "list_files",
    multiple=True,
    metavar="FILE",
    type=PHOTO_PATH,
    help="Read photos' paths from this text file, a line each; -: from input (may be repeated).",
)
@model_option
@click.option(
    "--format",
    "output_format",
    default="table",
    show_default=True,
    type=click.Choice(format_names()),
    help="How standard output is written; packages can add formats.",
)
@click.option(
    "--threshold",
    "threshold_options",
    multiple=True,
    metavar="[LABEL=]X",
    help="From which probability on a label counts (may be repeated).",
)
@click.option(
    "--early-exit",
    is_flag=True,
    help="Look closer only where the first look is not sure: faster.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(MIN_COVERAGE, MAX_COVERAGE),
    metavar="C",
    help="Name all answers that are possible: the true one is among them for this share of leaves.",
)
@click.option(
    "--maps",
    is_flag=True,
    help="Show what speaks for each likely label, and where, in pictures and JSON.",
)
@source_size_option
@click.option(
    "--out",
    type=PATH,
    help="Folder for pictures, a page, predictions.csv and .jsonl; resumable.",
)
def predict(
    photos: tuple[str, ...],
    list_files: tuple[str, ...],
    model: str,
    output_format: str,
    threshold_options: tuple[str, ...],
    early_exit: bool,
    coverage: float | None,
    maps: bool,
    source_size: int | None,
    out: Path | None,
) -> None:
    """Diagnose photos, or all photos in folders.

    PHOTOS are files, folders (with the folders below them and those that they link to), patterns
    such as "orchard/*.jpg", and ZIP archives, which are read without being unpacked.

    \b
    Examples:
      leafzoom predict leaf.jpg --out diagnosis
      leafzoom predict orchard/ --model model.onnx --format csv > diagnoses.csv
      leafzoom predict season.zip --coverage 0.95 --maps --out season
      find orchard -newer last-time -name "*.jpg" | leafzoom predict --from-file -
    """
    # A folder that cannot be written to, or a broken format, is an error before the model is read.
    paths = _given_paths(photos, list_files)
    write_format = format_writer(output_format)
    if out:
        make_folder(out)

    # Counted for the bar; a folder without photos is an error before the model is read.
    search = PhotoSearch(paths, but_not=out)
    photo_count = sum(1 for _ in search)
    if search.passed_over:
        click.echo(f"leafzoom: {search.passed_over}", err=True)
    network = open_network(model)
    labels = network.manifest.labels.names
    thresholds = _parse_thresholds(threshold_options, labels)
    predictor = Predictor(
        network,
        thresholds=thresholds,
        early_exit=early_exit,
        source_size=source_size,
    )
    if maps:
        check_evidence(network)
    if coverage is not None:
        _note_coverage(network.manifest, coverage)
    if out:
        _note_missing_fonts(labels)
    write = partial(write_format, out=sys.stdout, labels=labels, possible=coverage is not None)
    failures = _FailureCount(echo_errors=output_format == "table")

    # No bar among the results on a terminal.
    show_bar = photo_count > 1 and (out is not None or not sys.stdout.isatty())
    with tqdm(
        desc="diagnosing",
        total=photo_count,
        unit="photo",
        disable=None if show_bar else True,
    ) as bar:
        if out is None:
            bar.iterable = predictor.predict_many(search, coverage=coverage, maps=maps)
            write(failures.count_in(bar))
        else:
            journal = diagnose_into(
                out,
                search,
                predictor,
                model=_predictor_digest(
                    model,
                    *threshold_options,
                    *(["early exit"] if early_exit else []),
                    *([] if coverage is None else [f"coverage {coverage!r}"]),
                    *(["maps"] if maps else []),
                    f"source {predictor.source_sizes.least}-{predictor.source_sizes.greatest}",
                ),
                coverage=coverage,
                maps=maps,
                progress=bar.update,
            )
            bar.close()
            with closing(journal):
                write(failures.count_in(entry.result for entry in journal.results()))

    # A photo that cannot be read stops no other, but the exit status tells of it.
    if failures.count:
        sys.exit(1)


class _FailureCount:
    """Counts the photos of a stream that cannot be read.

    Args:
        echo_errors: print each one's error, for output formats that leave it out.
    """

    def __init__(self, *, echo_errors: bool) -> None:
        self.count = 0
        self._echo_errors = echo_errors

    def count_in(
        self, results: Iterable[Prediction | FailedPhoto]
    ) -> Iterator[Prediction | FailedPhoto]:
        """Pass results on, and count the failed ones."""
        for result in results:
            if isinstance(result, FailedPhoto):
                self.count += 1
                if self._echo_errors:
                    click.echo(f"leafzoom: {result.error}", err=True)
            yield result


def _given_paths(photos: tuple[str, ...], list_files: tuple[str, ...]) -> list[str]:
    """The paths of the command line, then those of the lists.

    Raises:
        UsageError: there are none on the command line and no list.
        DataError: a list that cannot be read.
    """
    if not photos and not list_files:
        raise UsageError("name a photo, a folder or a ZIP archive, or a list with --from-file")

    paths = list(photos)
    for list_file in list_files:
        paths += read_photo_list(list_file)
    return paths


def _note_missing_fonts(labels: Sequence[str]) -> None:
    """Say which characters of the labels no font has, before hours of pictures without them."""
    missing = missing_characters(labels)
    if missing:
        click.echo(
            f"leafzoom: no installed font has the characters {missing} of the labels: pictures "
            "show their numbers instead; install a font that has them, such as Noto Sans",
            err=True,
        )


def _note_coverage(manifest: Manifest, coverage: float) -> None:
    """Refuse a coverage that a model does not have, and note one that is too much for it.

    Raises:
        UsageError, ModelError: as `Predictor.predict`.
    """
    note = coverage_note(manifest, coverage)
    if note:
        click.echo(f"leafzoom: {note}", err=True)


def _predictor_digest(model: str, *options: str) -> str:
    """What results depend on besides the photo: a journal reuses those of the same digest."""
    return " ".join([sha256_of(model_path(model)), *options])


def _parse_thresholds(options: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Thresholds of `X`, for every label, or `LABEL=X`, for one; later ones replace earlier ones.

    Raises:
        UsageError: X is not a number.
    """
    thresholds: dict[str, float] = {}
    for option in options:
        label, _, value = option.rpartition("=")
        try:
            threshold = float(value)
        except ValueError as error:
            raise UsageError(
                f"--threshold takes X or LABEL=X, with X between 0 and 1, not {option!r}"
            ) from error

        thresholds |= {label: threshold} if label else dict.fromkeys(labels, threshold)

    return thresholds
