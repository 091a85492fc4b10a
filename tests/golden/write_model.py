"""Write model-format-N.*, which later versions have to open: python tests/golden/write_model.py

To be run when the format's number is raised, and then under the new number: older files stay as
they were written. Format 2 is of models with one class a photograph. Takes a minute.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from leafzoom.dataset.cache import build_cache
from leafzoom.dataset.split import training_split
from leafzoom.dataset.synthetic import write_class_folders
from leafzoom.dataset.table import read_table
from leafzoom.inference.export import export_onnx
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import decide
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from leafzoom.model_file.manifest import FORMAT_VERSION
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train
from reliability.small import SMALL

_SIZE_PX = 64
_PHOTOGRAPHS = 48
_COMPARED_PHOTOGRAPHS = 16
_SOURCES = 4

_CHANGES = (
    *SMALL,
    "model.loss=softmax",
    "model.scales=2",
    "fine_tuning.optimizer.learning_rate=1e-2",
    "fine_tuning.epochs=8",
    "alternation.classifier.learning_rate=2e-2",
    "alternation.classifier_epochs=4",
)


def main() -> None:
    """Train a small network and write its model files and their answers."""
    base = Path(__file__).parent / f"model-format-{FORMAT_VERSION}"
    onnx_path = base.with_suffix(".onnx")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaves = write_class_folders(folder / "leaves", _PHOTOGRAPHS, size=_SIZE_PX, seed=0)
        cache = build_cache(read_table(leaves), folder / "cache", _SIZE_PX)
        run = folder / "golden"
        train(cache, training_split(cache, "inner-train"), load_recipe("default", _CHANGES), run)

        checkpoint = without_backbone(load_checkpoint(run / "model.safetensors"))
        checkpoint_path = base.with_suffix(".safetensors")
        save_checkpoint(checkpoint_path, checkpoint.tensors, checkpoint.manifest, torch.float16)
        export_onnx(checkpoint, onnx_path, np.asarray(cache.sources[:_COMPARED_PHOTOGRAPHS]))

    text = json.dumps(expected_outputs(OnnxNetwork(onnx_path)), indent=1)
    base.with_suffix(".json").write_text(text + "\n")


def without_backbone(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint in half precision and without the plain backbone, so that it is small."""
    manifest = checkpoint.manifest
    decisions = {head: manifest.decisions[head] for head in manifest.network_heads}

    rounded = checkpoint.in_half_precision()
    tensors = {
        name: tensor for name, tensor in rounded.tensors.items() if not name.startswith("backbone.")
    }
    return replace(rounded, tensors=tensors, manifest=replace(manifest, decisions=decisions))


def expected_outputs(network: OnnxNetwork) -> dict[str, Any]:
    """What a network answers for sources of noise, as JSON."""
    shape = (_SOURCES, _SIZE_PX, _SIZE_PX, 3)
    arrays = network(np.random.default_rng(0).integers(0, 256, shape, np.uint8))

    manifest = network.manifest
    decision = manifest.decisions[manifest.head]
    answers = decide(arrays.probabilities[manifest.head], decision, manifest.labels)
    return {
        "leafzoom": manifest.leafzoom_version,
        "labels": list(manifest.labels.names),
        "answers": answers.tolist(),
        "probabilities": {
            head: np.round(values.astype(float), 6).tolist()
            for head, values in arrays.probabilities.items()
        },
        "boxes": [np.round(boxes.astype(float), 3).tolist() for boxes in arrays.boxes],
    }


if __name__ == "__main__":
    main()
