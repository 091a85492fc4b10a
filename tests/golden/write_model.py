"""Writes model-format-1.*, the model files that every later leafzoom has to open: python tests/golden/write_model.py

To be run when the format's number is raised, and then under the new number: what is there stays as it was written.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability"))

import numpy as np
import torch
from small import SMALL

from leafzoom.dataset.cache import build_cache
from leafzoom.dataset.split import training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.inference.export import export_onnx
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import decide
from leafzoom.manifest import FORMAT_VERSION
from leafzoom.model.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train

if __name__ == "__main__":
    base = Path(__file__).parent / f"model-format-{FORMAT_VERSION}"
    changes = [*SMALL, "model.scales=2", "fine_tuning.optimizer.learning_rate=1e-2", "fine_tuning.epochs=8"]
    changes += ["alternation.classifier.learning_rate=2e-2", "alternation.classifier_epochs=4"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = build_cache(read_table(write_leaves(folder / "leaves", 48, size=64, seed=0)), folder / "cache", 64)
        run = folder / "golden"
        train(cache, training_split(cache, "inner-train"), load_recipe("default", changes), run)
        stored = load_checkpoint(run / "model.safetensors").in_half_precision()
        few = {name: t for name, t in stored.tensors.items() if not name.startswith("backbone.")}
        decisions = {head: d for head, d in stored.manifest.decisions.items() if head != "backbone"}
        golden = replace(stored, tensors=few, manifest=replace(stored.manifest, decisions=decisions))
        save_checkpoint(base.with_suffix(".safetensors"), few, golden.manifest, torch.float16)
        export_onnx(golden, base.with_suffix(".onnx"), np.asarray(cache.sources[:16]))
    sources = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    found = OnnxNetwork(base.with_suffix(".onnx"))(sources)
    manifest = golden.manifest
    fused = found.probabilities[manifest.head]
    said = {
        "leafzoom": manifest.leafzoom_version,
        "labels": list(manifest.labels.names),
        "answers": decide(fused, manifest.decisions[manifest.head], manifest.labels).tolist(),
        "probabilities": {head: np.round(p.astype(float), 6).tolist() for head, p in found.probabilities.items()},
        "boxes": [np.round(boxes.astype(float), 3).tolist() for boxes in found.boxes],
    }
    base.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n")
