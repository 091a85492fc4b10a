"""The APN phase (§3.3.3): every attention proposal network learns from a loss of its two scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.losses import classification_loss, loss_per_photograph, ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.training.phases import (
    Backward,
    share_of_loss,
    share_of_surrogate,
    train_apns_alone,
)

__all__ = ["ApnPhase", "FinerLoss", "PairLoss", "RankingLoss"]


class PairLoss(Protocol):
    """A loss of the scale whose map an APN reads and the scale that is shown the APN's box."""

    @property
    def name(self) -> str:
        """Its name in the log."""

    @property
    def reduction(self) -> Literal["sum", "mean"]:
        """Whether it is the sum or the mean over the batch."""

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits [B, L] of both scales and targets [B, L] in 0..1."""


@dataclass(frozen=True)
class RankingLoss:
    """L_rank of eq. 11: the finer scale has to beat the coarser one (see `ranking_loss`)."""

    margin: float
    labels: Literal["present", "all"]
    reduction: Literal["sum", "mean"]
    single_label: bool = False
    name: str = "ranking_loss"

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch."""
        return ranking_loss(
            coarse,
            fine,
            targets > 0.5,
            margin=self.margin,
            labels=self.labels,
            reduction=self.reduction,
            single_label=self.single_label,
        )


@dataclass(frozen=True)
class FinerLoss:
    """L_cls of the finer scale: it has to be right.

    With `model.residual` this is the loss of what the scales know together, so the APN learns to
    look where the coarser scales err; with `surrogate = "exact"` by that loss's own gradient.
    """

    single_label: bool = False
    name: str = "finer_loss"
    reduction: Literal["sum", "mean"] = "mean"

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch."""
        return classification_loss(fine, targets, single_label=self.single_label)


class ApnPhase:
    """Every APN learns from the loss of its two scales; the backbones stay frozen, in eval()."""

    name = "apn"

    def __init__(
        self, racnn: RACNN, optimization: Optimization, backward: Backward, loss: PairLoss
    ) -> None:
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward
        self.loss = loss

    def begin(self) -> None:
        """Train the APNs alone."""
        train_apns_alone(self.racnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the loss of every pair of neighbouring scales."""
        racnn = self.racnn
        with torch.no_grad():
            coarse = racnn.start(racnn.normalise(images))

        logged = {}
        for zoom in range(len(racnn.apns)):
            proposals = racnn.propose(coarse)
            fine = racnn.advance(coarse, share_of_surrogate(racnn, proposals, share))

            loss = self.loss(coarse.logits, fine.logits, targets)
            self.backward(share_of_loss(loss, self.loss.reduction, share))
            mean_loss = loss_per_photograph(loss.detach(), self.loss.reduction, len(images))
            logged[f"{self.loss.name}{zoom + 1}{zoom + 2}"] = mean_loss

            # The next pair's loss stops here and does not reach this pair's APN.
            coarse = fine.detach()

        self.optimization.step()
        return logged
