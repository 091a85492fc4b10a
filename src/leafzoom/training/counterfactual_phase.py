"""The phase of CAL (Rao et al. 2021): whole, crop and dropped view, each with its effect."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_crop import whole_box
from leafzoom.model.cal import CAL, attention_boxes
from leafzoom.model.centre_loss import centre_loss, expected_centres, moved_centres
from leafzoom.model.view import View
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import MixedBatch, Mixing
from leafzoom.training.phases import Backward, exact_match

__all__ = ["CounterfactualPhase", "drop_attended", "random_maps"]

_VIEWS = 3  # whole, crop, dropped
_ROOT_EPSILON = 1e-6


class CounterfactualPhase:
    """Backbone, attention and classifier learn from three views of every photograph.

    The views are the whole, the box around a random attention map (attention cropping), and the
    whole without what another random map attends to (attention dropping). The loss is the mean over
    the views of the label loss on the logits and on the effect, and the centre loss of the whole:
    the weights of the published code. Every view has a backward pass of its own, whose gradients
    add up; so one view's graph is in memory at a time.

    Args:
        cal: learns, apart from the backbone's unused linear layer.
        optimization: of all that learns.
        backward: runs the backward pass.
        effect_weight: of the label loss on the effect.
        centre_weight, centre_rate: of the centre loss, and the centres' step.
        crop_threshold, crop_padding: of the crop, see `attention_boxes`; the share is drawn for
            each photograph.
        drop_threshold: of the dropped view, see `drop_attended`.
        frozen_stages: how many stages of the backbone, from the first, stay frozen with the stem.
        loss: of labels.
        mixing: of the batches; none by default.
    """

    name = "classifier"

    def __init__(  # noqa: PLR0913, a recipe's values one by one
        self,
        cal: CAL,
        optimization: Optimization,
        backward: Backward,
        *,
        effect_weight: float,
        centre_weight: float,
        centre_rate: float,
        crop_threshold: tuple[float, float],
        crop_padding: float,
        drop_threshold: tuple[float, float],
        frozen_stages: int = 0,
        loss: ClassifierLoss | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.cal = cal
        self.optimization = optimization
        self.backward = backward
        self.effect_weight = effect_weight
        self.centre_weight = centre_weight
        self.centre_rate = centre_rate
        self.crop_threshold = crop_threshold
        self.crop_padding = crop_padding
        self.drop_threshold = drop_threshold
        self.frozen_stages = frozen_stages
        self.loss = loss or ClassifierLoss()
        self.mixing = mixing

    def begin(self) -> None:
        """Train everything but the frozen stages and the unused linear layer."""
        self.cal.requires_grad_(True).train()
        self.cal.backbone.classifier_layer().requires_grad_(False)
        self.cal.backbone.freeze_stages(self.frozen_stages)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the losses of all views."""
        cal = self.cal
        batch = self.mixing(images) if self.mixing else MixedBatch(images)
        sources = cal.normalise(batch.images)
        whole = whole_box(len(images), images.shape[-1], like=images)

        # The whole, whose attention makes the other views.
        view = cal.whole_view(sources)
        last_map = cal.backbone(view.image).last_map
        attended = cal.attend(last_map)
        effect = cal.effect(last_map, attended)
        expected = expected_centres(cal.centres, targets)
        centring = centre_loss(attended.pooled, expected)
        logged = {"centre_loss": centring.detach()}
        shared = batch.share_in(whole)
        loss = self._view_loss("scale1", attended.logits, effect, targets, shared, logged)
        self.backward(share * (loss + self.centre_weight * centring))

        # What it leaves behind has no graph.
        attention = attended.attention.detach().to(cal.mean.dtype)
        with torch.no_grad():
            pooled = attended.pooled.detach()
            moved = moved_centres(cal.centres, pooled, expected, targets, self.centre_rate)
            cal.centres.copy_(moved)
            crop_map, drop_map = random_maps(attention).unbind(dim=1)

            threshold = _uniform(self.crop_threshold, like=crop_map)
            boxes = attention_boxes(crop_map, threshold, self.crop_padding) * images.shape[-1]
            crop = cal.crop(sources, boxes)
            dropped = drop_attended(view, drop_map, _uniform(self.drop_threshold, like=drop_map))

        for head, other, its_boxes in (("scale2", crop, boxes), ("dropped", dropped, whole)):
            last_map = cal.backbone(other.image).last_map
            attended = cal.attend(last_map)
            effect = cal.effect(last_map, attended)
            shared = batch.share_in(its_boxes)
            loss = self._view_loss(head, attended.logits, effect, targets, shared, logged)
            self.backward(share * loss)

        self.optimization.step()
        return logged

    def _view_loss(
        self,
        head: str,
        logits: Tensor,
        effect: Tensor,
        targets: Tensor,
        partner_share: Tensor | None,
        logged: dict[str, Tensor],
    ) -> Tensor:
        """A view's share of the loss; its parts go into `logged`."""
        label_loss = self.loss(logits, targets, partner_share)
        effect_loss = self.loss(effect, targets, partner_share)
        logged[f"loss_{head}"] = label_loss.detach()
        logged[f"effect_loss_{head}"] = effect_loss.detach()
        logged[f"exact_match_{head}"] = exact_match(
            logits, targets, single_label=self.loss.single_label
        )
        return (label_loss + self.effect_weight * effect_loss) / _VIEWS


def random_maps(attention: Tensor, count: int = 2) -> Tensor:
    """Some maps of each photograph, drawn with probabilities like the root of their sums.

    Args:
        attention: [B, M, H, W], not negative.
        count: how many to draw, with replacement.

    Returns:
        [B, count, H, W].
    """
    weights = torch.sqrt(attention.sum(dim=(2, 3)) + _ROOT_EPSILON)
    chosen = torch.multinomial(weights, count, replacement=True)
    return attention[torch.arange(len(attention), device=attention.device)[:, None], chosen]


def drop_attended(view: View, maps: Tensor, threshold: Tensor) -> View:
    """A view whose pixels are masked where attention is at least a share of its maximum.

    Args:
        view: of B photographs, normalised, so that the channels' mean colour is 0.
        maps: [B, H, W], not negative; a map of zeros masks nothing.
        threshold: [B].
    """
    size = view.image.shape[-2:]
    enlarged = torch.nn.functional.interpolate(
        maps[:, None], size, mode="bilinear", align_corners=False
    )
    level = (maps.amax(dim=(1, 2)) * threshold)[:, None, None, None]
    mask = (enlarged >= level) & (level > 0)
    return replace(view, image=view.image.masked_fill(mask, 0.0))


def _uniform(bounds: tuple[float, float], *, like: Tensor) -> Tensor:
    """A random number between two bounds for each photograph, [B]."""
    low, high = bounds
    return low + (high - low) * torch.rand(len(like), dtype=like.dtype, device=like.device)
