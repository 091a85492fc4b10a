"""leafzoom finds diseases on apple leaves by looking closer (a recurrent attention CNN).

import leafzoom

model = leafzoom.load()

diagnosis = model.predict("leaf.jpg")
print(diagnosis.verdict, diagnosis.labels, diagnosis.confidence)
diagnosis.save("diagnosis.png")

for result in model.predict_many("orchard/"):
    print(result.to_dict())

table = leafzoom.Results(model.predict_many("orchard/")).to_pandas()
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafzoom.inference.predictor import Predictor
    from leafzoom.inference.results import Results

# ONNX Runtime from 1.31 on starts a telemetry client when it is imported. Nothing here phones home;
# whoever wants it can set the variable to 0 before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A download by timm (weights = "timm") otherwise also tells the hub this machine's versions.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0.dev0"

__all__ = ["Results", "__version__", "load"]


def load(
    model: str | PathLike[str] | None = None,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    thresholds: Mapping[str, float] | None = None,
    device: str = "auto",
) -> Predictor:
    """A model that diagnoses photos, with `predict` for one and `predict_many` for a folder.

    Calling the model is the same as calling `predict`.

    Args:
        model: `bundled` (the one in the package), a run's folder, an `.onnx` or a `.safetensors`
            file, or an address on a hub (`hf://OWNER/NAME@REVISION`); by default the one that the
            environment variable LEAFZOOM_MODEL names, or else the bundled one.
        batch_size: photos in one pass of the network.
        workers: threads that decode photos; by default chosen from the machine.
        thresholds: {label: 0..1}, in place of the fitted ones.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `coreml` or `openvino`.

    Raises:
        ModelError: there is no such model, or it cannot be read.
        UsageError: a threshold of a label that the model does not have, or outside 0..1; an address
            without a revision or a digest.
        MissingExtraError: a `.safetensors` checkpoint without PyTorch, or an address without the
            hub's client.
        DeviceError: the device is missing; it is never replaced by another.

    Examples:
        >>> import numpy as np
        >>> model = load()
        >>> grey = np.full((300, 400, 3), 128, np.uint8)
        >>> model.predict(grey).verdict
        'not_a_leaf'
        >>> [result.photo for result in model.predict_many([grey, grey])]
        ['photo 1', 'photo 2']
    """
    from leafzoom.inference.loading import open_network
    from leafzoom.inference.predictor import Predictor
    from leafzoom.model_file.paths import default_model

    network = open_network(default_model() if model is None else str(model), device=device)
    return Predictor(network, batch_size=batch_size, workers=workers, thresholds=thresholds)


def __getattr__(name: str) -> Any:
    """`Results`, imported when it is first used, so that the command line starts at once."""
    if name != "Results":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    from leafzoom.inference.results import Results

    return Results
