"""Predictions as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import TextIO

from leafzoom.inference.predictor import FailedPhoto, Prediction

__all__ = ["write_predictions"]


def write_predictions(
    results: Iterable[Prediction | FailedPhoto], form: str, out: TextIO, labels: Sequence[str]
) -> None:
    """Write predictions as `table`, `json`, `jsonl` or `csv`."""
    if form == "json":
        json.dump([result.to_dict() for result in results], out, indent=1, ensure_ascii=False)
        out.write("\n")
    elif form == "jsonl":
        for result in results:
            out.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
    elif form == "csv":
        _write_csv(results, out, labels)
    else:
        _write_table(results, out)


def _write_csv(results: Iterable[Prediction | FailedPhoto], out: TextIO, labels: Sequence[str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["photo", "verdict", "labels", "confidence", *labels, "error"])
    for result in results:
        if isinstance(result, FailedPhoto):
            writer.writerow([_cell(result.photo), "", "", "", *([""] * len(labels)), _cell(result.error)])
        else:
            row = [f"{result.probabilities[label]:.6f}" for label in labels]
            said = " ".join(result.labels)
            writer.writerow([_cell(result.photo), result.verdict, said, f"{result.confidence:.6f}", *row, ""])


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write_table(results: Iterable[Prediction | FailedPhoto], out: TextIO) -> None:
    """For each photo its diagnosis, then what each scale made of it."""
    for result in results:
        if isinstance(result, FailedPhoto):
            out.write(f"{result.photo}\n  could not be read\n")
            continue
        said = ", ".join(label.replace("_", " ") for label in result.labels) or "no label"
        out.write(f"{result.photo}\n  {said} ({result.confidence:.0%} sure)\n")
        shown = sorted(result.probabilities, key=lambda label: -result.probabilities[label])
        out.write(f"  {'':24}{'fused':>8}" + "".join(f"{f'scale {s.scale}':>9}" for s in result.scales) + "\n")
        for label in shown:
            row = [result.probabilities[label], *(s.probabilities[label] for s in result.scales)]
            out.write(f"  {label.replace('_', ' '):24}{row[0]:8.1%}" + "".join(f"{p:9.1%}" for p in row[1:]) + "\n")
        for scale in result.scales[1:]:
            x0, y0, x1, y1 = scale.box
            out.write(f"  scale {scale.scale} looked at x {x0:.0f}-{x1:.0f}, y {y0:.0f}-{y1:.0f}\n")
