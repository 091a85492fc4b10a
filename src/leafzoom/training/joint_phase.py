"""The joint training that the authors found to fail (§3.3.3): one loss for everything."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.losses import loss_per_photograph, ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.training.attached_scales import attached_scales, summed_loss
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.phases import Backward, share_of_loss

__all__ = ["JointPhase"]


class JointPhase:
    """Eq. 10 as one loss, nothing detached.

    A finer scale's loss reaches the coarser scale's convolutions through the APN (figure 6), and
    the ranking loss lowers the coarser scale's own probability.

    Args:
        racnn: learns as a whole.
        optimizations: of all its parts.
        backward: runs the backward pass.
        margin, labels, reduction: of the ranking loss (see `ranking_loss`).
        loss: of every scale's classifier.
    """

    name = "joint"

    def __init__(
        self,
        racnn: RACNN,
        optimizations: Sequence[Optimization],
        backward: Backward,
        *,
        margin: float,
        labels: Literal["present", "all"],
        reduction: Literal["sum", "mean"],
        loss: ClassifierLoss | None = None,
    ) -> None:
        self.racnn = racnn
        self.optimizations = optimizations
        self.backward = backward
        self.margin = margin
        self.labels = labels
        self.reduction = reduction
        self.loss = loss or ClassifierLoss()

    def begin(self) -> None:
        """Train everything."""
        self.racnn.requires_grad_(True).train()

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step of all optimizers on the sum of all losses."""
        states = attached_scales(self.racnn, images, share)
        classification, logged = summed_loss(states, targets, self.loss)
        total = share * classification

        # The log counts scales from 1.
        for scale, (coarse, fine) in enumerate(pairwise(states), start=1):
            ranking = self._ranking(coarse.logits, fine.logits, targets)
            total = total + share_of_loss(ranking, self.reduction, share)
            mean_ranking = loss_per_photograph(ranking.detach(), self.reduction, len(images))
            logged[f"ranking_loss{scale}{scale + 1}"] = mean_ranking

        self.backward(total)
        for optimization in self.optimizations:
            optimization.step()
        return logged

    def _ranking(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """L_rank of two scales' logits [B, L], with a gradient for both."""
        return ranking_loss(
            coarse,
            fine,
            targets > 0.5,
            margin=self.margin,
            labels=self.labels,
            reduction=self.reduction,
            detach_coarse=False,
            single_label=self.loss.single_label,
        )
