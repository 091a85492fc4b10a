"""The inputs and outputs of an exported graph, checked against its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leafzoom.errors import ModelError
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.outputs import (
    FIRST_OOD_SCORE_OUTPUT,
    OOD_SCORE_OUTPUT,
    PROBABILITY_OUTPUT,
    SOURCE_INPUT,
)

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["check_shapes", "has_any_side"]


def has_any_side(shape: Sequence[object]) -> bool:
    """Whether an input's shape has one symbol for height and width.

    >>> has_any_side(["photographs", "side", "side", 3])
    True
    """
    return len(shape) == 4 and isinstance(shape[1], str) and shape[1] == shape[2]


def check_shapes(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    """Check a graph's inputs and outputs against its metadata.

    Args:
        session: of the graph with all its heads.
        manifest: the metadata.
        path: of the file, for errors.

    Raises:
        ModelError: they do not fit.
    """
    # The input: square pictures, of the size that the metadata names where it is fixed.
    inputs = session.get_inputs()
    size = manifest.source_size
    specifications = [(entry.name, entry.type, entry.shape[3:]) for entry in inputs]
    is_fixed = inputs[0].shape[1:3] == [size, size]
    if specifications != [(SOURCE_INPUT, "tensor(uint8)", [3])] or not (
        is_fixed or has_any_side(inputs[0].shape)
    ):
        raise ModelError(
            f"{path} does not read sources uint8 [N, {size}, {size}, 3]: export the model again"
        )

    # Boxes and scores.
    shapes = {entry.name: entry.shape[1:] for entry in session.get_outputs()}
    expected = {name: [4] for name in shapes if name.startswith("box_")}
    expected |= {OOD_SCORE_OUTPUT: [], FIRST_OOD_SCORE_OUTPUT: []}
    wrong = [name for name, shape in expected.items() if shapes.get(name, shape) != shape]
    has_fixed_batch = isinstance(inputs[0].shape[0], int)
    if wrong or has_fixed_batch:
        names = ", ".join(wrong) or "its batch"
        raise ModelError(f"{path}: {names} has another shape than exports have: export again")

    # Probabilities.
    label_count = len(manifest.labels.names)
    for head in manifest.network_heads:
        if shapes[PROBABILITY_OUTPUT.format(head=head)] != [label_count]:
            raise ModelError(
                f"{path} names {label_count} labels, but its head {head} has another number: "
                "export it again"
            )
