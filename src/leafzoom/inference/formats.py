"""Predictions as a table, JSON, JSON lines or CSV, one after the other as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

__all__ = ["summary", "write_records"]


def write_records(results: Iterable[dict[str, Any]], form: str, out: TextIO, labels: Sequence[str]) -> None:
    """Write what `to_dict` of predictions and failed photos gives.

    Args:
        results: written as they come, so that a stream of any length takes little memory.
        form: `table`, `json` (a list), `jsonl` (an object a line) or `csv`.
        out: where to.
        labels: the model's, for the columns of a CSV.
    """
    if form == "json":
        _write_json(results, out)
    elif form == "jsonl":
        for result in results:
            out.write(json.dumps(result, ensure_ascii=not _is_unicode(out)) + "\n")
    elif form == "csv":
        _write_csv(results, out, labels)
    else:
        _write_table(results, out)


def _is_unicode(out: TextIO) -> bool:
    """Whether any character can be written as it is; elsewhere JSON has to escape what the encoding lacks."""
    encoding = getattr(out, "encoding", None)
    return encoding is None or encoding.lower().replace("-", "").startswith("utf")


def _write_json(results: Iterable[dict[str, Any]], out: TextIO) -> None:
    """A list, an element at a time."""
    out.write("[")
    for place, result in enumerate(results):
        text = json.dumps(result, indent=1, ensure_ascii=not _is_unicode(out)).replace("\n", "\n ")
        out.write(("," if place else "") + "\n " + text)
    out.write("\n]\n")


def _write_csv(results: Iterable[dict[str, Any]], out: TextIO, labels: Sequence[str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["photo", "verdict", "labels", "confidence", *labels, "error"])
    for result in results:
        if "error" in result:
            writer.writerow([_cell(result["photo"]), "", "", "", *([""] * len(labels)), _cell(result["error"])])
        else:
            row = [f"{result['probabilities'][label]:.6f}" for label in labels]
            said = _cell(" ".join(result["labels"]))
            writer.writerow(
                [_cell(result["photo"]), result["verdict"], said, f"{result['confidence']:.6f}", *row, ""]
            )


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def summary(result: dict[str, Any]) -> str:
    """The verdict in a few words, of what `Prediction.to_dict` gives."""
    likely = " + ".join(label.replace("_", " ") for label in result["likely"]) or "no label"
    if result["verdict"] == "not_a_leaf":
        return "not a sharp picture of an apple leaf, as far as this model can tell"
    if result["verdict"] == "unsure":
        return f"unsure; perhaps {likely} ({result['confidence']:.0%})"
    return f"{likely} ({result['confidence']:.0%} sure)"


def _write_table(results: Iterable[dict[str, Any]], out: TextIO) -> None:
    """For each photo its diagnosis, then what each scale made of it."""
    for result in results:
        if "error" in result:
            out.write(f"{result['photo']}\n  could not be read\n")
            continue
        out.write(f"{result['photo']}\n  {summary(result)}\n")
        fused, scales = result["probabilities"], result["scales"]
        if len(scales) == 1:
            out.write("  the first look was sure: no closer one\n")
            scales = []
        names = "".join(f"{'scale ' + str(scale['scale']):>9}" for scale in scales)
        first = "fused" if scales else "scale 1"
        out.write(f"  {'':24}{first:>8}{names}\n")
        for label in sorted(fused, key=lambda label: -fused[label]):
            row = "".join(f"{scale['probabilities'][label]:9.1%}" for scale in scales)
            out.write(f"  {label.replace('_', ' '):24}{fused[label]:8.1%}{row}\n")
        for scale in scales[1:]:
            x0, y0, x1, y1 = scale["box"]
            out.write(f"  scale {scale['scale']} looked at x {x0:.0f}-{x1:.0f}, y {y0:.0f}-{y1:.0f}\n")
