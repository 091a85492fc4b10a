"""The recurrent attention CNN (figure 3): look at the whole, propose a box, zoom, look again.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source unless a
name says otherwise; see `attention_crop` for the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.model.attention_crop import attention_crop, compose_boxes
from leafzoom.model.attention_proposal import AttentionProposal, fixed_proposals
from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.box_coder import BoxCoder
from leafzoom.model.mirrors import mirror_axes, mirror_boxes
from leafzoom.model.view import (
    ScaleState,
    View,
    normalisation,
    normalise_images,
    normalise_pixels,
    whole_view,
)
from leafzoom.model_file.outputs import Framework

__all__ = ["RACNN"]


class RACNN(nn.Module):
    """Backbones for all scales and attention proposal networks (APNs) between them.

    `forward` runs the whole loop. Trainings run it step by step: `start` looks at the whole source,
    `propose` asks the APN for the next box, and `advance` zooms into it and looks again.

    Args:
        backbones: one a scale, two or more.
        apns: one between neighbouring scales.
        source_size: S, side of the source in pixels that it is trained with; it takes others too.
        input_size: V, side of every view in pixels.
        zoom_from: what a zoom enlarges: the coarser scale's `view` (the paper) or the `source`.
        zoom_bounds: least and greatest side of a box as fractions of the view's side.
        centre_range, crop_mask, surrogate, surrogate_scale, border, proposals, residual: see
            `ModelRecipe`.
    """

    mean: Tensor
    std: Tensor

    def __init__(  # noqa: PLR0913, a recipe's values one by one
        self,
        *,
        backbones: Sequence[Backbone],
        apns: Sequence[AttentionProposal],
        source_size: int,
        input_size: int,
        zoom_from: Literal["source", "view"],
        zoom_bounds: tuple[float, float],
        centre_range: Literal["largest", "own"],
        crop_mask: Literal["none", "boxcar"],
        surrogate: Literal["paper", "balanced", "exact"],
        surrogate_scale: Literal["sum", "per_sample"],
        border: float,
        proposals: Literal["apn", "centre", "response"] = "apn",
        residual: float = 0.0,
    ) -> None:
        super().__init__()
        if len(backbones) != len(apns) + 1 or not apns:
            needed = len(backbones) - 1
            raise ValueError(f"{len(backbones)} scales need {needed} APNs, not {len(apns)}")

        self.backbones = nn.ModuleList(backbones)
        self.apns = nn.ModuleList(apns)
        self.source_size = source_size
        self.input_size = input_size
        self.zoom_from = zoom_from
        self.box_coder = BoxCoder(input_size, zoom_bounds, centre_range)
        self.crop_mask = crop_mask
        self.surrogate = surrogate
        self.surrogate_scale = surrogate_scale
        self.border = border
        self.proposals = proposals
        self.residual = residual

        # Buffers, so that they follow the network to its device; checkpoints lack them.
        mean, std = normalisation(backbones[0])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def scales(self) -> int:
        """How many scales there are."""
        return len(self.backbones)

    @property
    def framework(self) -> Framework:
        """Its name in recipes and model files."""
        return "ra-cnn"

    def classifier_layers(self) -> list[nn.Linear]:
        """Every scale's linear layer, from its descriptor to its own logits, coarsest first."""
        layers = []
        for backbone in self.backbones:
            assert isinstance(backbone, Backbone)
            layers.append(backbone.classifier_layer())
        return layers

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in 0..1 as the backbones expect them, in channels-last memory."""
        return normalise_images(images, self.mean, self.std)

    def normalise_pixels(self, sources: Tensor) -> Tensor:
        """Sources uint8 [B, S, S, 3] as `normalise` returns them, in one step for large sources."""
        return normalise_pixels(sources, self.mean, self.std)

    def forward(self, sources: Tensor, mirrors: int = 1) -> tuple[ScaleState, ...]:
        """All scales of normalised sources [B, 3, S, S], coarsest first (figure 3).

        The coarser scale is detached before each APN, so that no scale's loss reaches another
        scale's weights.

        Args:
            sources: the pictures.
            mirrors: 1, 2 or 4: how many mirror images of each picture to look at, itself included;
                more than one for inference only.
        """
        state = self.start(sources, mirrors)
        states = [state]

        for _ in self.apns:
            proposals = self.propose(state.detach())
            state = self.advance(state, proposals)
            states.append(state)

        return tuple(states)

    # The loop's steps.

    def start(self, sources: Tensor, mirrors: int = 1) -> ScaleState:
        """Look at the whole of normalised sources [B, 3, S, S] with the first scale."""
        return self.look(sources, self.whole_view(sources, mirrors))

    def propose(self, state: ScaleState) -> Tensor:
        """Proposals [B, 3] in -1..1 of the next scale's box, from a scale's feature map (eq. 2)."""
        # Without APNs: boxes of the greatest size.
        if self.proposals != "apn":
            tl = torch.ones_like(state.features[:, :1, 0, 0], dtype=self.mean.dtype)
            return fixed_proposals(self.proposals, state.features, tl, self.box_coder)

        proposals: Tensor = self.apns[state.scale](state.features)
        return proposals.to(self.mean.dtype)  # boxes stay precise under autocast

    def advance(self, state: ScaleState, proposals: Tensor) -> ScaleState:
        """Zoom into the proposed boxes (`zoom`) and look at them with the next scale (`look`)."""
        return self.look(state.sources, self.zoom(state, proposals), coarser=state)

    # What the steps are made of.

    def whole_view(self, sources: Tensor, mirrors: int = 1) -> View:
        """The whole of normalised sources [B, 3, S, S] as the first scale's view."""
        return whole_view(sources, self.input_size, mirrors)

    def look(self, sources: Tensor, view: View, coarser: ScaleState | None = None) -> ScaleState:
        """Run a scale's backbone on its view.

        Args:
            sources: normalised, [B, 3, S, S].
            view: what the scale is shown.
            coarser: the state of the scale before; None for the first scale.
        """
        scale = 0 if coarser is None else coarser.scale + 1
        output: BackboneOutput = self.backbones[scale](view.image)

        # With `residual`, a finer scale learns what the coarser ones do not know yet.
        logits = output.logits
        if coarser is not None and self.residual:
            logits = logits + self.residual * coarser.logits.detach()

        return ScaleState.of_output(scale, sources, view, output, logits)

    def zoom(self, state: ScaleState, proposals: Tensor) -> View:
        """The next scale's view: the proposed boxes, cut out and enlarged (eq. 3-5).

        Gradients reach the proposals alone (see `attention_crop`): neither the coarser view nor its
        box gets any.

        Args:
            state: of the scale in whose view the boxes are proposed.
            proposals: [B, 3] in -1..1.
        """
        # The boxes in the view and in the source, and the greatest share of the source's side.
        view_boxes = self.box_coder.decode(proposals)
        boxes = compose_boxes(state.boxes.detach(), view_boxes, self.input_size)
        _, greatest_side = self.box_coder.bounds
        max_share = state.view.max_share * greatest_side

        # The paper enlarges the coarser view; the source holds more detail than that.
        mirrors = state.view.mirrors
        if self.zoom_from == "view":
            image = self._crop(state.view.image, proposals, view_boxes, greatest_side)
        elif mirrors == 1:
            image = self._crop(state.sources, proposals, boxes, max_share)
        else:
            image = self._crop_mirrored(state.sources, proposals, boxes, max_share, mirrors)
        return View(image, boxes, max_share, mirrors)

    def _crop(self, images: Tensor, proposals: Tensor, boxes: Tensor, max_share: float) -> Tensor:
        """Boxes [B, 3] of images [B, 3, S, S], enlarged to views [B, 3, V, V]."""
        return attention_crop(
            images,
            proposals,
            boxes,
            self.input_size,
            surrogate=self.surrogate,
            surrogate_scale=self.surrogate_scale,
            border=self.border,
            mask=self.crop_mask,
            max_share=max_share,
        )

    def _crop_mirrored(
        self, sources: Tensor, proposals: Tensor, boxes: Tensor, max_share: float, mirrors: int
    ) -> Tensor:
        """Boxes [mirrors * B, 3] of sources [B, 3, S, S] and of their mirror images, enlarged.

        Mirroring small views costs less than mirroring large sources.
        """
        boxes_by_image = boxes.reshape(mirrors, -1, 3)
        proposals_by_image = proposals.reshape(mirrors, -1, 3)
        views = []
        for number in range(mirrors):
            axes = mirror_axes(number)
            source_boxes = mirror_boxes(boxes_by_image[number], sources.shape[-1], axes)
            view = self._crop(sources, proposals_by_image[number], source_boxes, max_share)
            views.append(view.flip(axes))
        return torch.cat(views)
