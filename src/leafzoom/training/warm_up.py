"""The warm-up of the attention proposal networks (§3.3.2): they learn given places in the view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_proposal import activation_centres, response_maxima
from leafzoom.model.backbone import Backbone
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.training.phases import Backward, train_apns_alone

__all__ = ["WarmUpPhase"]


class WarmUpPhase:
    """The APNs learn a place in the view that they read; the backbones stay frozen.

    Args:
        racnn: whose APNs learn.
        optimization: of the APNs.
        backward: runs the backward pass.
        target: the place: the largest `response` of the map (the paper), the centre of the class
            `activation` maps of the photograph's labels, or the view's `centre`.
        size_target: the size that the boxes learn, from -1 (least) to 1 (greatest): one for all
            zooms, or one for each.

    Raises:
        ValueError: `size_target` has another number of sizes than there are zooms.
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
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward
        self.target = target

        # One size for each zoom.
        zooms = len(racnn.apns)
        if isinstance(size_target, int | float):
            self.sizes = [float(size_target)] * zooms
        else:
            self.sizes = list(size_target)
        if len(self.sizes) != zooms:
            raise ValueError(f"size_target has {len(self.sizes)} sizes for {zooms} zooms")

    def begin(self) -> None:
        """Train the APNs alone."""
        train_apns_alone(self.racnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the smooth L1 distance to the target places."""
        racnn = self.racnn
        with torch.no_grad():
            state = racnn.start(racnn.normalise(images))

        logged = {}
        for zoom, size in enumerate(self.sizes):
            with torch.no_grad():
                target = racnn.box_coder.encode(self._target_centres(state, targets), size)

            proposals = racnn.propose(state)
            loss = nn.functional.smooth_l1_loss(proposals, target)
            self.backward(share * loss)
            logged[f"loss_apn{zoom + 1}"] = loss.detach()

            # The next APN reads what the next scale sees in the proposed box.
            if zoom + 1 < len(self.sizes):
                with torch.no_grad():
                    state = racnn.advance(state, proposals.detach())

        self.optimization.step()
        return logged

    def _target_centres(self, state: ScaleState, targets: Tensor) -> Tensor:
        """The centres [B, 2] that the scale's APN is to learn, in pixels of the view."""
        view_size = self.racnn.input_size
        if self.target == "centre":
            return torch.full_like(state.boxes[:, :2], view_size / 2)
        if self.target == "response":
            return response_maxima(state.features.float(), view_size)

        # Soft labels have the same places as the labels that they came from.
        labels = (targets > 0.5).to(targets.dtype)
        backbone = self.racnn.backbones[state.scale]
        assert isinstance(backbone, Backbone)
        activations = backbone.class_activations(state.last_map)
        return activation_centres(activations, labels, view_size)
