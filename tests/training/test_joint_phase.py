"""The joint training of §3.3.3."""

from __future__ import annotations

import torch

from leafzoom.training.joint_phase import JointPhase
from network_helpers import random_batch, small_racnn


def test_the_loss_reaches_everything() -> None:
    """Figure 6: scale 3's loss reaches scale 1's convolutions, through crop and APN."""
    racnn = small_racnn("model.surrogate=paper")
    phase = JointPhase(
        racnn, [], torch.Tensor.backward, margin=0.05, labels="present", reduction="sum"
    )
    phase.begin()

    phase.step(*random_batch())

    without = [name for name, p in racnn.named_parameters() if p.grad is None]
    assert not without
