"""The two losses of eq. 10: classification within a scale, ranking between neighbouring scales."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["classification_loss", "correct_probability", "ranking_loss"]


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """L_cls: the mean binary cross-entropy of logits [B, L] against targets [B, L] in 0..1."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float())


def correct_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """p_t of eq. 11, [B]: the mean probability of the labels that are present; 0 without any."""
    present = targets.float()
    total = (torch.sigmoid(logits.float()) * present).sum(dim=1)
    return total / present.sum(dim=1).clamp(min=1)


def ranking_loss(
    coarse: Tensor,
    fine: Tensor,
    targets: Tensor,
    *,
    margin: float,
    labels: Literal["present", "all"],
    reduction: Literal["sum", "mean"],
    detach_coarse: bool = True,
) -> Tensor:
    """L_rank of eq. 11: the finer scale has to beat the coarser one's p_t by a margin.

    Args:
        coarse, fine: logits [B, L] of scale s and of scale s + 1.
        targets: [B, L], 0 or 1.
        margin: 0.05 in the paper.
        labels: rank the mean over the labels that are `present` (a photograph without labels adds
            nothing), or the probability of each label, present or not (`all`, the authors' code).
        reduction: `sum` (the paper) or `mean` over the batch.
        detach_coarse: the coarser scale is a reference and gets no gradient (§3.3.3: with one, it
            unlearns).
    """
    if detach_coarse:
        coarse = coarse.detach()

    if labels == "all":
        coarse_probability = torch.sigmoid(coarse.float())
        fine_probability = torch.sigmoid(fine.float())
        weight = torch.ones_like(coarse_probability)
    else:
        coarse_probability = correct_probability(coarse, targets)
        fine_probability = correct_probability(fine, targets)
        weight = (targets.sum(dim=1) > 0).to(coarse_probability.dtype)

    # Zero where the finer scale beats the coarser one by the margin.
    finer_first = torch.ones_like(coarse_probability)
    loss = F.margin_ranking_loss(
        fine_probability, coarse_probability, finer_first, margin=margin, reduction="none"
    )
    total = (loss * weight).sum()
    return total if reduction == "sum" else total / len(targets)
