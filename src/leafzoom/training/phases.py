"""Who trains when: a phase is what happens to a batch during an epoch.

`begin` says what is trained and what stays still, `step` takes one optimizer step and returns what is logged.
A phase trains its own modules only; every other parameter and buffer of the network stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from leafzoom.model.attention_proposal import activation_centres, decode_boxes, encode_boxes, response_maxima
from leafzoom.model.backbone import Backbone
from leafzoom.model.losses import classification_loss, ranking_loss
from leafzoom.model.racnn import RACNN, Glimpse
from leafzoom.training.optimization import Optimization, frozen

__all__ = [
    "ApnPhase",
    "ClassifierPhase",
    "FineTuningPhase",
    "FinerLoss",
    "JointPhase",
    "PairLoss",
    "Phase",
    "RankingLoss",
    "WarmUpPhase",
    "exact_matches",
]

Backward = Callable[[Tensor], None]
"""Runs the backward pass of a loss (the device's and precision's way)."""


class Phase(Protocol):
    """What an epoch does with each batch."""

    name: str

    def begin(self) -> None:
        """Set what is trained to train() and what stays still to eval(), without gradients."""

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Learn from pictures [B, 3, S, S] in 0..1 and targets [B, L] in 0..1; losses and accuracies to log."""


def exact_matches(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of photographs whose labels are all right at threshold 0.5."""
    return ((logits.detach() > 0) == (targets > 0.5)).all(dim=1).float().mean()


class FineTuningPhase:
    """The plain backbone learns to classify the whole source (before it is copied into every scale)."""

    name = "classifier"

    def __init__(self, racnn: RACNN, backbone: Backbone, optimization: Optimization, backward: Backward) -> None:
        self.racnn, self.backbone = racnn, backbone
        self.optimization, self.backward = optimization, backward

    def begin(self) -> None:
        """Train the plain backbone; the RA-CNN only cuts its views."""
        frozen([self.racnn])
        self.backbone.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step on the binary cross-entropy."""
        glimpse = self.racnn.first_glimpse(self.racnn.normalise(pictures))
        look = self.backbone(glimpse.view)
        loss = classification_loss(look.logits, targets)
        self.backward(loss)
        self.optimization.step()
        return {"loss": loss.detach(), "exact_match": exact_matches(look.logits, targets)}


class WarmUpPhase:
    """The APNs learn a place in the view that they read: the largest response of the map (§3.3.2), the centre of the
    class activation maps of the photograph's labels, or the view's centre.

    `size_target`: the size that the boxes learn, from -1 (least) to 1 (greatest), one for all zooms or one for each.
    """

    name = "apn"

    def __init__(
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        target: Literal["response", "activation", "centre"],
        size_target: float | Sequence[float],
    ) -> None:
        self.racnn, self.optimization, self.backward = racnn, optimization, backward
        self.target = target
        self.sizes = [size_target] * len(racnn.apns) if isinstance(size_target, int | float) else list(size_target)
        if len(self.sizes) != len(racnn.apns):
            raise ValueError(f"size_target has {len(self.sizes)} sizes for {len(racnn.apns)} zooms")

    def begin(self) -> None:
        """Train the APNs alone."""
        frozen([self.racnn])
        self.racnn.apns.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step on the smooth L1 distance to the place that is wanted."""
        racnn = self.racnn
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        logged = {}
        for scale in range(len(racnn.apns)):
            with torch.no_grad():
                features, centres = self._wanted(scale, glimpse, targets)
            wanted = encode_boxes(centres, self.sizes[scale], racnn.input_size, racnn.zoom_bounds, racnn.centre_range)
            proposals = racnn.propose(scale, features)
            loss = nn.functional.smooth_l1_loss(proposals, wanted)
            self.backward(loss)
            logged[f"loss_apn{scale + 1}"] = loss.detach()
            if scale + 1 < len(racnn.apns):
                with torch.no_grad():
                    glimpse = racnn.zoom(sources, glimpse, proposals.detach())
        self.optimization.step()
        return logged

    def _wanted(self, scale: int, glimpse: Glimpse, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The map that the APN reads, and the centres [B, 2] that it is to learn."""
        racnn = self.racnn
        if self.target != "activation":
            features = racnn.look(scale, glimpse).features
            if self.target == "centre":
                return features, torch.full_like(glimpse.boxes[:, :2], racnn.input_size / 2)
            return features, response_maxima(features.float(), racnn.input_size)
        backbone = racnn.backbones[scale]
        assert isinstance(backbone, Backbone)
        targets = (targets > 0.5).to(targets.dtype)  # soft labels name no fewer places
        features, activations = backbone.class_activations(glimpse.view)
        return features, activation_centres(activations, targets, racnn.input_size)


class ClassifierPhase:
    """Every scale's classifier learns from its own loss; the APNs stay still.

    Each scale's backward pass runs before the next scale's forward pass, so one graph is in memory. The crops
    are detached: a scale's loss changes no other scale's parameters. The first `held_scales` scales stay still as
    well, and the stem and the first `held_stages` stages of every backbone.

    With `dropping`, so large a share of the photographs is learnt from with the box that the next scale is given
    blotted out of the view (the channels' mean colour); what finer scales are given comes from the whole view, and so
    do the logged exact matches, while the logged losses are those learnt from. Batch norms in train() see both views.

    With `apn`, the optimizer of the APNs, each of them learns from the classification loss of the scale that it
    proposes for, through the crop; its map stays detached, so the coarser scale's backbone does not.
    """

    name = "classifier"

    def __init__(
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        held_scales: int = 0,
        held_stages: int = 0,
        box_jitter: float = 0.0,
        dropping: float = 0.0,
        apn: Optimization | None = None,
    ) -> None:
        self.racnn, self.optimization, self.backward = racnn, optimization, backward
        self.held_scales, self.held_stages = held_scales, held_stages
        self.box_jitter, self.dropping, self.apn = box_jitter, dropping, apn

    def begin(self) -> None:
        """Train the backbones, and the APNs where they learn here."""
        frozen([self.racnn])
        for backbone in list(self.racnn.backbones)[self.held_scales :]:
            assert isinstance(backbone, Backbone)
            backbone.requires_grad_(True).train()
            backbone.hold_stages(self.held_stages)
        if self.apn:
            self.racnn.apns.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step on L_cls of every scale."""
        racnn = self.racnn
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        logged = {}
        logits: Tensor | None = None
        for scale in range(racnn.scales):
            learns = scale >= self.held_scales or (scale > 0 and self.apn is not None)
            drops = scale >= self.held_scales and self.dropping > 0 and scale < len(racnn.apns)
            with torch.set_grad_enabled(learns and not drops):
                look = racnn.look(scale, glimpse)
            coarse, logits = logits, racnn.total_logits(logits, look.logits)
            learnt, seen = logits, glimpse
            if scale < len(racnn.apns):
                with torch.set_grad_enabled(self.apn is not None):
                    proposals = self._moved(racnn.propose(scale, look.features.detach()))
                    parent = Glimpse(glimpse.view.detach(), glimpse.boxes.detach(), glimpse.largest)
                    glimpse = racnn.zoom(sources, parent, proposals)
                if drops:
                    blotted = Glimpse(self._dropped(seen.view, proposals.detach()), seen.boxes, seen.largest)
                    learnt = racnn.total_logits(coarse, racnn.look(scale, blotted).logits)
            loss = classification_loss(learnt, targets)
            if learns:
                self.backward(loss)
            logged[f"loss_scale{scale + 1}"] = loss.detach()
            logged[f"exact_match_scale{scale + 1}"] = exact_matches(logits, targets)
            logits = logits.detach()
            del look, loss, learnt, seen
        self.optimization.step()
        if self.apn:
            self.apn.step()
        return logged

    def _dropped(self, view: Tensor, proposals: Tensor) -> Tensor:
        """Normalised views [B, 3, V, V], in `dropping` of them the boxes of proposals [B, 3] blotted out."""
        racnn = self.racnn
        boxes = decode_boxes(proposals, racnn.input_size, racnn.zoom_bounds, racnn.centre_range)
        pixel = torch.arange(racnn.input_size, device=view.device, dtype=boxes.dtype) + 0.5
        inside = (pixel - boxes[:, :2, None]).abs() <= boxes[:, 2:, None]
        drawn = torch.rand(len(view), 1, 1, device=view.device) < self.dropping
        blot = inside[:, 1, :, None] & inside[:, 0, None, :] & drawn
        return view.masked_fill(blot[:, None], 0.0)

    def _moved(self, proposals: Tensor) -> Tensor:
        """Proposals [B, 3] moved at random by up to `box_jitter`."""
        if not self.box_jitter:
            return proposals
        return (proposals + self.box_jitter * (2 * torch.rand_like(proposals) - 1)).clamp(-1, 1)


class PairLoss(Protocol):
    """What an APN learns from: a loss of the scale that reads its map and the scale that looks into its box."""

    @property
    def name(self) -> str:
        """What it is called in the log."""

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits [B, L] of both scales and targets [B, L] in 0..1."""


@dataclass(frozen=True)
class RankingLoss:
    """L_rank of eq. 11 (see `ranking_loss`)."""

    margin: float
    labels: Literal["present", "all"]
    reduction: Literal["sum", "mean"]
    name: str = "ranking_loss"

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The finer scale has to beat the coarser one."""
        return ranking_loss(
            coarse, fine, targets > 0.5, margin=self.margin, labels=self.labels, reduction=self.reduction
        )


@dataclass(frozen=True)
class FinerLoss:
    """L_cls of the finer scale. With `model.residual` that is the loss of what the scales know together, so the APN
    learns to look where the coarser scales err; with `surrogate = "exact"` by that loss's own gradient.
    """

    name: str = "finer_loss"

    def __call__(self, coarse: Tensor, fine: Tensor, targets: Tensor) -> Tensor:
        """The finer scale has to be right."""
        return classification_loss(fine, targets)


class ApnPhase:
    """Every APN learns from the loss of its own two scales; the backbones stay still, in eval()."""

    name = "apn"

    def __init__(self, racnn: RACNN, optimization: Optimization, backward: Backward, loss: PairLoss) -> None:
        self.racnn, self.optimization, self.backward = racnn, optimization, backward
        self.loss = loss

    def begin(self) -> None:
        """Train the APNs alone."""
        frozen([self.racnn])
        self.racnn.apns.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step on the loss of every pair of neighbouring scales."""
        racnn = self.racnn
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        with torch.no_grad():
            look = racnn.look(0, glimpse)
        logits = look.logits
        logged = {}
        for scale in range(len(racnn.apns)):
            proposals = racnn.propose(scale, look.features.detach())
            glimpse = racnn.zoom(sources, glimpse, proposals)
            look = racnn.look(scale + 1, glimpse)
            coarse, logits = logits, racnn.total_logits(logits, look.logits)
            loss = self.loss(coarse, logits, targets)
            self.backward(loss)
            glimpse = Glimpse(glimpse.view.detach(), glimpse.boxes.detach(), glimpse.largest)
            logged[f"{self.loss.name}{scale + 1}{scale + 2}"] = loss.detach()
        self.optimization.step()
        return logged


class JointPhase:
    """§3.3.3's first approach, which the authors found to fail: eq. 10 as one loss, nothing detached.

    A finer scale's loss reaches the coarser scale's convolutions through the crop and the APN (figure 6), and
    the ranking loss lowers the coarser scale's own probability.
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
    ) -> None:
        self.racnn, self.optimizations, self.backward = racnn, optimizations, backward
        self.margin, self.labels, self.reduction = margin, labels, reduction

    def begin(self) -> None:
        """Train everything."""
        self.racnn.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step of all optimizers on the sum of all losses."""
        racnn = self.racnn
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        total = sources.new_zeros(())
        logged = {}
        coarse: Tensor | None = None
        for scale in range(racnn.scales):
            look = racnn.look(scale, glimpse)
            logits = racnn.total_logits(coarse, look.logits)
            loss = classification_loss(logits, targets)
            total = total + loss
            logged[f"loss_scale{scale + 1}"] = loss.detach()
            logged[f"exact_match_scale{scale + 1}"] = exact_matches(logits, targets)
            if coarse is not None:
                ranking = ranking_loss(
                    coarse,
                    logits,
                    targets > 0.5,
                    margin=self.margin,
                    labels=self.labels,
                    reduction=self.reduction,
                    detach_coarse=False,
                )
                total = total + ranking
                logged[f"ranking_loss{scale}{scale + 1}"] = ranking.detach()
            coarse = logits
            if scale < len(racnn.apns):
                glimpse = racnn.zoom(sources, glimpse, racnn.propose(scale, look.features))
        self.backward(total)
        for optimization in self.optimizations:
            optimization.step()
        return logged
