"""Mixed batches: their pixels, the shares in boxes, and what the scales learn from them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from leafzoom.errors import RecipeError
from leafzoom.model.attention_crop import whole_box
from leafzoom.model.backbone import Backbone
from leafzoom.model.losses import classification_loss
from leafzoom.recipe import load_recipe
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.mixing import Mixing
from leafzoom.training.phases import FineTuningPhase
from network_helpers import random_batch, sgd, small_racnn

SIDE = 96


def whole_share(batch_images: Tensor, mixing: Mixing) -> tuple[Tensor, Tensor]:
    """A batch mixed, and the share of the other photograph in each whole image."""
    batch = mixing(batch_images)
    share = batch.share_in(whole_box(len(batch_images), SIDE, like=batch_images))
    assert share is not None
    return batch.images, share


def test_mixup_is_the_mean_in_those_shares() -> None:
    images, _ = random_batch()
    torch.manual_seed(3)
    mixed, share = whole_share(images, Mixing(1.0, "mixup", 1.0))

    weight = share[0].item()
    assert 0 < weight < 1
    assert torch.allclose(mixed, (1 - weight) * images + weight * images.roll(1, dims=0))


def test_cutmix_shares_are_counted_in_boxes() -> None:
    images, _ = random_batch()
    torch.manual_seed(3)
    batch = Mixing(1.0, "cutmix", 1.0)(images)
    from_partner = (batch.images != images).any(dim=1)
    assert torch.equal(
        batch.images,
        torch.where(from_partner[:, None], images.roll(1, dims=0), images),
    )

    # Whole photographs, and boxes at the border and inside, pixel by pixel.
    boxes = torch.tensor([[48.0, 48, 48], [30, 40, 20], [80, 20, 8], [48, 70, 26], [9, 9, 9]])
    shares = batch.share_in(boxes)
    assert shares is not None
    for box, share in zip(boxes.int().tolist(), shares.tolist(), strict=True):
        x, y, half = box
        inside = from_partner[0, y - half : y + half, x - half : x + half]
        assert share == pytest.approx(inside.float().mean().item())
    assert len(set(shares.tolist())) > 2


def test_few_batches_are_mixed_and_all_draws_come_from_the_global_generator() -> None:
    images, _ = random_batch()
    mixing = Mixing(0.3, "cutmix", 1.0)
    torch.manual_seed(0)
    first = [mixing(images) for _ in range(200)]
    torch.manual_seed(0)
    second = [mixing(images) for _ in range(200)]

    count = sum(batch.rectangle is not None for batch in first)
    assert 35 < count < 85
    assert [batch.rectangle for batch in first] == [batch.rectangle for batch in second]
    untouched = next(batch for batch in first if batch.rectangle is None)
    assert untouched.images is images
    assert untouched.share_in(whole_box(6, SIDE, like=images)) is None


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_every_scale_learns_targets_that_follow_its_box(
    method: Literal["mixup", "cutmix"],
) -> None:
    images, targets = random_batch()
    racnn = small_racnn("model.drop_rate=0")
    mixing = Mixing(1.0, method, 1.0)
    phase = ClassifierPhase(racnn, sgd(racnn.backbones), torch.Tensor.backward, mixing=mixing)
    phase.begin()
    torch.manual_seed(5)
    logged = phase.step(images, targets)

    # The same step by hand, on the same weights.
    reference = small_racnn("model.drop_rate=0").train()
    torch.manual_seed(5)
    batch = mixing(images)
    with torch.no_grad():
        states = reference(reference.normalise(batch.images))
    shares = []
    for state in states:
        share = batch.share_in(state.boxes)
        assert share is not None
        shares.append(share)
        own = targets.float()
        mixed = (1 - share[:, None]) * own + share[:, None] * own.roll(1, dims=0)
        expected = classification_loss(state.logits, mixed).item()
        assert logged[f"loss_scale{state.scale + 1}"].item() == pytest.approx(expected, rel=1e-4)

    # A zoom holds another share of CutMix's rectangle than the whole photograph.
    assert torch.allclose(shares[0], shares[1]) == (method == "mixup")


def test_fine_tuning_learns_mixed_targets() -> None:
    images, targets = random_batch()
    racnn = small_racnn("model.drop_rate=0")
    backbone = racnn.backbones[0]
    assert isinstance(backbone, Backbone)
    mixing = Mixing(1.0, "cutmix", 1.0)
    torch.manual_seed(5)
    mixed_images, share = whole_share(images, mixing)
    own = targets.float()
    mixed = own + share[:, None] * (own.roll(1, dims=0) - own)
    with torch.no_grad():
        view = racnn.whole_view(racnn.normalise(mixed_images))
        expected = classification_loss(backbone.train()(view.image).logits, mixed)

    phase = FineTuningPhase(racnn, backbone, sgd([backbone]), torch.Tensor.backward, mixing=mixing)
    phase.begin()
    torch.manual_seed(5)
    logged = phase.step(images, targets)
    assert logged["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_joint_training_has_no_mixed_batches() -> None:
    changes = [
        "augmentation.mix=0.5",
        "alternation.objective=joint",
        "alternation.frozen_stages=0",
        "alternation.attention_dropping=0",
    ]
    with pytest.raises(RecipeError, match=r"augmentation\.mix gives targets that .*joint"):
        load_recipe("default", changes)
