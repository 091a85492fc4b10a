"""`leafzoom predict`: diagnoses on standard output, and into a folder."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from leafzoom.commands.options import (
    DESTINATION,
    PHOTO_PATH,
    device_option,
    model_option,
    source_size_option,
)
from leafzoom.commands.predict_with_ray import (
    ENGINES,
    LOCAL,
    RAY,
    check_engine,
    predict_with_ray,
)
from leafzoom.errors import UsageError
from leafzoom.fonts import missing_characters
from leafzoom.inference.devices import CPU, idle_gpu_note
from leafzoom.inference.formats import format_names, format_writer
from leafzoom.inference.journal import Journal
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import check_evidence
from leafzoom.inference.photo_list import is_photo_table, read_photo_list
from leafzoom.inference.prediction import FailedPhoto, Prediction, without_place
from leafzoom.inference.prediction_sets import coverage_note
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.ray_engine import RayJob
from leafzoom.inference.results_folder import diagnose_into
from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import model_path
from leafzoom.orchard.folder import remove_report, write_report
from leafzoom.orchard.groups import Grouping, read_groupings
from leafzoom.orchard.report import make_report
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
    help="Read photos' paths from this list, a line each; -: from input (may be repeated).",
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
@device_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=LOCAL,
    show_default=True,
    help="ray: on many cores and machines, into files of Parquet in --out.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="A Ray cluster, for --engine ray; without it, Ray on this machine.",
)
@click.option(
    "--group-by",
    metavar="folder|day|csv:FILE",
    help="Report the share of leaves with each disease by group, in --out (csv: tree, row, block).",
)
@click.option(
    "--no-location",
    is_flag=True,
    help="Leave out where photos were taken.",
)
@click.option(
    "--out",
    type=DESTINATION,
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
    device: str,
    engine: str,
    address: str | None,
    group_by: str | None,
    no_location: bool,
    out: Path | str | None,
) -> None:
    """Diagnose photos, or all photos in folders.

    PHOTOS are files, folders (with the folders below them and those that they link to), patterns
    such as "orchard/*.jpg", ZIP archives, which are read without being unpacked, Parquet tables of
    paths, and addresses of storage such as s3://bucket/folder (docs/scale.md).

    \b
    Examples:
      leafzoom predict leaf.jpg --out diagnosis
      leafzoom predict orchard/ --model model.onnx --format csv > diagnoses.csv
      leafzoom predict season.zip --coverage 0.95 --maps --out season
      leafzoom predict orchard/ --group-by csv:trees.csv --out day
      leafzoom predict s3://orchard/season --engine ray --out s3://orchard/answers
      find orchard -newer last-time -name "*.jpg" | leafzoom predict --from-file -
    """
    other_options = {
        "--format": output_format != "table",
        "--maps": maps,
        "--group-by": bool(group_by),
    }
    check_engine(engine, out, address, other_options=other_options)
    if group_by and out is None:
        raise UsageError("--group-by writes its report into a folder: name it with --out")

    # A folder that cannot be written to, or a broken format, is an error before the model is read.
    paths = _given_paths(photos, list_files)
    format_writer(output_format)
    folder = out if isinstance(out, Path) else None
    if folder:
        make_folder(folder)

    # Counted for the bar; a folder without photos is an error before the model is read.
    search = PhotoSearch(paths, but_not=folder)
    photo_count = sum(1 for _ in search)
    _echo_lines(filter(None, [str(search.passed_over)]))
    groupings = _groupings(group_by, search)
    network = open_network(model, device=device)
    _echo_lines(filter(None, [idle_gpu_note(device, network.device_name)]))
    thresholds = _parse_thresholds(threshold_options, network.manifest.labels.names)
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

    digest = _predictor_digest(
        model,
        *threshold_options,
        *(["early exit"] if early_exit else []),
        *([] if coverage is None else [f"coverage {coverage!r}"]),
        *(["maps"] if maps else []),
        "exif without place" if no_location else "exif",
        *([] if network.device_name == CPU else [f"device {network.device_name}"]),
        f"source {predictor.source_sizes.least}-{predictor.source_sizes.greatest}",
    )
    if engine == RAY:
        job = RayJob(
            model=model,
            model_digest=digest,
            destination=str(out),
            device=network.device_name,
            thresholds=thresholds,
            early_exit=early_exit,
            source_size=source_size,
            coverage=coverage,
            location=not no_location,
        )
        predict_with_ray(search, photo_count, job, address=address)
        return

    output = _Output(output_format, folder, coverage, maps, not no_location)
    _diagnose_here(search, photo_count, predictor, output, groupings, digest)


@dataclass(frozen=True)
class _Output:
    """What the local engine gives.

    `output_format`: of standard output. `folder`: for the results, if there is one. `coverage`,
    `maps`: see `Predictor.predict`. `location`: whether latitude and longitude are kept.
    """

    output_format: str
    folder: Path | None
    coverage: float | None
    maps: bool
    location: bool


def _diagnose_here(
    search: PhotoSearch,
    photo_count: int,
    predictor: Predictor,
    output: _Output,
    groupings: Sequence[Grouping],
    digest: str,
) -> None:
    """Diagnose in this process, onto standard output and into a folder."""
    folder = output.folder
    labels = predictor.labels
    if folder:
        _note_missing_fonts(labels)
    write = partial(
        format_writer(output.output_format),
        out=sys.stdout,
        labels=labels,
        possible=output.coverage is not None,
    )
    counts = _Counts(echo_errors=output.output_format == "table")

    # No bar among the results on a terminal.
    show_bar = photo_count > 1 and (folder is not None or not sys.stdout.isatty())
    with tqdm(
        desc="diagnosing",
        total=photo_count,
        unit="photo",
        disable=None if show_bar else True,
    ) as bar:
        if folder is None:
            results = predictor.predict_many(search, coverage=output.coverage, maps=output.maps)
            bar.iterable = results if output.location else map(without_place, results)
            write(counts.count_in(bar))
        else:
            journal = diagnose_into(
                folder,
                search,
                predictor,
                model=digest,
                coverage=output.coverage,
                maps=output.maps,
                location=output.location,
                progress=bar.update,
            )
            bar.close()
            with closing(journal):
                # Before standard output, which a pager may close.
                _report_into(folder, journal, groupings, predictor, location=output.location)
                write(counts.count_in(entry.result for entry in journal.results()))

    # A photo that cannot be read stops no other, but the exit status tells of it.
    _echo_lines(counts.exif_lines())
    if counts.failed:
        sys.exit(1)


def _groupings(group_by: str | None, search: PhotoSearch) -> tuple[Grouping, ...]:
    """The groupings of `--group-by`; none without it.

    Raises:
        UsageError, DataError: as `read_groupings`.
    """
    if group_by is None:
        return ()
    names = [str(photo) for photo in search]
    return read_groupings(group_by, names, lambda line: click.echo(f"leafzoom: {line}", err=True))


def _report_into(
    out: Path,
    journal: Journal,
    groupings: Sequence[Grouping],
    predictor: Predictor,
    *,
    location: bool,
) -> None:
    """Write the report of all results, or remove that of earlier ones, and say so."""
    if not groupings:
        if remove_report(out):
            _echo_lines([f"{out}: the orchard report of earlier results is removed"])
        return

    report = make_report(
        journal.results(),
        groupings,
        predictor.network.manifest,
        uncorrected=_other_answers(predictor),
    )
    _echo_lines(write_report(out, report, location=location))


def _other_answers(predictor: Predictor) -> str:
    """Why the model's confusion is not that of these answers; "" if it is."""
    if predictor.has_own_thresholds:
        return "the model's confusion is of its own thresholds, and --threshold has others"
    if predictor.early_exit:
        return "the model's confusion is of all looks, and --early-exit leaves some out"
    return ""


