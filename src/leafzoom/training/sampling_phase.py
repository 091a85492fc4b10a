"""The phase of attention sampling: both backbones and the attention learn from random patches."""

from __future__ import annotations

import torch
from torch import Tensor

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_crop import whole_box
from leafzoom.model.attention_sampling import AttentionSampling, sample_places, sampled_mean
from leafzoom.model.backbone import Backbone
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import MixedBatch, Mixing
from leafzoom.training.phases import Backward, exact_match

__all__ = ["SamplingPhase", "attention_entropy"]


class SamplingPhase:
    """One loss for everything: of the patches' estimated mean, of the whole, and of the entropy.

    The classifier is linear, so the estimated mean of the patches' logits is the logits of the
    estimated mean of their features (without dropout). It teaches the attention too.

    Args:
        network: learns.
        optimization: of all that learns.
        backward: runs the backward pass.
        entropy_weight: of the attention's entropy, which is subtracted from the loss.
        whole_weight: of the label loss of the small view's own head.
        frozen_stages: how many stages of both backbones, from the first, stay frozen with the stem.
        loss: of labels.
        mixing: of the batches; none by default. Targets of the patches are mixed as the photograph.
    """

    name = "classifier"

    def __init__(
        self,
        network: AttentionSampling,
        optimization: Optimization,
        backward: Backward,
        *,
        entropy_weight: float,
        whole_weight: float,
        frozen_stages: int = 0,
        loss: ClassifierLoss | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.network = network
        self.optimization = optimization
        self.backward = backward
        self.entropy_weight = entropy_weight
        self.whole_weight = whole_weight
        self.frozen_stages = frozen_stages
        self.loss = loss or ClassifierLoss()
        self.mixing = mixing

    def begin(self) -> None:
        """Train everything but the frozen stages."""
        self.network.requires_grad_(True).train()
        for backbone in self.network.backbones:
            assert isinstance(backbone, Backbone)
            backbone.freeze_stages(self.frozen_stages)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the sum of the losses."""
        network = self.network
        batch = self.mixing(images) if self.mixing else MixedBatch(images)
        partner_share = batch.share_in(whole_box(len(images), images.shape[-1], like=images))

        # Patches around places that are drawn from the attention.
        whole = network.start(network.normalise(batch.images))
        attention = network.attend(whole.features)
        places = sample_places(attention, network.patches, at_random=True)
        patches = network.look_at(whole, attention, places)
        by_patch = torch.stack([patch.logits for patch in patches], dim=1).to(attention.dtype)
        logits = sampled_mean(places.attention, by_patch)

        patch_loss = self.loss(logits, targets, partner_share)
        whole_loss = self.loss(whole.logits, targets, partner_share)
        entropy = attention_entropy(attention)
        total = patch_loss + self.whole_weight * whole_loss - self.entropy_weight * entropy
        self.backward(share * total)
        self.optimization.step()

        logged = {
            "loss_scale1": whole_loss.detach(),
            "loss_patches": patch_loss.detach(),
            "entropy": entropy.detach(),
        }
        for name, values in (("scale1", whole.logits), ("patches", logits)):
            logged[f"exact_match_{name}"] = exact_match(
                values, targets, single_label=self.loss.single_label
            )
        return logged


def attention_entropy(attention: Tensor) -> Tensor:
    """The mean over photographs of the entropy of attention [B, H, W], in nats.

    >>> round(float(attention_entropy(torch.full((1, 2, 2), 0.25))), 4)
    1.3863
    """
    flat = attention.flatten(1)
    tiny = torch.finfo(flat.dtype).tiny
    return -(flat * torch.log(flat.clamp(min=tiny))).sum(dim=1).mean()
