"""Every scale's classifier learns from its own loss, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leafzoom.model.backbone import Backbone
from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import View
from leafzoom.training.classifier_phase import ClassifierPhase
from network_helpers import (
    RESIDUAL,
    State,
    changed_parts,
    changed_tensors,
    parts_with_gradients,
    random_batch,
    sgd,
    small_racnn,
    snapshot,
)

LOGGED = {f"{what}_scale{s}" for what in ("loss", "exact_match") for s in (1, 2, 3)}
HALF_BOXES = ("model.zoom_bounds=[0.5, 0.5]", *RESIDUAL)


def without_dropout(racnn: RACNN) -> None:
    """Put the backbones into eval(): a step can then be compared with another pass."""
    for backbone in racnn.backbones:
        backbone.eval()


def test_it_changes_backbones_alone() -> None:
    racnn = small_racnn()
    phase = ClassifierPhase(racnn, sgd(racnn.backbones), torch.Tensor.backward)
    phase.begin()
    before = snapshot(racnn)

    logged = phase.step(*random_batch())

    assert changed_parts(before, racnn) == {"backbones.0", "backbones.1", "backbones.2"}
    assert set(logged) == LOGGED


def test_frozen_scales_stay_as_they_are() -> None:
    racnn = small_racnn()
    before = snapshot(racnn)
    phase = ClassifierPhase(racnn, sgd(racnn.backbones), torch.Tensor.backward, frozen_scales=1)
    phase.begin()

    logged = phase.step(*random_batch())

    assert changed_parts(before, racnn) == {"backbones.1", "backbones.2"}
    assert set(logged) == LOGGED


def test_frozen_stages_stay_as_they_are_and_the_others_learn() -> None:
    racnn = small_racnn()
    for scale in racnn.backbones:
        assert isinstance(scale, Backbone)
        scale.fold_batch_norm()
    phase = ClassifierPhase(racnn, sgd(racnn.backbones), torch.Tensor.backward, frozen_stages=2)
    before = snapshot(racnn)

    phase.begin()
    phase.step(*random_batch())

    frozen = ("network.conv_stem", "network.bn1", "network.blocks.0.", "network.blocks.1.")
    learning = {
        "network.blocks.2.0.conv_pw.weight",
        "network.conv_head.weight",
        "network.classifier.bias",
    }
    changed = changed_tensors(before, racnn)
    for scale_index in range(3):
        prefix = f"backbones.{scale_index}."
        names = {name.removeprefix(prefix) for name in changed if name.startswith(prefix)}
        assert not [name for name in names if name.startswith(frozen)]
        assert learning & names


@pytest.mark.parametrize("surrogate", ["paper", "balanced", "exact"])
@pytest.mark.parametrize("zoom_from", ["view", "source"])
def test_a_scales_loss_reaches_no_other_scale(surrogate: str, zoom_from: str) -> None:
    """Even where every parameter asks for gradients: scale 3's loss reaches it and its APN."""
    racnn = small_racnn(f"model.surrogate={surrogate}", f"model.zoom_from={zoom_from}").train()
    images, targets = random_batch()

    states = racnn(racnn.normalise(images))
    classification_loss(states[2].logits, targets).backward()

    assert parts_with_gradients(racnn) == {"backbones.2", "apns.1"}


def test_a_residual_scales_loss_reaches_no_coarser_scale() -> None:
    racnn = small_racnn(*RESIDUAL).train()
    images, targets = random_batch()

    states = racnn(racnn.normalise(images))
    classification_loss(states[2].logits, targets).backward()

    assert parts_with_gradients(racnn) == {"backbones.2", "apns.1"}


def test_a_backward_pass_per_scale_equals_that_of_the_summed_losses() -> None:
    racnn = small_racnn()
    images, targets = random_batch()
    phase = ClassifierPhase(racnn, sgd(racnn.backbones, rate=1e-12), torch.Tensor.backward)
    phase.begin()
    gradients: State = {}

    def keep_gradients() -> float:
        for name, parameter in racnn.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.clone()
        return 0.0

    phase.optimization.step = keep_gradients  # type: ignore[method-assign]
    state = snapshot(racnn)
    torch.manual_seed(1)
    phase.step(images, targets)

    # The same, all losses in one graph.
    racnn.load_state_dict(state)
    racnn.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    states = racnn(racnn.normalise(images))
    torch.stack([classification_loss(s.logits, targets) for s in states]).sum().backward()

    backbones = {name for name, _ in racnn.named_parameters() if name.startswith("backbones")}
    summed = {name: p.grad for name, p in racnn.named_parameters() if p.grad is not None}
    assert set(gradients) == set(summed) == backbones
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, summed[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [(), RESIDUAL])
def test_every_apn_learns_its_finer_scales_loss_end_to_end(changes: tuple[str, ...]) -> None:
    """One step moves an APN's weights by the gradient of the next scale's loss alone."""
    racnn = small_racnn("model.surrogate=exact", *changes)
    images, targets = random_batch()
    phase = ClassifierPhase(
        racnn,
        sgd(racnn.backbones, rate=1e-9),
        torch.Tensor.backward,
        apn=sgd(racnn.apns, rate=1.0),
    )
    before = snapshot(racnn)
    phase.begin()
    without_dropout(racnn)
    phase.step(images, targets)

    reference = small_racnn("model.surrogate=exact", *changes).eval()
    states = reference(reference.normalise(images))
    for index, state in enumerate(states[1:]):
        weight = reference.apns[index].layers[3].weight  # type: ignore[index]
        loss = classification_loss(state.logits, targets)
        (expected,) = torch.autograd.grad(loss, weight, retain_graph=True)
        assert expected.abs().max() > 0

        name = f"apns.{index}.layers.3.weight"
        step = before[name] - racnn.state_dict()[name]
        torch.testing.assert_close(step, expected, atol=1e-6, rtol=1e-3)