def _echo_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(f"leafzoom: {line}", err=True)


class _Counts:
    """Counts the photos of a stream that cannot be read, and impossible values of EXIF.

    Args:
        echo_errors: print each one's error, for output formats that leave it out.
    """

    def __init__(self, *, echo_errors: bool) -> None:
        self.failed = 0
        self.photos_with_impossible = 0
        self.impossible: Counter[str] = Counter()
        self._echo_errors = echo_errors

    def count_in(
        self, results: Iterable[Prediction | FailedPhoto]
    ) -> Iterator[Prediction | FailedPhoto]:
        """Pass results on, and count."""
        for result in results:
            if isinstance(result, FailedPhoto):
                self.failed += 1
                if self._echo_errors:
                    click.echo(f"leafzoom: {result.error}", err=True)
            elif result.exif.impossible:
                self.photos_with_impossible += 1
                self.impossible.update(result.exif.impossible)
            yield result

    def exif_lines(self) -> Iterator[str]:
        """A line that counts impossible values, if there are any."""
        if self.impossible:
            values = ", ".join(f"{name} {count}" for name, count in self.impossible.items())
            yield (
                f"the EXIF of {self.photos_with_impossible} photos has impossible values, which "
                f"are left out: {values}"
            )


def _given_paths(photos: tuple[str, ...], list_files: tuple[str, ...]) -> list[str]:
    """The paths of the command line, then those of the lists.

    Raises:
        UsageError: there are none on the command line and no list.
        DataError: a list that cannot be read.
    """
    if not photos and not list_files:
        raise UsageError("name a photo, a folder or a ZIP archive, or a list with --from-file")

    paths: list[str] = []
    for photo in photos:
        paths += read_photo_list(photo) if is_photo_table(photo) else [photo]
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
