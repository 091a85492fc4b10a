"""The authors' first training, which failed (§3.3.3): shared losses, and nothing detached.

All classifiers share one loss and optimizer, and both attention proposal networks (APNs) another
one. A finer scale's loss reaches the coarser scales through the crop (figure 6).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor

from leafzoom.fitting.optimization import Optimization, freeze
from leafzoom.model.losses import loss_per_photograph, ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.training.attached_scales import attached_scales, summed_loss
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.phases import Backward, share_of_loss, train_apns_alone

__all__ = ["SharedApnPhase", "SharedClassifierPhase"]


class SharedClassifierPhase:
    """All classifiers learn from the sum of their losses; the APNs stay frozen.

    Scale 3's loss changes the convolutions of scales 1 and 2 too: through the crop, the frozen APN,
    and the map that it reads.

    Args:
        racnn: whose backbones learn.
        optimization: of all backbones.
        backward: runs the backward pass.
        loss: of every scale's classifier.
    """

    name = "classifier"

    def __init__(
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        loss: ClassifierLoss | None = None,
    ) -> None:
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward
        self.loss = loss or ClassifierLoss()

    def begin(self) -> None:
        """Train the backbones alone."""
        freeze([self.racnn])
        self.racnn.backbones.requires_grad_(True).train()

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the sum of all scales' classification losses."""
        states = attached_scales(self.racnn, images, share)
        total, logged = summed_loss(states, targets, self.loss)
        self.backward(share * total)
        self.optimization.step()
        return logged


class SharedApnPhase:
    """Both APNs learn from the sum of the ranking losses; the backbones stay frozen, in eval().

    The loss of scales 2 and 3 reaches the first APN too, through scale 2's box; and there it can
    be lowered by a worse box, which makes scale 2 less sure.

    Args:
        racnn: whose APNs learn.
        optimization: of all APNs.
        backward: runs the backward pass.
        margin, labels, reduction, single_label: of the ranking loss (see `ranking_loss`).
    """

    name = "apn"

    def __init__(
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        margin: float,
        labels: Literal["present", "all"],
        reduction: Literal["sum", "mean"],
        single_label: bool = False,
    ) -> None:
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward
        self.margin = margin
        self.labels = labels
        self.reduction = reduction
        self.single_label = single_label

    def begin(self) -> None:
        """Train the APNs alone."""
        train_apns_alone(self.racnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the sum of the ranking losses of all pairs of neighbouring scales."""
        states = attached_scales(self.racnn, images, share)
        total = images.new_zeros(())
        logged = {}
        for scale, (coarse, fine) in enumerate(pairwise(states), start=1):
            loss = ranking_loss(
                coarse.logits,
                fine.logits,
                targets > 0.5,
                margin=self.margin,
                labels=self.labels,
                reduction=self.reduction,
                detach_coarse=False,
                single_label=self.single_label,
            )
            total = total + loss
            mean_loss = loss_per_photograph(loss.detach(), self.reduction, len(images))
            logged[f"ranking_loss{scale}{scale + 1}"] = mean_loss

        self.backward(share_of_loss(total, self.reduction, share))
        self.optimization.step()
        return logged
