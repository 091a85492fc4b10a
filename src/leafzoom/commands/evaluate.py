"""`leafzoom evaluate`: the scores of a model on labelled photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import click

from leafzoom.commands.options import (
    NAME_OR_FILE,
    PATH,
    data_options,
    echo_to_stderr,
    labelled_cache,
    source_size_option,
)
from leafzoom.errors import needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.cache import Cache
    from leafzoom.dataset.columns import TableReading
    from leafzoom.dataset.lesions import Lesions
    from leafzoom.dataset.table import Table
    from leafzoom.evaluation.evaluate import Evaluation
    from leafzoom.evaluation.lesion_coverage import LesionCoverage
    from leafzoom.evaluation.result_files import DatasetDescription, ModelDescription
    from leafzoom.inference.predictor import Predictor
    from leafzoom.model_file.manifest import Manifest
    from leafzoom.source_size import SourceSize

__all__ = ["evaluate"]

_PARTS_HELP = (
    "What is read: all, inner-train, inner-validation (or inner-select), inner-test "
    "(or inner-report), paper-train, paper-validation, or a file."
)


@click.command()
@click.argument("model")
@data_options
@click.option(
    "--split",
    "split_name",
    metavar="NAME|FILE",
    type=NAME_OR_FILE,
    default="all",
    show_default=True,
    help=_PARTS_HELP,
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="HEAD",
    help="Only this head, such as scale1 or fusion123 (may be repeated).",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="Folder for index.html, metrics.json and predictions.csv.",
)
@click.option(
    "--zooms",
    type=click.IntRange(min=0),
    default=500,
    show_default=True,
    help="Photographs that zoom value is measured on (0: not at all; only an RA-CNN has one).",
)
@click.option(
    "--lesions",
    "lesions_file",
    type=PATH,
    metavar="FILE",
    help="Boxes of lesions, if not DIR/lesions.csv or boxes.csv: CSV, COCO, or YOLO's folder.",
)
@source_size_option
@click.option(
    "--others",
    "others_folder",
    type=PATH,
    metavar="DIR",
    help="Pictures without these leaves, a folder a kind: what the model answers to them.",
)
def evaluate(
    model: str,
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    reading: TableReading,
    split_name: str,
    heads: tuple[str, ...],
    out: Path,
    zooms: int,
    lesions_file: Path | None,
    source_size: int | None,
    others_folder: Path | None,
) -> None:
    """Score every head of MODEL on labelled photographs.

    MODEL is a run, an .onnx or .safetensors file, or bundled. Where boxes of known lesions are
    given (a CSV image,x0,y0,x1,y1,label in pixels of the upright photo, COCO's JSON, or a folder of
    YOLO's text files), the report says what the network's boxes hold of them.

    \b
    Example:
      leafzoom evaluate runs/first --data leaves --split inner-test --out report
      leafzoom evaluate bundled --data leaves --lesions lesions.json --out report
    """
    with needs_extra("train", "leafzoom evaluate"):
        from leafzoom.dataset.lesions import read_labelled_lesions
        from leafzoom.evaluation.evaluate import evaluate as evaluate_network
        from leafzoom.evaluation.other_pictures import measure_other_pictures
        from leafzoom.evaluation.report import write_report_files
        from leafzoom.evaluation.result_files import FurtherMeasurements
        from leafzoom.evaluation.zoom_value import measure_zoom_value
        from leafzoom.inference.loading import open_network, zooming_network
        from leafzoom.inference.network import check_evidence
        from leafzoom.inference.predictor import Predictor
        from leafzoom.storage import make_folder
        from leafzoom.training.memory import keep_freed_memory

    # What can be wrong with the model, the folder or the data is found before minutes of work.
    keep_freed_memory()
    network = open_network(model, prefer="torch")
    manifest = network.manifest
    predictor = Predictor(network, source_size=source_size)
    if lesions_file:
        check_evidence(network)
    make_folder(out)

    # The photographs, their known lesions, and the part that is scored.
    cache = labelled_cache(data, csv_file, cache_folder, manifest.source_size, reading)
    cache.table.require_clean()
    lesions = read_labelled_lesions(data, cache, lesions_file, warn=echo_to_stderr)
    part = _evaluated_part(model, manifest, cache, split_name)

    others = (
        ()
        if others_folder is None
        else measure_other_pictures(predictor, others_folder, echo_to_stderr)
    )
    evaluation = evaluate_network(network, cache, part.image_names, heads, predictor.source_sizes)
    evaluated = cache.table.take(part.image_names)
    coverage = _lesion_coverage(predictor, evaluated, lesions, lesions_file)

    # An exported model without its weights, or one that is no RA-CNN, cannot be given other boxes.
    zoom_value = None
    zooming = zooming_network(model, network) if zooms else None
    if zooming is not None:
        zoom_value = measure_zoom_value(
            zooming,
            evaluation,
            cache,
            photographs=zooms,
            lesions={image_name: known.boxes for image_name, known in lesions.items()},
        )

    write_report_files(
        out,
        evaluation,
        cache.table,
        dataset=part.describe(cache, predictor.source_sizes),
        model=_describe_model(model, manifest),
        further=FurtherMeasurements(zoom_value=zoom_value, lesions=coverage, others=others),
        predictor=predictor,
    )

    # The warning comes last, where it is seen.
    _echo_scores(evaluation)
    _echo_groups(evaluation, cache.table)
    _echo_lesions(coverage)
    click.echo(f"{len(part.image_names)} photographs ({split_name}); see {out / 'index.html'}")
    part.warn_of_overlap()
    if manifest.holds_nothing_out:
        echo_to_stderr(
            "leafzoom: the training held no photograph out: it kept its last epoch, fitted fusions "
            "on the training photographs, and has threshold 0.5, so confidences are not calibrated"
        )


@dataclass(frozen=True)
class _EvaluatedPart:
    """The photographs that are evaluated, and how many of them the model has used.

    Attributes:
        name: as `--split` gives it.
        image_names: of the photographs.
        trained_on: how many of them the model was trained on; None if that is not known.
        selected_on: how many of them validated it; None if that is not known.
        shared_groups: how many of their groups the model was trained on too.
    """

    name: str
    image_names: tuple[str, ...]
    trained_on: int | None
    selected_on: int | None
    shared_groups: int = 0

    def describe(self, cache: Cache, sizes: SourceSize) -> DatasetDescription:
        """The part as the report and `metrics.json` describe it."""
        from leafzoom.evaluation.result_files import DatasetDescription

        return DatasetDescription(
            csv=cache.table.csv.name,
            split=self.name,
            photographs=len(self.image_names),
            trained_on=self.trained_on,
            selected_on=self.selected_on,
            table_digest=cache.table.digest(),
            source_sizes=(sizes.least, sizes.greatest),
        )

    def warn_of_overlap(self) -> None:
        """Print a line for every use of these photographs in the model's training."""
        # The weights are fitted to the training part.
        if self.trained_on:
            echo_to_stderr(
                f"leafzoom: {self.trained_on} of these photographs were trained on, so these "
                "figures flatter the model"
            )

        # The validation part chooses the epoch, and everything is fitted on it.
        if self.selected_on:
            echo_to_stderr(
                f"leafzoom: {self.selected_on} of these photographs chose the epoch and fitted "
                "thresholds and fusions, so these figures flatter the model"
            )

        # Photographs of one orchard are alike.
        if self.shared_groups:
            echo_to_stderr(
                f"leafzoom: {self.shared_groups} of these groups were trained on too, so these "
                "figures flatter the model: for another group's, train with the same "
                "--group-column and evaluate --split inner-test"
            )


def _evaluated_part(
    model: str, manifest: Manifest, cache: Cache, split_name: str
) -> _EvaluatedPart:
    """The photographs of a part, and their overlap with those that the model was made with."""
    from leafzoom.dataset.evaluated_part import evaluation_image_names, split_of_model
    from leafzoom.dataset.split import read_split
    from leafzoom.model_file.paths import run_folder

    # A run folder holds its split; any other model knows its split's digest at most.
    run = run_folder(model)
    stored_split = read_split(run / "split.json") if run else None
    split_digest = manifest.data.get("split_digest")

    image_names = evaluation_image_names(cache, split_name, stored_split, split_digest)
    model_split = split_of_model(cache, stored_split, split_digest)
    if model_split is None:
        return _EvaluatedPart(split_name, image_names, None, None)

    # Few photographs are all learned from, those of the validation part too.
    trained = model_split.train
    if manifest.data.get("cross_validated"):
        trained += model_split.validation
    return _EvaluatedPart(
        split_name,
        image_names,
        trained_on=_overlap(image_names, trained),
        selected_on=_overlap(image_names, model_split.validation),
        shared_groups=_shared_groups(cache, image_names, trained),
    )


def _overlap(image_names: Sequence[str], others: Sequence[str]) -> int:
    """How many of some photographs are among others, however their accents are written."""
    names = {normalize("NFC", name) for name in image_names}
    return len(names & {normalize("NFC", name) for name in others})


def _shared_groups(cache: Cache, image_names: Sequence[str], trained: Sequence[str]) -> int:
    """How many groups of some photographs others are of too; 0 without a column of groups."""
    table = cache.table
    if not table.group_column:
        return 0
    group_of = {normalize("NFC", row.image_name): row.group for row in table.rows}
    groups = {group_of[normalize("NFC", name)] for name in image_names}

    # The model may have been trained on other tables too.
    others = {group_of.get(normalize("NFC", name)) for name in trained}
    return len(groups & others)


def _lesion_coverage(
    predictor: Predictor,
    table: Table,
    lesions: Mapping[str, Lesions],
    lesions_file: Path | None,
) -> LesionCoverage | None:
    """What the boxes hold of known lesions; None without any, with a line if a file was named."""
    from leafzoom.evaluation.lesion_coverage import measure_lesion_coverage

    coverage = None
    if lesions and predictor.network.has_evidence:
        coverage = measure_lesion_coverage(predictor, table, lesions)
    if lesions_file and coverage is None:
        echo_to_stderr(
            f"leafzoom: {lesions_file} has no lesion on these photographs, whole leaves apart"
        )
    return coverage


def _describe_model(model: str, manifest: Manifest) -> ModelDescription:
    """The model as the report and `metrics.json` describe it."""
    from leafzoom.evaluation.result_files import ModelDescription
    from leafzoom.model_file.paths import run_folder

    # Only a run folder has the film of its training.
    run = run_folder(model)
    return ModelDescription(
        name=manifest.name,
        path=model,
        recipe=manifest.recipe.get("name"),
        trained_on=manifest.data.get("trained_on"),
        leafzoom=manifest.leafzoom_version,
        select_on=manifest.data.get("select_on", "validation"),
        film=run / "attention.gif" if run else None,
    )


def _echo_groups(evaluation: Evaluation, table: Table) -> None:
    """Print a line a group, and how far the scores hold for another one."""
    from leafzoom.evaluation.group_scores import group_scores

    scores = group_scores(evaluation, table)
    if scores is None:
        return
    click.echo(f"by {scores.column} ({scores.head}, fitted):")
    for name, group in scores.groups.items():
        click.echo(
            f"  {name:<20} {group.photographs:6} photographs  exact {group.exact_match:.4f}  "
            f"micro F1 {group.micro_f1:.4f}"
        )

    count = len(scores.groups)
    words = "1 group" if count == 1 else f"{count} groups"
    line = f"  mean of {words}: exact {scores.mean_exact_match:.4f}"
    if scores.interval:
        low, high = scores.interval.to_list()
        line += f"; over all photographs 95 % {low:.4f} to {high:.4f}, drawing whole groups"
    click.echo(line)


def _echo_lesions(coverage: LesionCoverage | None) -> None:
    """Print a line a look: what its boxes hold of the known lesions."""
    if coverage is None:
        return
    left_out = f" ({coverage.left_out} whole leaves left out)" if coverage.left_out else ""
    click.echo(f"{coverage.lesions} lesions on {coverage.photographs} photographs{left_out}:")
    for look, kinds in coverage.looks.items():
        learned = kinds["learned"]
        random = kinds["random"]
        click.echo(
            f"  {look:<8} {learned.area:5.1%} of the photo   holds one {learned.any_inside:.3f} "
            f"(random {random.any_inside:.3f})   centre on one {learned.centre_hits:.3f} "
            f"(random {random.centre_hits:.3f})"
        )


def _echo_scores(evaluation: Evaluation) -> None:
    """Print a line a head: scores at threshold 0.5, then with the fitted decisions.

    Of single labels there is one decision, the most probable class.
    """
    if evaluation.manifest.labels.single_label:
        click.echo(f"{'head':<12} {'top-1':>7} {'macro F1':>9} {'mAP':>7}")
        for head, scores in evaluation.heads_fitted.items():
            click.echo(f"{head:<12} {scores.top1:7.4f} {scores.macro.f1:9.4f} {scores.map:7.4f}")
        return

    click.echo(
        f"{'head':<12} {'exact':>7} {'micro F1':>9} {'macro F1':>9} {'mAP':>7}"
        f"   fitted: {'exact':>7} {'micro F1':>9}"
    )

    # `plain` is at threshold 0.5 for each label, as the paper scores.
    for head, plain in evaluation.heads.items():
        fitted = evaluation.heads_fitted[head]
        click.echo(
            f"{head:<12} {plain.exact_match:7.4f} {plain.micro.f1:9.4f} "
            f"{plain.macro.f1:9.4f} {plain.map:7.4f}"
            f"           {fitted.exact_match:7.4f} {fitted.micro.f1:9.4f}"
        )
