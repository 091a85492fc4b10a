"""The files of an evaluation for other programs: `metrics.json` and `predictions.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leafzoom.evaluation.evaluate import Evaluation, verdict_counts
from leafzoom.evaluation.group_scores import GroupScores
from leafzoom.evaluation.lesion_coverage import LesionCoverage
from leafzoom.evaluation.other_pictures import OtherPictures
from leafzoom.evaluation.uncertainty import Uncertainty
from leafzoom.evaluation.zoom_value import ZoomValue
from leafzoom.storage import write_json, write_text

__all__ = [
    "DatasetDescription",
    "FurtherMeasurements",
    "Measurements",
    "ModelDescription",
    "write_metrics",
    "write_predictions",
]


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """The photographs of an evaluation, as `metrics.json` and the page describe them.

    `csv`: the table's name. `split`: the part that was read. `photographs`: how many. `trained_on`,
    `selected_on`: how many of them the model was trained on, or was selected and fitted on; None if
    its split is not known. `table_digest`: of all the table. `seed`: of rendered leaves, which are
    described by it instead of these three. `source_sizes`: the least and the greatest side in
    pixels of the sources that were cut from the photographs.
    """

    csv: str
    split: str
    photographs: int
    trained_on: int | None = None
    selected_on: int | None = None
    table_digest: str | None = None
    seed: int | None = None
    source_sizes: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry `dataset` of `metrics.json`."""
        content = {"csv": self.csv, "split": self.split, "photographs": self.photographs}
        if self.seed is not None:
            return {**content, "seed": self.seed}
        return {
            **content,
            "trained_on": self.trained_on,
            "selected_on": self.selected_on,
            "table_digest": self.table_digest,
            "source_sizes": None if self.source_sizes is None else list(self.source_sizes),
        }


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """The model of an evaluation, as `metrics.json` and the page describe it.

    `path`: as the user wrote it; None if nobody did. `recipe`: its name. `trained_on`: how many
    photographs. `leafzoom`: the version that trained it. `select_on`: `none` if its training held
    no photograph out. `film`: a GIF of the training's attention, for the page alone.
    """

    name: str
    path: str | None = None
    recipe: str | None
    trained_on: int | None
    leafzoom: str
    select_on: str = "validation"
    film: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry `model` of `metrics.json`."""
        content = asdict(self)
        del content["film"]
        if self.path is None:
            del content["path"]
        return content


@dataclass(frozen=True, kw_only=True)
class FurtherMeasurements:
    """What is measured by running the network once more.

    `zoom_value`, `lesions`: None where they were not measured. `others`: the verdicts on pictures
    without leaves, by kind.
    """

    zoom_value: ZoomValue | None = None
    lesions: LesionCoverage | None = None
    others: Sequence[OtherPictures] = ()


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What is measured beside the scores.

    `uncertainty`: of the scores. `groups`: None where the table has no groups.
    """

    uncertainty: Uncertainty
    groups: GroupScores | None = None
    further: FurtherMeasurements = FurtherMeasurements()


def write_metrics(
    path: Path,
    evaluation: Evaluation,
    measurements: Measurements,
    *,
    dataset: DatasetDescription,
    model: ModelDescription,
) -> None:
    """Write `metrics.json`.

    Raises:
        LeafzoomError: the file cannot be written.
    """
    verdicts = {verdict: asdict(count) for verdict, count in verdict_counts(evaluation).items()}
    content = {
        "dataset": dataset.to_dict(),
        "model": model.to_dict(),
        "heads": {head: metrics.to_dict() for head, metrics in evaluation.heads.items()},
        "heads_fitted": {
            head: metrics.to_dict() for head, metrics in evaluation.heads_fitted.items()
        },
        "verdicts": verdicts,
        **measurements.uncertainty.to_dict(),
    }
    if measurements.further.zoom_value is not None:
        content["zoom_value"] = measurements.further.zoom_value.to_dict()
    if measurements.further.lesions is not None:
        content["lesions"] = measurements.further.lesions.to_dict()
    if measurements.further.others:
        content["other_pictures"] = {
            other.kind: other.to_dict() for other in measurements.further.others
        }
    if measurements.groups is not None:
        content["groups"] = measurements.groups.to_dict()
    write_json(path, content)


def write_predictions(path: Path, evaluation: Evaluation) -> None:
    """Write `predictions.csv`, a row a photograph.

    The columns: image name, labels, predicted labels, a probability for each head and label, and
    each scale's box in photo pixels.

    Raises:
        LeafzoomError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_prediction_columns(evaluation))

    labels = evaluation.manifest.labels
    answers = evaluation.answers_fitted[evaluation.head]
    for row, image_name in enumerate(evaluation.image_names):
        target_labels = " ".join(labels.decode(evaluation.targets[row]))
        predicted_labels = " ".join(labels.decode(answers[row]))

        # In the order of `_prediction_columns`.
        cells = [image_name, target_labels, predicted_labels]

        for probabilities in evaluation.probabilities.values():
            cells += [f"{probability:.6f}" for probability in probabilities[row]]
        for boxes in evaluation.boxes:
            cells += [f"{edge:.2f}" for edge in boxes[row]]
        writer.writerow(cells)

    write_text(path, text.getvalue())


def _prediction_columns(evaluation: Evaluation) -> list[str]:
    """The header of `predictions.csv`."""
    columns = ["image", "labels", f"predicted_{evaluation.head}"]
    for head in evaluation.probabilities:
        columns += [f"{head}_{label}" for label in evaluation.manifest.labels.names]
    for scale in range(1, len(evaluation.boxes) + 1):
        columns += [f"box_scale{scale}_{edge}" for edge in ("x0", "y0", "x1", "y1")]
    return columns
