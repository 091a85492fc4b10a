"""selection.csv: every head's logits of the photographs that a training was selected on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.heads import FittedHeads
from leafzoom.labels import LabelSet
from leafzoom.storage import write_text

__all__ = ["write_selection"]


def write_selection(path: Path, heads: FittedHeads, part: DatasetPart, labels: LabelSet) -> None:
    """Write a row for each photograph of the validation part: labels and every head's logits."""
    columns = [f"{head}_{label}" for head in heads.logits for label in labels.names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "labels", *columns])

    for index, row in enumerate(part.rows):
        logits = np.concatenate([z[index] for z in heads.logits.values()])
        label_names = " ".join(labels.decode(part.targets[row]))
        writer.writerow([part.image_names[row], label_names, *(f"{z:.5g}" for z in logits)])
    write_text(path, text.getvalue())
