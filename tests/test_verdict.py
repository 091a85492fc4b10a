"""When an answer is a diagnosis, when leafzoom is unsure, and what is no leaf."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.inference.export import export_onnx
from leafzoom.inference.formats import summary
from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from leafzoom.inference.predictor import Prediction, Predictor
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.inference.verdict import judge
from leafzoom.labels import Decision, LabelSet
from leafzoom.manifest import Manifest
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.checkpoint import load_checkpoint, network_tensors, save_checkpoint
from leafzoom.model.familiarity import Familiarity
from leafzoom.recipe import load_recipe
from leafzoom.training.familiarity_fit import fit_familiarity
from leafzoom.training.run import train

LABELS = LabelSet(("healthy", "rust", "scab"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)))
DECISION = Decision((0.5, 0.5, 0.5), 1.0, (0.0, 0.0, 0.0, 0.0))
MANIFEST = Manifest(
    labels=LABELS,
    source_size=96,
    input_size=64,
    scales=2,
    decisions={"scale1": DECISION, "scale2": DECISION, "fusion12": DECISION},
    recipe={},
)
SCAB, RUST = [0.02, 0.03, 0.97], [0.02, 0.97, 0.03]


def arrays(
    scale1: list[float], scale2: list[float], fused: list[float], strangeness: float | None = None
) -> NetworkArrays:
    probabilities = {"scale1": scale1, "scale2": scale2, "fusion12": fused}
    return NetworkArrays(
        {head: np.array([row], np.float32) for head, row in probabilities.items()},
        (np.zeros((1, 4), np.float32),) * 2,
        None if strangeness is None else np.array([strangeness], np.float32),
    )


def test_a_sure_answer_that_a_scale_gives_too_is_a_diagnosis() -> None:
    (judgement,) = judge(arrays(RUST, SCAB, SCAB, 0.7), MANIFEST)
    assert judgement.verdict == "diagnosis"
    assert LABELS.decode(judgement.answer) == ["scab"]
    assert judgement.confidence > 0.9
    assert judgement.strangeness == pytest.approx(0.7)
    assert judge(arrays(RUST, SCAB, SCAB), MANIFEST)[0].verdict == "diagnosis"  # a model that cannot tell


def test_unsure_below_an_even_chance() -> None:
    """Rust, scab, and both at once: none of them more likely than the others together."""
    (judgement,) = judge(arrays(SCAB, SCAB, [0.05, 0.5, 0.55]), MANIFEST)
    assert judgement.verdict == "unsure"
    assert judgement.confidence < 0.5
    assert judgement.answer.any()


def test_unsure_where_no_scale_says_what_the_fusion_says() -> None:
    assert judge(arrays(RUST, RUST, SCAB), MANIFEST)[0].verdict == "unsure"


@pytest.mark.parametrize("strangeness", [1.01, 40.0, float("inf"), float("nan")])
def test_what_is_strange_is_no_leaf_however_sure_the_labels(strangeness: float) -> None:
    assert judge(arrays(SCAB, SCAB, SCAB, strangeness), MANIFEST)[0].verdict == "not_a_leaf"


def test_a_changed_threshold_moves_the_scales_too() -> None:
    """Else an answer that the user asked for would be one that no scale supports."""
    said = arrays([0.01, 0.45, 0.3], [0.01, 0.4, 0.3], [0.01, 0.4, 0.3])
    low = {head: replace(DECISION, thresholds=(0.5, 0.02, 0.9)) for head in MANIFEST.decisions}
    (judgement,) = judge(said, MANIFEST, low)
    assert (judgement.verdict, LABELS.decode(judgement.answer)) == ("diagnosis", ["rust"])


def test_what_people_read() -> None:
    said = {"verdict": "unsure", "likely": ["rust", "scab"], "confidence": 0.41}
    assert summary(said) == "unsure; perhaps rust + scab (41%)"
    assert "not a sharp picture" in summary({**said, "verdict": "not_a_leaf"})
    assert summary({**said, "verdict": "diagnosis"}) == "rust + scab (41% sure)"


# What is familiar.


def descriptors(count: int, seed: int) -> np.ndarray:
    """Leaves: 5 directions of 60 in which they differ; the second scale's numbers are a hundred times as large."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(60, 60)))[0]
    spread = np.array([3.0] * 5 + [0.1] * 55)
    rows = (random.normal(size=(count, 60)) * spread) @ basis + 2
    return (rows * np.repeat([1.0, 100.0], 30)).astype(np.float32)


