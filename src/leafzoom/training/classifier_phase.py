"""The classifier phase (§3.3.3): every scale's classifier learns from its own loss."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leafzoom.fitting.optimization import Optimization, freeze
from leafzoom.model.backbone import Backbone
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState, View
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import MixedBatch, Mixing
from leafzoom.training.phases import Backward, exact_match, share_of_surrogate

__all__ = ["ClassifierPhase"]


class ClassifierPhase:
    """Every scale's classifier learns from its own loss; the APNs stay frozen.

    The state is detached between scales: a scale's loss changes no other scale's parameters. Each
    scale's backward pass runs before the next scale's forward pass, so one graph is in memory.

    Args:
        racnn: whose backbones learn.
        optimization: of the backbones.
        backward: runs the backward pass.
        frozen_scales: how many scales, from the first, stay frozen.
        frozen_stages: how many stages of every backbone, from the first, stay frozen with the stem.
        box_jitter: tx, ty and tl are moved at random by up to this much.
        attention_dropping: with this probability, the next scale's box is masked in the view that a
            scale learns from (Hu et al. 2019, "See Better Before Looking Closer"). The mask has the
            channels' mean colour. The next zoom and the logged exact match come from the whole
            view, the logged loss from the masked one. Batch norms in train() see both views.
        apn: the optimizer of the APNs, if they learn here: each from the classification loss of the
            scale that it proposes for, through the crop. Its map stays detached, so the coarser
            scale's backbone does not learn from that loss.
        loss: of every scale.
        mixing: of the batches; none by default. The zooms are cut from the mixed photographs, and
            each scale's targets are mixed as its view is. The logged exact match is that of the
            photographs' own labels.
    """

    name = "classifier"

    def __init__(  # noqa: PLR0913, a recipe's values one by one
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        frozen_scales: int = 0,
        frozen_stages: int = 0,
        box_jitter: float = 0.0,
        attention_dropping: float = 0.0,
        apn: Optimization | None = None,
        loss: ClassifierLoss | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward
        self.frozen_scales = frozen_scales
        self.frozen_stages = frozen_stages
        self.box_jitter = box_jitter
        self.attention_dropping = attention_dropping
        self.apn = apn
        self.loss = loss or ClassifierLoss()
        self.mixing = mixing

    def begin(self) -> None:
        """Train the backbones, and the APNs where they learn here."""
        freeze([self.racnn])
        for backbone in list(self.racnn.backbones)[self.frozen_scales :]:
            assert isinstance(backbone, Backbone)
            backbone.requires_grad_(True).train()
            backbone.freeze_stages(self.frozen_stages)
        if self.apn:
            self.racnn.apns.requires_grad_(True).train()

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the classification loss of every scale."""
        racnn = self.racnn
        batch = self.mixing(images) if self.mixing else MixedBatch(images)
        sources = racnn.normalise(batch.images)
        view = racnn.whole_view(sources)
        coarser: ScaleState | None = None

        logged = {}
        for scale in range(racnn.scales):
            # Where boxes are masked, the whole view serves only the next zoom and the log.
            with torch.set_grad_enabled(self._learns(scale) and not self._drops(scale)):
                state = racnn.look(sources, view, coarser)

            # The next scale's view, before this scale's graph goes with its backward pass.
            learned_from = state
            if scale < len(racnn.apns):
                with torch.set_grad_enabled(self.apn is not None):
                    proposals = self._jitter(racnn.propose(state.detach()))
                    proposals = share_of_surrogate(racnn, proposals, share)
                    view = racnn.zoom(state.detach(), proposals)
                if self._drops(scale):
                    masked = self._mask_boxes(state.view, proposals.detach())
                    learned_from = racnn.look(sources, masked, coarser)

            # The backward pass frees this scale's graph before the next scale runs.
            partner_share = batch.share_in(state.boxes)
            loss = self.loss(learned_from.logits, targets, partner_share)
            if self._learns(scale):
                self.backward(share * loss)
            logged[f"loss_scale{scale + 1}"] = loss.detach()
            logged[f"exact_match_scale{scale + 1}"] = exact_match(
                state.logits, targets, single_label=self.loss.single_label
            )

            coarser = state.detach()

        self.optimization.step()
        if self.apn:
            self.apn.step()
        return logged

    def _learns(self, scale: int) -> bool:
        """Whether a scale's loss has anything to change: its backbone, or the APN before it."""
        return scale >= self.frozen_scales or (scale > 0 and self.apn is not None)

    def _drops(self, scale: int) -> bool:
        """Whether a scale learns from views in which the next scale's box may be masked."""
        has_next = scale < len(self.racnn.apns)
        return self.attention_dropping > 0 and scale >= self.frozen_scales and has_next

    def _mask_boxes(self, view: View, proposals: Tensor) -> View:
        """The view with the proposed boxes masked, with probability `attention_dropping` each."""
        # Which pixels of the view lie in each photograph's box.
        boxes = self.racnn.box_coder.decode(proposals)
        device = view.image.device
        pixel = torch.arange(self.racnn.input_size, device=device, dtype=boxes.dtype) + 0.5
        inside = (pixel - boxes[:, :2, None]).abs() <= boxes[:, 2:, None]
        inside_box = inside[:, 1, :, None] & inside[:, 0, None, :]

        # Views are normalised, so the channels' mean colour is 0.
        is_dropped = torch.rand(len(boxes), 1, 1, device=device) < self.attention_dropping
        mask = (inside_box & is_dropped)[:, None]
        return replace(view, image=view.image.masked_fill(mask, 0.0))

    def _jitter(self, proposals: Tensor) -> Tensor:
        """Proposals [B, 3] moved at random by up to `box_jitter`, within -1..1."""
        if not self.box_jitter:
            return proposals
        noise = 2 * torch.rand_like(proposals) - 1
        return (proposals + self.box_jitter * noise).clamp(-1, 1)
