"""Linear layers on frozen descriptors: as scikit-learn fits them, and judged out of fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.linear_layers import fit_linear_layer, fit_scale_weights
from leafzoom.model.backbone import Backbone
from network_helpers import LABELS, small_racnn


def first_scale() -> Backbone:
    """The first scale of a small RA-CNN."""
    scale = small_racnn().backbones[0]
    assert isinstance(scale, Backbone)
    return scale


def separable(count: int, noise: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Descriptors [count, D] around a centre a label, and targets; the labels take turns."""
    random = np.random.default_rng(0)
    width = first_scale().classifier_layer().in_features
    centres = random.normal(size=(LABELS, width))
    targets = np.eye(LABELS, dtype=np.uint8)[np.arange(count) % LABELS]
    descriptors = targets @ centres + noise * random.normal(size=(count, width)) + 5
    return descriptors.astype(np.float32), targets


def logits_of(scale: Backbone, descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the linear layer makes of descriptors."""
    with torch.no_grad():
        logits: NDArray[np.float32] = scale.classifier_layer()(
            torch.from_numpy(descriptors)
        ).numpy()
    return logits


def test_only_the_linear_layer_changes() -> None:
    scale = first_scale()
    before = {name: tensor.clone() for name, tensor in scale.state_dict().items()}
    fit_linear_layer(scale, *separable(12), seed=0)
    changed = {
        name for name, tensor in scale.state_dict().items() if not torch.equal(tensor, before[name])
    }
    layer = scale.classifier_layer()
    assert changed == {
        f"network.{name}"
        for name, tensor in scale.network.state_dict().items()
        if tensor.data_ptr() in (layer.weight.data_ptr(), layer.bias.data_ptr())
    }


def test_two_photographs_a_label_tell_new_ones_apart() -> None:
    scale = first_scale()
    descriptors, targets = separable(3000)
    fit = fit_linear_layer(scale, descriptors[:6], targets[:6], seed=0)

    new = logits_of(scale, descriptors[6:])
    accuracy = float((new.argmax(axis=1) == targets[6:].argmax(axis=1)).mean())
    assert accuracy > 0.9
    assert fit.out_of_fold.shape == (6, LABELS)


def test_out_of_fold_logits_are_as_right_as_on_new_photographs() -> None:
    """Where nothing can be learned, the layer's own photographs would all be right."""
    scale = first_scale()
    random = np.random.default_rng(1)
    descriptors, targets = separable(60)
    shuffled = targets[random.permutation(60)]
    fit = fit_linear_layer(scale, descriptors, shuffled, seed=0)
    right = fit.out_of_fold.argmax(axis=1) == shuffled.argmax(axis=1)
    assert right.mean() < 0.6


def test_a_label_that_nothing_shows_falls_back_to_its_share() -> None:
    scale = first_scale()
    descriptors = np.ones((20, scale.classifier_layer().in_features), np.float32)
    targets = np.zeros((20, LABELS), np.uint8)
    targets[:5, 0] = 1
    targets[5:, 1] = 1
    fit_linear_layer(scale, descriptors, targets, seed=0)

    probabilities = expit(logits_of(scale, descriptors[:1]))[0]
    np.testing.assert_allclose(probabilities, [6 / 22, 16 / 22, 1 / 22], atol=0.02)


def test_a_scale_that_guesses_loses_its_weight() -> None:
    random = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.uint8)[np.arange(200) % 3]
    good = (targets * 2.0 - 1) * 2 + random.normal(size=targets.shape)
    guess = random.normal(size=targets.shape) * 3
    fit = fit_scale_weights((good, guess), (0.5, 0.5), targets, seed=0)
    assert fit.weights[0] > 0.5
    assert fit.weights[1] < 0.1

    # Four photographs leave both near their shares.
    few = fit_scale_weights((good[:4], guess[:4]), (0.5, 0.5), targets[:4], seed=0)
    assert abs(few.weights[0] - 0.5) < 0.4
    assert few.weights[1] > 0.05


def test_the_fused_logits_are_out_of_fold() -> None:
    random = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.uint8)[np.arange(30) % 3]
    logits = tuple(random.normal(size=targets.shape) for _ in range(3))
    fit = fit_scale_weights(logits, (1 / 3,) * 3, targets, seed=0)
    in_sample = sum(weight * z for weight, z in zip(fit.weights, logits, strict=True))
    assert fit.out_of_fold.shape == targets.shape
    assert not np.allclose(fit.out_of_fold, in_sample)
    np.testing.assert_allclose(fit.out_of_fold, in_sample, atol=1.0)


def test_linear_layers_of_classes_are_a_softmax() -> None:
    """Wrong by no photograph, and without inputs they give the classes' shares."""
    scale = first_scale()
    descriptors, targets = separable(60)
    fit_linear_layer(scale, descriptors, targets, seed=0, single_label=True)
    answers = logits_of(scale, descriptors).argmax(axis=1)
    assert (answers == targets.argmax(axis=1)).all()

    noise = np.random.default_rng(3).normal(size=descriptors.shape).astype(np.float32)
    skewed = np.eye(LABELS, dtype=np.uint8)[[0] * 45 + [1] * 10 + [2] * 5]
    fit = fit_linear_layer(scale, noise, skewed, seed=0, single_label=True)
    probabilities = label_probabilities(fit.out_of_fold, single_label=True)
    assert probabilities.mean(axis=0) == pytest.approx([0.75, 10 / 60, 5 / 60], abs=0.05)


def test_the_scale_that_knows_the_class_counts_most() -> None:
    random = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.uint8)[random.integers(0, 3, 4000)]
    good = 2.0 * targets + random.normal(size=(4000, 3))
    guess = random.normal(size=(4000, 3))
    fit = fit_scale_weights((good, guess), (0.5, 0.5), targets, seed=0, single_label=True)

    # Classes 2 apart with a deviation of 1 have just these log-odds.
    assert fit.weights[0] == pytest.approx(2.0, abs=0.15)
    assert fit.weights[1] < 0.1
