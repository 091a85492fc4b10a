"""What a training run leaves for comparisons: its log, and its logits on the validation part."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError
from leafzoom.model_file.paths import similar_path
from leafzoom.storage import folder_name

__all__ = ["RunRecord", "read_run"]

Log = dict[tuple[str, str], list[tuple[int, float]]]


@dataclass(frozen=True)
class RunRecord:
    """A run, finished or not.

    `name`: of its folder. `log`: {(stage, metric): [(epoch, value)]}, epochs counted over the
    stage. `labels`: sorted. `image_names`, `targets` [N, L] and `logits`, {head: [N, L]}: of the
    validation part; empty before the run has finished. `single_label`: whether each photograph has
    one class.
    """

    name: str
    recipe: str
    finished: bool
    log: Log
    image_names: tuple[str, ...]
    targets: NDArray[np.uint8]
    logits: dict[str, NDArray[np.float64]]
    labels: tuple[str, ...]
    single_label: bool = False

    def has_same_validation_part(self, other: RunRecord) -> bool:
        """Whether both runs have logits of the same photographs and labels."""
        if not self.image_names:
            return False
        return self.image_names == other.image_names and self.labels == other.labels


def read_run(folder: Path) -> RunRecord:
    """Read `run.json`, `log.csv` and, if the run has finished, `selection.csv`.

    Raises:
        DataError: the folder is no run, or one of its files is damaged.
    """
    # Without logits for now: only a finished run has a selection.csv.
    try:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        labels = sorted(content["labels"])
        run = RunRecord(
            name=folder_name(folder),
            recipe=content["recipe"]["name"],
            finished=content["status"] == "finished",
            log=_read_log(folder / "log.csv"),
            image_names=(),
            targets=np.zeros((0, len(labels)), np.uint8),
            logits={},
            labels=tuple(labels),
            single_label=content["recipe"].get("model", {}).get("loss") == "softmax",
        )
    except FileNotFoundError as error:
        if not folder.exists():
            raise DataError(
                f"the run {folder} does not exist: name folders that leafzoom train wrote"
                f"{similar_path(folder)}"
            ) from error
        missing = Path(str(error.filename)).name
        raise DataError(
            f"{folder} is no run with a finished epoch ({missing} is missing): name folders that "
            "leafzoom train wrote"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{folder}: run.json or log.csv cannot be read ({error}): the run is damaged"
        ) from error

    selection = folder / "selection.csv"
    return _with_selection(run, selection) if selection.is_file() else run


def _read_log(path: Path) -> Log:
    """The values of every stage and metric, whose keys are `stage/phase/metric`."""
    log: Log = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            stage, _, metric = row["key"].split("/")
            log.setdefault((stage, metric), []).append((int(row["epoch"]), float(row["value"])))
    return log


def _with_selection(run: RunRecord, path: Path) -> RunRecord:
    """The run with its logits on the validation part: columns image, labels, HEAD_LABEL…"""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        columns = header[2:]
        values = np.array([np.array(row[2:], np.float64) for row in rows])

        # The second column holds the labels, separated by spaces.
        targets = np.zeros((len(rows), len(run.labels)), np.uint8)
        for index, row in enumerate(rows):
            row_labels = row[1].split()
            targets[index] = [label in row_labels for label in run.labels]

        # Each head's columns, in the order of the labels.
        logits = {}
        for head in dict.fromkeys(column.split("_", 1)[0] for column in columns):
            indices = [columns.index(f"{head}_{label}") for label in run.labels]
            logits[head] = values[:, indices]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read ({error}): the run is damaged") from error

    image_names = tuple(row[0] for row in rows)
    return replace(run, image_names=image_names, targets=targets, logits=logits)
