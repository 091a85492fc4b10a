"""Results as a table, JSON, JSON lines, CSV or what plug-ins add, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import TextIO

from leafzoom.exif import Exif
from leafzoom.inference.evidence import Evidence
from leafzoom.inference.format_plugins import FormatWriter, plugin_names, plugin_writer
from leafzoom.inference.prediction import FailedPhoto, Prediction, words_of
from leafzoom.inference.prediction_sets import PossibleAnswers

__all__ = ["format_names", "format_writer", "set_cell", "spreadsheet_cell", "write_records"]

_EXIF_COLUMNS = ("taken", "latitude", "longitude", "camera")

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_records(
    results: Iterable[Prediction | FailedPhoto],
    output_format: str,
    out: TextIO,
    labels: Sequence[str],
    *,
    possible: bool = False,
) -> None:
    """Write results as they come, so that a stream of any length takes little memory.

    Args:
        results: predictions and failed photos.
        output_format: `table`, `json` (a list), `jsonl` (an object a line), `csv`, or one that an
            installed package adds.
        out: the open text file.
        labels: the model's, for the columns of a CSV.
        possible: whether a CSV has a column of the possible answers; JSON has them where a
            prediction does.

    Raises:
        LeafzoomError: there is no such format.
    """
    format_writer(output_format)(results, out, labels, possible=possible)


def format_names() -> tuple[str, ...]:
    """The formats that there are: the package's own, then those that other packages add."""
    added = [name for name in plugin_names() if name not in _WRITERS]
    return (*_WRITERS, *added)


def format_writer(output_format: str) -> FormatWriter:
    """What writes a format.

    Raises:
        LeafzoomError: there is no such format, or the package that adds it is broken.
    """
    return _WRITERS.get(output_format) or plugin_writer(output_format)


def _write_json(
    results: Iterable[Prediction | FailedPhoto],
    out: TextIO,
    labels: Sequence[str],
    *,
    possible: bool,
) -> None:
    """A list, an element at a time."""
    out.write("[")
    for number, result in enumerate(results):
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=not _is_unicode(out))
        indented = text.replace("\n", "\n ")
        separator = "," if number else ""
        out.write(f"{separator}\n {indented}")
    out.write("\n]\n")


def _write_json_lines(
    results: Iterable[Prediction | FailedPhoto],
    out: TextIO,
    labels: Sequence[str],
    *,
    possible: bool,
) -> None:
    for result in results:
        out.write(json.dumps(result.to_dict(), ensure_ascii=not _is_unicode(out)) + "\n")


def _is_unicode(out: TextIO) -> bool:
    """Whether the file's encoding has every character; JSON escapes the others' missing ones."""
    encoding = getattr(out, "encoding", None)
    return encoding is None or encoding.lower().replace("-", "").startswith("utf")


def _write_csv(
    results: Iterable[Prediction | FailedPhoto],
    out: TextIO,
    labels: Sequence[str],
    *,
    possible: bool,
) -> None:
    writer = csv.writer(out, lineterminator="\n")
    possible_column = ["possible"] if possible else []
    header = ["photo", "verdict", "labels", "confidence", *labels, *possible_column, "error"]
    writer.writerow([*header, *_EXIF_COLUMNS])

    # A photo that cannot be read has a row too, with its error.
    for result in results:
        photo = spreadsheet_cell(result.photo)
        if isinstance(result, FailedPhoto):
            empty = [""] * (len(header) - 2)
            no_exif = [""] * len(_EXIF_COLUMNS)
            writer.writerow([photo, *empty, spreadsheet_cell(result.error), *no_exif])
            continue

        predicted_labels = spreadsheet_cell(" ".join(result.labels))
        confidence = f"{result.confidence:.6f}"
        probabilities = [f"{result.probabilities[label]:.6f}" for label in labels]
        sets = [spreadsheet_cell(set_cell(result.possible or ()))] if possible else []
        diagnosis = [photo, result.verdict, predicted_labels, confidence, *probabilities, *sets]
        writer.writerow([*diagnosis, "", *_exif_cells(result.exif)])


def _exif_cells(exif: Exif) -> list[str]:
    """When, where and with what a photo was taken; empty cells where it does not say."""
    place = ["", ""]
    if exif.latitude is not None and exif.longitude is not None:
        place = [f"{exif.latitude:.6f}", f"{exif.longitude:.6f}"]
    return [exif.taken or "", *place, spreadsheet_cell(exif.camera or "")]


def set_cell(possible: PossibleAnswers) -> str:
    """Possible answers in one cell: labels with spaces, answers with a bar between them.

    >>> set_cell((("scab",), ("frog_eye_leaf_spot", "scab")))
    'scab | frog_eye_leaf_spot scab'
    """
    return " | ".join(" ".join(labels) or "no label" for labels in possible)


def spreadsheet_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _write_table(
    results: Iterable[Prediction | FailedPhoto],
    out: TextIO,
    labels: Sequence[str],
    *,
    possible: bool,
) -> None:
    """For each photo its summary, then each scale's probabilities and the zooms' boxes."""
    for result in results:
        if isinstance(result, FailedPhoto):
            out.write(f"{result.photo}\n  could not be read\n")
        else:
            _write_prediction(result, out)


def _write_prediction(prediction: Prediction, out: TextIO) -> None:
    out.write(f"{prediction.photo}\n  {prediction.summary}\n")
    if prediction.possible:
        answers = ", or ".join(words_of(labels) for labels in prediction.possible)
        out.write(f"  possible: {answers}\n")

    # After an early exit there is one look, and one column says it all.
    scales = prediction.scales
    first_column = "fused"
    if len(scales) == 1:
        out.write("  the first look was sure: no closer one\n")
        scales = ()
        first_column = "scale 1"

    # A column for the answering head and one for each scale, a row for each label.
    headings = "".join(f"{scale.name:>9}" for scale in scales)
    out.write(f"  {'':24}{first_column:>8}{headings}\n")

    # The most probable label first.
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    for label, probability in ranked:
        by_scale = "".join(f"{scale.probabilities[label]:9.1%}" for scale in scales)
        out.write(f"  {label.replace('_', ' '):24}{probability:8.1%}{by_scale}\n")

    # Scale 1 looks at the whole photo; an MA-CNN looks no closer at its parts.
    for scale in scales[1:]:
        verb = "looked at" if scale.part is None else "is at"
        out.write(f"  {scale.name} {verb} {_place(scale.box)}\n")
    if prediction.evidence is not None:
        _write_evidence(prediction, prediction.evidence, out)


def _write_evidence(prediction: Prediction, evidence: Evidence, out: TextIO) -> None:
    """The closest look, and what each look adds to the score of each likely label."""
    if evidence.closest_box is not None:
        out.write(f"  the closest look is at {_place(evidence.closest_box)}\n")
    for label in prediction.likely:
        shares = [
            f"{evidence.share(label, scale.scale):+.1f} from scale {scale.scale}"
            for scale in prediction.scales
        ]
        name = label.replace("_", " ")
        text = ", ".join([*shares, f"{evidence.bias[label]:+.1f} from no place"])
        out.write(f"  {name}, log-odds {evidence.logit(label):+.1f}: {text}\n")


def _place(box: Sequence[float]) -> str:
    """A box in whole pixels of the photo."""
    x0, y0, x1, y1 = box
    return f"x {x0:.0f}-{x1:.0f}, y {y0:.0f}-{y1:.0f}"


_WRITERS: dict[str, FormatWriter] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_json_lines,
    "csv": _write_csv,
}
"""The package's own formats."""
