"""A training phase: what happens to each batch of an epoch, and who learns from it.

`begin` says what is trained and what stays frozen; `step` takes one optimizer step and returns what
is logged. A phase trains its own modules only: every other parameter and buffer stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from torch import Tensor

from leafzoom.fitting.optimization import Optimization, freeze
from leafzoom.model.attention_crop import resample_whole, whole_box
from leafzoom.model.backbone import Backbone
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.racnn import RACNN
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import MixedBatch, Mixing

__all__ = [
    "Backward",
    "FineTuningPhase",
    "Phase",
    "exact_match",
    "share_of_loss",
    "share_of_surrogate",
    "train_apns_alone",
]

Backward = Callable[[Tensor], None]
"""Runs the backward pass of a loss, in the device's and the precision's way."""


class Phase(Protocol):
    """What an epoch does with each batch."""

    name: str

    def begin(self) -> None:
        """Set what is trained to train(), and what stays still to eval() without gradients."""

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """Learn from one batch.

        Args:
            images: [B, 3, S, S] in 0..1.
            targets: [B, L] in 0..1.
            share: of the whole batch that these photographs are, 0..1. Gradients are scaled so that
                their sum over the processes is the whole batch's gradient.

        Returns:
            Losses and accuracies to log, by name: means over these photographs.
        """


def exact_match(logits: Tensor, targets: Tensor, *, single_label: bool = False) -> Tensor:
    """The share of photographs whose labels are all right at threshold 0.5.

    Of single labels it is top-1 accuracy: the share whose most probable class is right.
    """
    if single_label:
        return (logits.detach().argmax(dim=1) == targets.argmax(dim=1)).float().mean()
    predicted = logits.detach() > 0
    return (predicted == (targets > 0.5)).all(dim=1).float().mean()


def share_of_loss(loss: Tensor, reduction: Literal["sum", "mean"], share: float) -> Tensor:
    """What a loss of some photographs adds to that of the whole batch, of which they are a share.

    >>> [float(share_of_loss(Tensor([6.0]), reduction, 0.25)) for reduction in ("mean", "sum")]
    [1.5, 6.0]
    """
    return loss if reduction == "sum" else share * loss


def share_of_surrogate(racnn: RACNN, proposals: Tensor, share: float) -> Tensor:
    """The same proposals [B, 3], whose surrogate gradient counts as that of a share of the batch.

    Scaled per sample, the surrogate is a mean over the batch that does not depend on the loss's
    scale, so scaling the loss does not reach it.
    """
    does_not_scale = racnn.surrogate != "exact" and racnn.surrogate_scale == "per_sample"
    if share == 1 or not does_not_scale or not proposals.requires_grad:
        return proposals
    shared = proposals.view_as(proposals)
    shared.register_hook(lambda gradient: share * gradient)  # type: ignore[no-untyped-call]
    return shared


def train_apns_alone(racnn: RACNN) -> None:
    """Put the APNs into train(), with gradients; everything else stays frozen, in eval()."""
    freeze([racnn])
    racnn.apns.requires_grad_(True).train()


class FineTuningPhase:
    """The plain backbone learns to classify the whole source, before every scale gets a copy.

    Args:
        network: normalises the sources.
        backbone: learns.
        optimization: of the backbone.
        backward: runs the backward pass.
        input_size: side of the view in pixels; by default the network's.
        loss: of the backbone.
        mixing: of the batches; none by default.
    """

    name = "classifier"

    def __init__(
        self,
        network: AttentionNetwork,
        backbone: Backbone,
        optimization: Optimization,
        backward: Backward,
        *,
        input_size: int | None = None,
        loss: ClassifierLoss | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.network = network
        self.backbone = backbone
        self.optimization = optimization
        self.backward = backward
        self.input_size = input_size or network.input_size
        self.loss = loss or ClassifierLoss()
        self.mixing = mixing

    def begin(self) -> None:
        """Train the plain backbone; the network only normalises the sources."""
        freeze([self.network])
        self.backbone.requires_grad_(True).train()

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the cross-entropy."""
        batch = self.mixing(images) if self.mixing else MixedBatch(images)
        view = resample_whole(self.network.normalise(batch.images), self.input_size)
        logits = self.backbone(view).logits

        whole = whole_box(len(images), images.shape[-1], like=images)
        loss = self.loss(logits, targets, batch.share_in(whole))
        self.backward(share * loss)
        self.optimization.step()
        accuracy = exact_match(logits, targets, single_label=self.loss.single_label)
        return {"loss": loss.detach(), "exact_match": accuracy}