def test_jittered_proposals_are_legal_and_come_from_the_seed() -> None:
    racnn = small_racnn("model.proposals=centre", "warm_up.epochs=0", "alternation.rounds=0")
    phase = ClassifierPhase(racnn, sgd(racnn.backbones), torch.Tensor.backward, box_jitter=2.0)
    proposals = torch.zeros(500, 3)

    torch.manual_seed(3)
    jittered = phase._jitter(proposals)
    torch.manual_seed(3)
    torch.testing.assert_close(phase._jitter(proposals), jittered)
    assert jittered.abs().max() == 1
    assert jittered.std(dim=0).min() > 0.5

    phase.box_jitter = 0.0
    assert phase._jitter(proposals) is proposals


def test_attention_dropping_masks_the_boxes_and_nothing_else() -> None:
    phase = dropping_phase(small_racnn(*HALF_BOXES), probability=1.0)
    size = phase.racnn.input_size
    half = size // 2
    image = torch.rand(2, 3, size, size) + 1
    view = View(image, torch.zeros(2, 3), 1.0)
    left_and_right = torch.tensor([[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])

    masked = phase._mask_boxes(view, left_and_right).image

    expected = image.clone()
    expected[0, :, half:, :half] = 0
    expected[1, :, half:, half:] = 0
    torch.testing.assert_close(masked, expected)


def test_attention_dropping_masks_so_many_boxes() -> None:
    phase = dropping_phase(small_racnn(*HALF_BOXES), probability=0.5)
    size = phase.racnn.input_size
    view = View(torch.ones(200, 3, size, size), torch.zeros(200, 3), 1.0)

    torch.manual_seed(0)
    masked = phase._mask_boxes(view, torch.zeros(200, 3)).image

    with_mask = (masked == 0).flatten(1).any(dim=1)
    assert 70 < int(with_mask.sum()) < 130


def test_attention_dropping_changes_what_coarser_scales_learn() -> None:
    whole_logged, whole_states = first_step(probability=0.0)
    masked_logged, masked_states = first_step(probability=1.0)
    assert whole_logged["loss_scale1"] != masked_logged["loss_scale1"]
    assert whole_logged["loss_scale2"] != masked_logged["loss_scale2"]
    changed = [n for n, tensor in whole_states[1].items() if not masked_states[1][n].equal(tensor)]
    assert changed

    # The last scale has no next box, and its residual logits come from whole views.
    torch.testing.assert_close(whole_logged["loss_scale3"], masked_logged["loss_scale3"])
    for name, tensor in whole_states[2].items():
        torch.testing.assert_close(masked_states[2][name], tensor, msg=name)


def test_attention_dropping_takes_the_step_of_the_masked_views_loss() -> None:
    masked_logged, masked_states = first_step(probability=1.0)

    racnn = small_racnn(*HALF_BOXES).eval()
    images, targets = random_batch()
    with torch.no_grad():
        state = racnn.start(racnn.normalise(images))
        proposals = racnn.propose(state)
    masked = dropping_phase(racnn, probability=1.0)._mask_boxes(state.view, proposals)
    loss = classification_loss(racnn.look(state.sources, masked).logits, targets)
    torch.testing.assert_close(masked_logged["loss_scale1"], loss.detach())

    named = dict(racnn.backbones[0].named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()))
    for (name, weight), gradient in zip(named.items(), gradients, strict=True):
        expected = weight.detach() - 0.1 * gradient
        torch.testing.assert_close(masked_states[0][name], expected, atol=1e-5, rtol=1e-3, msg=name)


def dropping_phase(racnn: RACNN, *, probability: float) -> ClassifierPhase:
    """A classifier phase with attention dropping."""
    return ClassifierPhase(
        racnn, sgd(racnn.backbones), torch.Tensor.backward, attention_dropping=probability
    )


def first_step(*, probability: float) -> tuple[dict[str, Tensor], list[State]]:
    """What the first step logs, and the backbones after it."""
    racnn = small_racnn(*HALF_BOXES)
    phase = dropping_phase(racnn, probability=probability)
    phase.begin()
    without_dropout(racnn)
    logged = phase.step(*random_batch())
    return logged, [snapshot(backbone) for backbone in racnn.backbones]


def test_a_masked_view_keeps_its_box() -> None:
    phase = dropping_phase(small_racnn(*HALF_BOXES), probability=1.0)
    size = phase.racnn.input_size
    view = View(torch.ones(1, 3, size, size), torch.tensor([[1.0, 2.0, 3.0]]), 0.5)
    masked = phase._mask_boxes(view, torch.zeros(1, 3))
    assert masked.boxes is view.boxes
    assert masked.max_share == view.max_share
