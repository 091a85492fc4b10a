"""The out-of-distribution score of a checkpoint, its export, and a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint

NOISE = np.random.default_rng(0).integers(0, 256, (16, 96, 96, 3), dtype=np.uint8)


def test_too_few_validation_photographs_give_no_score(trained: Path, cache: Cache) -> None:
    network = TorchNetwork(load_checkpoint(trained / "model.safetensors"))

    assert network(cache.sources[:3]).ood_score is None


def test_an_exports_score_is_its_checkpoints(early_exit_run: Path) -> None:
    exported = OnnxNetwork(early_exit_run / "model.onnx")(NOISE).ood_score
    checkpoint = TorchNetwork(load_checkpoint(early_exit_run / "model.safetensors"))(
        NOISE
    ).ood_score

    assert exported is not None
    assert exported == pytest.approx(checkpoint, rel=1e-3)
    assert (exported > 1).all()


def test_noise_is_no_leaf(early_exit_run: Path) -> None:
    predictor = Predictor(OnnxNetwork(early_exit_run / "model.onnx"))

    prediction = predictor.predict(NOISE[0])

    assert prediction.verdict == "not_a_leaf"
    assert prediction.labels == ()
    assert prediction.to_dict()["strangeness"] > 1
