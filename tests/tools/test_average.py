"""Averaged checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from leafzoom.model.pretrained import initial_checkpoint
from leafzoom.model_file.checkpoint import Checkpoint
from tools.average import average

GOLDEN = Path(__file__).parents[1] / "golden" / "model-format-1.safetensors"


def changed(checkpoint: Checkpoint, part: str) -> Checkpoint:
    """A checkpoint with 1 added to all floating-point numbers of a part."""
    tensors = {
        name: tensor + 1 if name.startswith(part) and tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def test_scales_are_averaged_and_fitted_heads_left_out() -> None:
    first = initial_checkpoint(str(GOLDEN))
    averaged = average([first, changed(first, "scale2.")])
    assert {name.split(".")[0] for name in averaged} >= {"scale1", "scale2", "apn1"}
    assert not any(name.startswith(("fusion", "familiarity")) for name in averaged)

    weights = [name for name in averaged if name.endswith("weight")]
    for name in weights:
        shift = 0.5 if name.startswith("scale2.") else 0.0
        torch.testing.assert_close(averaged[name], first.tensors[name] + shift)


def test_runs_of_different_apns_are_refused() -> None:
    first = initial_checkpoint(str(GOLDEN))
    with pytest.raises(ValueError, match=r"apn1\..* differs between the runs"):
        average([first, changed(first, "apn1.")])


def test_runs_have_the_weights_that_are_given() -> None:
    first = initial_checkpoint(str(GOLDEN))
    averaged = average([first, changed(first, "scale1.")], [0.75, 0.25])

    weights = [name for name in averaged if name.endswith("weight")]
    for name in weights:
        shift = 0.25 if name.startswith("scale1.") else 0.0
        torch.testing.assert_close(averaged[name], first.tensors[name] + shift)


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    first = initial_checkpoint(str(GOLDEN))
    with pytest.raises(ValueError, match="2 numbers with a sum of 1"):
        average([first, first], weights)
