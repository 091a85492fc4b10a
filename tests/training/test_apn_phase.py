"""APN phases train the APNs alone, each from the loss of its own two scales."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN
from leafzoom.training.apn_phase import ApnPhase, FinerLoss, RankingLoss
from leafzoom.training.expected_loss import ExpectedLossPhase
from leafzoom.training.joint_phase import JointPhase
from leafzoom.training.phases import Phase
from leafzoom.training.shared_phases import SharedApnPhase
from network_helpers import RESIDUAL, changed_parts, random_batch, sgd, small_racnn, snapshot


def ranking_phase(racnn: RACNN) -> ApnPhase:
    """A phase on the ranking loss."""
    ranking = RankingLoss(margin=1.0, labels="present", reduction="mean")
    return ApnPhase(racnn, sgd(racnn.apns), torch.Tensor.backward, ranking)


@pytest.mark.parametrize("surrogate", ["paper", "balanced", "exact"])
def test_no_backbone_parameter_or_buffer_changes(surrogate: str) -> None:
    racnn = small_racnn(f"model.surrogate={surrogate}")
    phase = ranking_phase(racnn)
    racnn.train()  # begin() has to undo this
    phase.begin()
    before = snapshot(racnn)

    logged = phase.step(*random_batch())

    assert changed_parts(before, racnn) == {"apns.0", "apns.1"}
    assert set(logged) == {"ranking_loss12", "ranking_loss23"}
    assert all(parameter.grad is None for parameter in racnn.backbones.parameters())


def test_an_apn_learns_from_its_own_pair_alone() -> None:
    """Without the second pair's backward pass, the first APN's step is the same."""
    steps = []
    for scales in (3, 2):
        racnn = small_racnn()
        racnn.apns = racnn.apns[: scales - 1]
        racnn.backbones = racnn.backbones[:scales]
        phase = ranking_phase(racnn)
        phase.begin()
        phase.step(*random_batch())
        steps.append(snapshot(racnn.apns[0]))

    for name, tensor in steps[0].items():
        assert torch.equal(tensor, steps[1][name]), name


def phases_on(racnn: RACNN, reduction: Literal["sum", "mean"]) -> list[Phase]:
    """Every phase that logs a ranking loss, without a step."""
    values = {"margin": 0.5, "labels": "present", "reduction": reduction}
    still = sgd(racnn.apns, rate=1e-9)
    back = torch.Tensor.backward
    return [
        ApnPhase(racnn, still, back, RankingLoss(**values)),  # type: ignore[arg-type]
        SharedApnPhase(racnn, still, back, **values),  # type: ignore[arg-type]
        JointPhase(racnn, [], back, **values),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_ranking_loss_is_logged_as_a_mean_over_photographs(number: int) -> None:
    """Whichever reduction is learned from, so that it compares with the validation's."""
    logged = {}
    for reduction in ("sum", "mean"):
        racnn = small_racnn()
        phase = phases_on(racnn, reduction)[number]  # type: ignore[arg-type]
        phase.begin()
        racnn.eval()
        logged[reduction] = phase.step(*random_batch())

    for name in ("ranking_loss12", "ranking_loss23"):
        assert float(logged["sum"][name]) > 0
        torch.testing.assert_close(logged["sum"][name], logged["mean"][name])


@pytest.mark.parametrize("objective", ["classification", "expected"])
def test_other_objectives_train_the_apns_alone(objective: str) -> None:
    racnn = small_racnn(*RESIDUAL)
    apn = sgd(racnn.apns, rate=1.0)
    phase: Phase = ExpectedLossPhase(racnn, apn, torch.Tensor.backward)
    prefix = "expected_loss"
    if objective == "classification":
        phase = ApnPhase(racnn, apn, torch.Tensor.backward, FinerLoss())
        prefix = "finer_loss"
    phase.begin()
    before = snapshot(racnn)

    images, targets = random_batch()
    for _ in range(2):
        logged = phase.step(images, targets)

    assert changed_parts(before, racnn) == {"apns.0", "apns.1"}
    assert set(logged) == {f"{prefix}12", f"{prefix}23"}
    assert all(torch.isfinite(value) for value in logged.values())


def test_the_classification_objectives_step_is_the_gradient_of_the_finer_loss() -> None:
    racnn = small_racnn(*RESIDUAL)
    phase = ApnPhase(racnn, sgd(racnn.apns, rate=1.0), torch.Tensor.backward, FinerLoss())
    phase.begin()
    before = snapshot(racnn)
    images, targets = random_batch()
    phase.step(images, targets)

    reference = small_racnn(*RESIDUAL).eval()
    states = reference(reference.normalise(images))
    weight = reference.apns[1].layers[1].weight  # type: ignore[index]
    (expected,) = torch.autograd.grad(classification_loss(states[2].logits, targets), weight)

    name = "apns.1.layers.1.weight"
    step = before[name] - racnn.state_dict()[name]
    torch.testing.assert_close(step, expected, atol=1e-6, rtol=1e-3)
