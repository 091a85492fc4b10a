"""A network with an outlier detector: its checkpoint, its export, its score and its early exit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leafzoom.dataset.sources import sources_to_images
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.fitting.outlier_detector import fit_outlier_detector
from leafzoom.inference.export import export_onnx, parity
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.build import network_from_checkpoint, network_tensors
from leafzoom.model.mirrors import tta_images, tta_mean
from leafzoom.model.ood_detector import outlier_features
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def leaf_sources(early_exit_run: Path) -> np.ndarray:
    size = load_checkpoint(early_exit_run / "model.safetensors").manifest.source_size
    return np.stack([leaf.pixels for leaf in render_leaves(24, size=size, seed=5)])


@pytest.fixture(scope="module")
def with_outliers(
    early_exit_run: Path, leaf_sources: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """The early-exit run's network with a detector that saw noise as other pictures."""
    checkpoint = load_checkpoint(early_exit_run / "model.safetensors")
    network = network_from_checkpoint(checkpoint)
    noise = np.random.default_rng(0).integers(0, 255, leaf_sources.shape).astype(np.uint8)

    def features(sources: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            images = network.racnn.normalise(sources_to_images(torch.from_numpy(sources)))
            state = network.racnn.start(tta_images(images, network.tta))
            return tta_mean(outlier_features(network.racnn, state), network.tta).numpy()

    leaves = features(leaf_sources)
    fit = fit_outlier_detector(leaves, leaves[:0], features(noise), ["noise"] * len(noise), seed=0)
    assert fit is not None
    network.outlier_detector = fit.detector

    path = tmp_path_factory.mktemp("outliers") / "model.safetensors"
    save_checkpoint(path, network_tensors(network), checkpoint.manifest)
    return load_checkpoint(path)


def test_the_score_is_the_greater_one_of_both_detectors(
    early_exit_run: Path, with_outliers: Checkpoint, leaf_sources: np.ndarray
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, leaf_sources.shape).astype(np.uint8)
    density_alone = TorchNetwork(load_checkpoint(early_exit_run / "model.safetensors"))
    both = TorchNetwork(with_outliers)

    for sources in (leaf_sources, noise):
        scores = both(sources).ood_score
        assert scores is not None
        assert (scores >= density_alone(sources).ood_score).all()
    assert (both(noise).ood_score > 1).all()


def test_the_export_computes_it_in_the_same_file(
    with_outliers: Checkpoint, leaf_sources: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(with_outliers, path, leaf_sources)

    exported = OnnxNetwork(path)
    result = parity(TorchNetwork(with_outliers), exported, leaf_sources)
    assert result.ood_score < 0.02
    assert exported.first_look(leaf_sources[:2]) is not None

    # A training, or a later fit, can start from the exported file.
    again = load_checkpoint(path)
    assert "outliers" in again.parts
    assert torch.equal(again.tensors["outliers.weight"], with_outliers.tensors["outliers.weight"])


def test_an_early_exit_sees_the_same_other_pictures(
    with_outliers: Checkpoint, leaf_sources: np.ndarray
) -> None:
    noise = np.random.default_rng(2).integers(0, 255, leaf_sources.shape).astype(np.uint8)

    first = TorchNetwork(with_outliers).first_look(noise)

    assert first is not None
    assert first.ood_score is not None
    assert (first.ood_score > 1).all()


def test_a_model_without_the_detector_still_loads(early_exit_run: Path) -> None:
    checkpoint = load_checkpoint(early_exit_run / "model.safetensors")

    network = network_from_checkpoint(replace(checkpoint))

    assert network.outlier_detector is None
