"""Results as a table of Parquet: the columns of `predict --format csv`, the boxes and the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from leafzoom.inference.formats import set_cell
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.model_file.outputs import part_head, scale_head

if TYPE_CHECKING:
    import pyarrow

__all__ = ["answer_schema", "answer_table"]

_EDGES = ("x0", "y0", "x1", "y1")


def answer_schema(
    labels: Sequence[str], looks: Sequence[str], *, possible: bool = False
) -> pyarrow.Schema:
    """The columns, in the order of the CSV; numbers are numbers, and what is missing is null.

    Args:
        labels: the model's.
        looks: the names of its looks' heads, for the boxes in pixels of the upright photo.
        possible: whether there is a column of the possible answers.
    """
    import pyarrow

    text = pyarrow.string()
    number = pyarrow.float64()
    columns = [("photo", text), ("verdict", text), ("labels", text), ("confidence", number)]
    columns += [(label, number) for label in labels]
    columns += [("possible", text)] if possible else []
    columns += [("error", text), ("taken", text), ("latitude", number), ("longitude", number)]
    columns += [("camera", text)]
    for look in looks:
        columns += [(f"box_{look}_{edge}", number) for edge in _EDGES]
    columns += [("model", text), ("model_digest", text)]
    return pyarrow.schema(columns)


def answer_table(
    results: Sequence[Prediction | FailedPhoto], schema: pyarrow.Schema, model_digest: str
) -> pyarrow.Table:
    """A row a result.

    Args:
        results: predictions and failed photos, which have `photo`, `error` and `model_digest`.
        schema: from `answer_schema`.
        model_digest: what the answers depend on besides the photos.
    """
    import pyarrow

    rows = [{**_row(result), "model_digest": model_digest} for result in results]
    return pyarrow.Table.from_pylist(rows, schema)


def _row(result: Prediction | FailedPhoto) -> dict[str, Any]:
    """The cells of a result by column; what the schema does not have is left out by pyarrow."""
    if isinstance(result, FailedPhoto):
        return {"photo": result.photo, "error": _text(result.error)}

    exif = result.exif
    row: dict[str, Any] = {
        "photo": result.photo,
        "verdict": result.verdict,
        "labels": " ".join(result.labels),
        "confidence": result.confidence,
        **result.probabilities,
        "possible": set_cell(result.possible or ()),
        "taken": exif.taken,
        "latitude": exif.latitude,
        "longitude": exif.longitude,
        "camera": None if exif.camera is None else _text(exif.camera),
        "model": result.model,
    }
    for scale in result.scales:
        look = scale_head(scale.scale) if scale.part is None else part_head(scale.part)
        for edge, value in zip(_EDGES, scale.box, strict=True):
            row[f"box_{look}_{edge}"] = value
    return row


def _text(text: str) -> str:
    """Text that Parquet can hold: bytes of a path that are no text are escaped."""
    return text.encode(errors="backslashreplace").decode()
