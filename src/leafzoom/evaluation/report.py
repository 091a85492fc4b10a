"""The evaluation as one page that loads no other file: tables 1-6, figures, zoom value, gallery."""

from __future__ import annotations

import base64
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jinja2

from leafzoom.dataset.table import Table
from leafzoom.evaluation import figures, tables
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.gallery import gallery_groups, misdiagnosis_items
from leafzoom.evaluation.group_scores import group_scores
from leafzoom.evaluation.lesion_tables import lesion_tables
from leafzoom.evaluation.result_files import (
    DatasetDescription,
    FurtherMeasurements,
    Measurements,
    ModelDescription,
    write_metrics,
    write_predictions,
)
from leafzoom.evaluation.uncertainty import estimate_uncertainty
from leafzoom.evaluation.zoom_value import ZoomValue
from leafzoom.inference.predictor import Predictor
from leafzoom.labels import answer_confidence
from leafzoom.storage import make_folder, write_text

__all__ = ["write_report_files"]

_MAX_DRAWN_LABELS = 30


def write_report_files(
    folder: Path,
    evaluation: Evaluation,
    table: Table,
    *,
    dataset: DatasetDescription,
    model: ModelDescription,
    further: FurtherMeasurements | None = None,
    predictor: Predictor | None = None,
) -> None:
    """Write `metrics.json`, `predictions.csv` and `index.html` of an evaluation.

    Estimates the scores' uncertainty by a bootstrap and decodes the photographs of the gallery;
    runs the network on these alone, for what speaks for their answers.

    Args:
        folder: made if it does not exist.
        evaluation: of photographs of the table.
        table: with the photographs' files.
        dataset: the description of the photographs.
        model: the description of the model.
        further: what else was measured; the files leave out what was not.
        predictor: of the same model; with one that has evidence the gallery shows it.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    make_folder(folder)
    measurements = Measurements(
        uncertainty=estimate_uncertainty(evaluation),
        further=further or FurtherMeasurements(),
        groups=group_scores(evaluation, table),
    )

    write_predictions(folder / "predictions.csv", evaluation)
    write_metrics(folder / "metrics.json", evaluation, measurements, dataset=dataset, model=model)
    _write_page(
        folder / "index.html",
        evaluation,
        measurements,
        table,
        dataset=dataset,
        model=model,
        predictor=predictor,
    )


def _write_page(
    path: Path,
    evaluation: Evaluation,
    measurements: Measurements,
    table: Table,
    *,
    dataset: DatasetDescription,
    model: ModelDescription,
    predictor: Predictor | None,
) -> None:
    """Write `index.html`; see `write_report_files`.

    Raises:
        LeafzoomError: the page cannot be written.
    """
    uncertainty = measurements.uncertainty
    further = measurements.further
    zoom_value = further.zoom_value
    manifest = evaluation.manifest
    head = evaluation.head
    answers = evaluation.answers_fitted[head]

    # How often the answers are right at each confidence.
    confidence = answer_confidence(
        evaluation.probabilities[head], answers, manifest.decisions[head], manifest.labels
    )
    is_correct = (answers == evaluation.targets).all(axis=1)
    calibration = figures.calibration_bins(confidence, is_correct)

    # Of hundreds of classes only some can be drawn; the others are a row of the confusion matrix.
    drawn = figures.most_missed(evaluation.targets, answers, _MAX_DRAWN_LABELS)
    drawn_labels = manifest.labels
    if len(drawn) < len(manifest.labels.names) and manifest.labels.single_label:
        combinations = tuple(manifest.labels.combinations[index] for index in drawn)
        drawn_labels = replace(manifest.labels, combinations=combinations)

    groups = measurements.groups
    page = _template().render(
        title=f"{model.name} on {dataset.split}",
        photographs=len(evaluation.image_names),
        dataset=dataset,
        model=model,
        head=head,
        single_label=manifest.labels.single_label,
        accuracy=_accuracy_name(evaluation),
        scales=manifest.scales,
        source_size=manifest.source_size,
        licence=manifest.licence,
        # Tables.
        cards=tables.cards(evaluation, uncertainty),
        heads=tables.head_rows(evaluation, uncertainty),
        differences=tables.difference_rows(evaluation, uncertainty),
        verdicts=tables.verdict_rows(evaluation),
        others=tables.other_picture_rows(further.others),
        groups=tables.group_table(groups) if groups else None,
        label_tables=tables.label_tables(evaluation, uncertainty),
        zoom=tables.zoom_tables(zoom_value) if zoom_value else None,
        lesions=lesion_tables(further.lesions) if further.lesions else None,
        # Figures.
        zoom_figure=_zoom_figure(zoom_value, _accuracy_name(evaluation)) if zoom_value else None,
        precision_recall=figures.precision_recall(
            evaluation.targets[:, drawn],
            {head: values[:, drawn] for head, values in evaluation.probabilities.items()},
            [manifest.labels.names[index] for index in drawn],
        ),
        confusion=figures.confusion(evaluation.targets, answers, drawn_labels),
        drawn=len(drawn) if len(drawn) < len(manifest.labels.names) else None,
        calibration=figures.calibration(calibration),
        calibration_error=f"{calibration.mean_gap:.3f}",
        gallery=gallery_groups(evaluation, table, predictor),
        misdiagnoses=misdiagnosis_items(further.others),
        film=_base64(model.film) if model.film and model.film.is_file() else None,
    )
    write_text(path, page)


def _template() -> jinja2.Template:
    source = resources.files("leafzoom.evaluation") / "report.html"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(source.read_text(encoding="utf-8"))


def _accuracy_name(evaluation: Evaluation) -> str:
    """Exact match, which is top-1 accuracy where a photograph has one class."""
    return "top-1 accuracy" if evaluation.manifest.labels.single_label else "exact match"


def _zoom_figure(zoom_value: ZoomValue, accuracy: str) -> str:
    return figures.zoom_value_bars(zoom_value.exact_match, zoom_value.intervals, accuracy)


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")
