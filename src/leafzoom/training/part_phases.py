"""The phases of an MA-CNN (Zheng et al. 2017): its channel grouping and its classifiers in turn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leafzoom.fitting.optimization import Optimization, freeze
from leafzoom.model.attention_crop import whole_box
from leafzoom.model.grouping_loss import GroupingLoss
from leafzoom.model.macnn import MACNN
from leafzoom.model.view import ScaleState
from leafzoom.model_file.outputs import look_heads
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import MixedBatch, Mixing
from leafzoom.training.phases import Backward, exact_match

__all__ = ["GroupingPhase", "GroupingStartPhase", "PartClassifierPhase"]


class GroupingStartPhase:
    """The channel grouping learns the clusters of channels; the convolutions stay frozen.

    Args:
        macnn: whose grouping learns its `clusters`.
        optimization: of the grouping.
        backward: runs the backward pass.
    """

    name = "grouping"

    def __init__(self, macnn: MACNN, optimization: Optimization, backward: Backward) -> None:
        self.macnn = macnn
        self.optimization = optimization
        self.backward = backward

    def begin(self) -> None:
        """Train the grouping alone."""
        _train_grouping_alone(self.macnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the squared distance to the clusters' indicators."""
        whole = _frozen_look(self.macnn, images)
        weights = self.macnn.grouping(whole.last_map).float()
        loss = nn.functional.mse_loss(weights, self.macnn.clusters.expand_as(weights))

        self.backward(share * loss)
        self.optimization.step()
        return {"cluster_loss": loss.detach()}


class GroupingPhase:
    """The channel grouping learns compact parts that lie apart; the convolutions stay frozen.

    Args:
        macnn: whose grouping learns.
        optimization: of the grouping.
        backward: runs the backward pass.
        loss: L_cng.
    """

    name = "grouping"

    def __init__(
        self, macnn: MACNN, optimization: Optimization, backward: Backward, loss: GroupingLoss
    ) -> None:
        self.macnn = macnn
        self.optimization = optimization
        self.backward = backward
        self.loss = loss

    def begin(self) -> None:
        """Train the grouping alone."""
        _train_grouping_alone(self.macnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the channel grouping loss."""
        features = _frozen_look(self.macnn, images).last_map
        _, attention = self.macnn.attend(features)
        losses = self.loss(attention)

        self.backward(share * losses["grouping_loss"])
        self.optimization.step()
        return {name: value.detach() for name, value in losses.items()}


class PartClassifierPhase:
    """Convolutions and classifiers learn to classify; the channel grouping stays frozen.

    The loss is the sum over the whole, every part, and the classifier of all descriptors. There is
    one backbone, so there is one backward pass.

    Args:
        macnn: learns, apart from its grouping.
        optimization: of all that learns.
        backward: runs the backward pass.
        frozen_stages: how many stages of the backbone, from the first, stay frozen with the stem.
        loss: of every classifier.
        mixing: of the batches; none by default. A part's targets are mixed as its box is, those of
            the whole and of all together as the photograph is.
    """

    name = "classifier"

    def __init__(
        self,
        macnn: MACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        frozen_stages: int = 0,
        loss: ClassifierLoss | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.macnn = macnn
        self.optimization = optimization
        self.backward = backward
        self.frozen_stages = frozen_stages
        self.loss = loss or ClassifierLoss()
        self.mixing = mixing

    def begin(self) -> None:
        """Train everything but the grouping."""
        self.macnn.requires_grad_(True).train()
        freeze([self.macnn.grouping])
        self.macnn.backbone.freeze_stages(self.frozen_stages)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the sum of all classification losses."""
        macnn = self.macnn
        batch = self.mixing(images) if self.mixing else MixedBatch(images)
        states = macnn(macnn.normalise(batch.images))

        # The whole and every part by itself.
        total = images.new_zeros(())
        logged = {}
        for head, state in zip(look_heads(macnn.scales, "ma-cnn"), states, strict=True):
            loss = self.loss(state.logits, targets, batch.share_in(state.boxes))
            total = total + loss
            logged[f"loss_{head}"] = loss.detach()
            logged[f"exact_match_{head}"] = self._exact_match(state.logits, targets)

        # All descriptors side by side.
        logits = macnn.all_logits(states)
        whole = whole_box(len(images), images.shape[-1], like=images)
        loss = self.loss(logits, targets, batch.share_in(whole))
        total = total + loss
        logged["loss_all"] = loss.detach()
        logged["exact_match_all"] = self._exact_match(logits, targets)

        self.backward(share * total)
        self.optimization.step()
        return logged

    def _exact_match(self, logits: Tensor, targets: Tensor) -> Tensor:
        return exact_match(logits, targets, single_label=self.loss.single_label)


def _train_grouping_alone(macnn: MACNN) -> None:
    """Put the channel grouping into train(), with gradients; everything else stays frozen."""
    freeze([macnn])
    macnn.grouping.requires_grad_(True).train()


@torch.no_grad()
def _frozen_look(macnn: MACNN, images: Tensor) -> ScaleState:
    """The whole of images [B, 3, S, S] in 0..1, without gradients."""
    return macnn.start(macnn.normalise(images))
