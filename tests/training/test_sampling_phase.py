"""The phase of attention sampling: who learns what, and from which loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from leafzoom.model.attention_sampling import AttentionSampling, sample_places, sampled_mean
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import Mixing
from leafzoom.training.sampling_phase import SamplingPhase, attention_entropy
from network_helpers import changed_parts, random_batch, sgd, small_sampling, snapshot


def phase_of(
    network: AttentionSampling,
    *,
    whole_weight: float = 1.0,
    frozen_stages: int = 0,
    mixing: Mixing | None = None,
) -> SamplingPhase:
    """The phase with the published weight of the entropy."""
    return SamplingPhase(
        network,
        sgd([network.backbones, network.attention]),
        Tensor.backward,
        entropy_weight=0.01,
        whole_weight=whole_weight,
        frozen_stages=frozen_stages,
        mixing=mixing,
    )


@pytest.mark.parametrize("method", ["mixup", None])
def test_it_changes_both_backbones_and_the_attention(method: str | None) -> None:
    network = small_sampling()
    phase = phase_of(network, mixing=Mixing(1.0, "mixup", 1.0) if method else None)
    phase.begin()
    before = snapshot(network)
    logged = phase.step(*random_batch())
    changed = changed_parts(before, network)
    assert changed >= {"backbones.0", "backbones.1", "attention.weight"}
    assert all(bool(torch.isfinite(value)) for value in logged.values())


def test_frozen_stages_of_both_stay() -> None:
    network = small_sampling()
    phase = phase_of(network, frozen_stages=2)
    phase.begin()
    stages = [backbone.network.blocks[:2] for backbone in network.backbones]
    before = [snapshot(blocks) for blocks in stages]
    phase.step(*random_batch())
    for blocks, tensors in zip(stages, before, strict=True):
        assert all(torch.equal(value, tensors[name]) for name, value in blocks.state_dict().items())


def test_the_loss_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ("model.drop_rate=0", "patches.number=2")
    network = small_sampling(*changes)
    images, targets = random_batch()
    phase = phase_of(network, whole_weight=0.5)
    phase.begin()
    losses: list[Tensor] = []
    monkeypatch.setattr(phase, "backward", losses.append)
    torch.manual_seed(3)
    logged = phase.step(images, targets)

    reference = small_sampling(*changes).train()
    torch.manual_seed(3)
    whole = reference.start(reference.normalise(images))
    attention = reference.attend(whole.features)
    places = sample_places(attention, 2, at_random=True)
    patches = reference.look_at(whole, attention, places)
    logits = sampled_mean(places.attention, torch.stack([p.logits for p in patches], dim=1))
    entropy = math.log(attention[0].numel())  # all places are equally likely at the start
    expected = ClassifierLoss()(logits, targets) - 0.01 * entropy
    expected = expected + 0.5 * ClassifierLoss()(whole.logits, targets)
    torch.testing.assert_close(losses[0], expected)
    assert logged["entropy"].item() == pytest.approx(entropy, rel=1e-5)


def test_the_attention_learns_where_the_label_is() -> None:
    """Patches of one place alone tell the label: the attention comes to prefer that place."""
    torch.manual_seed(0)
    scores = torch.zeros(9, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    values = torch.zeros(64, 9, 1)
    values[:, 4] = 4.0
    for _ in range(60):
        attention = torch.softmax(scores, dim=0).reshape(1, 3, 3).expand(64, -1, -1)
        places = sample_places(attention, 2, at_random=True)
        drawn = torch.gather(values, 1, places.indices[:, :, None])
        logits = sampled_mean(places.attention, drawn)
        loss = ClassifierLoss()(logits, torch.ones(64, 1)) - 0.01 * attention_entropy(attention)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert scores.argmax() == 4
    assert torch.softmax(scores, dim=0)[4] > 0.5