def test_leaves_are_familiar_and_other_things_strange() -> None:
    familiarity = fit_familiarity(descriptors(600, 0), 2, seed=0)
    assert familiarity is not None
    fresh = familiarity(torch.from_numpy(descriptors(2000, 1))).numpy()
    assert 0.0 < (fresh > 1).mean() < 0.03
    moved = descriptors(200, 2)
    moved[:, 7] += 3  # small against how leaves vary, but not in a way in which they do
    assert (familiarity(torch.from_numpy(moved)).numpy() > 1).mean() > 0.9


def test_strangeness_is_the_mahalanobis_distance_where_all_directions_have_a_variance() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4)).astype(np.float32) @ np.diag([1, 2, 0.5, 1]).astype(np.float32)
    familiarity = fit_familiarity(x, 2, seed=0)
    assert familiarity is not None
    said = familiarity(torch.from_numpy(x)).numpy()
    centred = x - x.mean(axis=0)
    wanted = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(centred.T @ centred / len(x)), centred)
    assert np.corrcoef(said, wanted)[0, 1] > 0.99  # the last of the four directions is "the rest"


def test_few_photographs_tell_nothing() -> None:
    assert fit_familiarity(descriptors(19, 0), 2, seed=0) is None
    constant = fit_familiarity(np.ones((40, 8), np.float32), 2, seed=0)
    assert constant is not None
    assert np.isfinite(constant(torch.ones(1, 8)).numpy()).all()


def test_a_model_file_tells_what_its_network_tells(cache: Cache, split: Split, tmp_path: Path) -> None:
    quick = ["fine_tuning.epochs=1", "warm_up.epochs=0", "alternation.rounds=0", "alternation.classifier_epochs=0"]
    train(cache, split, load_recipe("default", [*TINY, *quick]), tmp_path / "run", say=lambda _: None)
    checkpoint = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert TorchNetwork(checkpoint)(cache.sources[:3]).strangeness is None  # six photographs selected: too few
    network = network_from_checkpoint(checkpoint)
    with torch.no_grad():
        outputs = network.racnn(
            network.racnn.normalise(torch.from_numpy(np.array(cache.sources[:40])).permute(0, 3, 1, 2) / 255)
        )
        seen = torch.cat([output.descriptor for output in outputs], dim=1).numpy()
    network.familiarity = fit_familiarity(seen, network.racnn.scales, seed=0)
    assert isinstance(network.familiarity, Familiarity)
    save_checkpoint(tmp_path / "told.safetensors", network_tensors(network), checkpoint.manifest)
    told = load_checkpoint(tmp_path / "told.safetensors")
    found = export_onnx(told, tmp_path / "told.onnx", cache.sources[:16])
    assert found.strangeness < 1e-3
    noise = np.random.default_rng(0).integers(0, 256, (16, 96, 96, 3), dtype=np.uint8)
    by_onnx, by_torch = OnnxNetwork(tmp_path / "told.onnx")(noise).strangeness, TorchNetwork(told)(noise).strangeness
    assert by_onnx is not None
    assert by_onnx == pytest.approx(by_torch, rel=1e-3)
    assert (by_onnx > 1).all()
    prediction = Predictor(OnnxNetwork(tmp_path / "told.onnx"))(noise[0])
    assert isinstance(prediction, Prediction)
    assert (prediction.verdict, prediction.labels) == ("not_a_leaf", ())
    assert prediction.to_dict()["strangeness"] > 1
