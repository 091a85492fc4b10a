"""leafzoom finds diseases on apple leaves by looking closer (a recurrent attention CNN).

import leafzoom

model = leafzoom.load()
diagnosis = model("leaf.jpg")
print(diagnosis.labels, diagnosis.confidence)
diagnosis.save("diagnosis.png")
for diagnosis in model("orchard/"):
    ...
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leafzoom.inference.predictor import Predictor

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(
    model: str | PathLike[str] = "bundled",
    *,
    batch_size: int = 16,
    workers: int | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Predictor:
    """A model that diagnoses photos: a callable on a photo, a folder or an iterable of photos (see `Predictor`).

    Args:
        model: `bundled` (the one in the package), a run's folder, an `.onnx` or a `.safetensors` file.
        batch_size: photos that the network is given together.
        workers: threads that decode photos; by default chosen from the machine.
        thresholds: of labels, {label: 0..1}, in place of the fitted ones.

    Raises:
        ModelError: there is no such model, or it cannot be read.
        UsageError: a threshold of no label of the model, or outside 0..1.
        MissingExtraError: a `.safetensors` checkpoint, without PyTorch.
    """
    from leafzoom.inference.model_file import open_network
    from leafzoom.inference.predictor import Predictor

    return Predictor(open_network(str(model)), batch_size=batch_size, workers=workers, thresholds=thresholds)
