"""The two losses of eq. 10: classification within a scale, ranking between neighbouring scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "LabelWeights",
    "classification_loss",
    "correct_probability",
    "label_probabilities",
    "label_weights",
    "loss_per_photograph",
    "ranking_loss",
]

_POWERS = {"sqrt": 0.5, "inverse": 1.0}


@dataclass(frozen=True)
class LabelWeights:
    """How much photographs with a label and without it count in its loss, [L] each.

    Of single labels `present` are the classes' weights, and `absent` is 0.
    """

    present: Tensor
    absent: Tensor

    def to(self, device: torch.device) -> LabelWeights:
        """The same weights on a device."""
        return LabelWeights(self.present.to(device), self.absent.to(device))


def label_weights(
    targets: NDArray[np.uint8],
    kind: Literal["none", "sqrt", "inverse"],
    *,
    single_label: bool = False,
) -> LabelWeights | None:
    """The weights that make up for rare labels, from the photographs that are trained on.

    The weight of a photograph with a label is to that of one without it as the inverse of their
    numbers (`inverse`), or as its square root (`sqrt`). A label's mean weight over all photographs
    is 1. Labels that all or none of the photographs have count as they are.

    Of single labels, a photograph's weight is the inverse of the number of its class, or its square
    root. The mean weight over all photographs is 1.

    Args:
        targets: [n, L], 0 or 1.
        kind: of weights; none for `none`.
        single_label: whether each photograph has one class.

    >>> weights = label_weights(np.array([[1], [0], [0], [0]], np.uint8), "inverse")
    >>> [round(float(value), 4) for value in (weights.present, weights.absent)]
    [2.0, 0.6667]
    """
    if kind == "none":
        return None
    count = len(targets)
    present = targets.sum(axis=0, dtype=np.float64)
    if single_label:
        return _class_weights(present, _POWERS[kind])
    absent = count - present
    is_mixed = (present > 0) & (absent > 0)

    ratio = np.where(is_mixed, absent / np.maximum(present, 1), 1.0) ** _POWERS[kind]
    weight_absent = count / np.maximum(absent + ratio * present, 1)
    return LabelWeights(
        present=torch.tensor(ratio * weight_absent, dtype=torch.float32),
        absent=torch.tensor(weight_absent, dtype=torch.float32),
    )


def _class_weights(photographs: NDArray[np.float64], power: float) -> LabelWeights:
    """The weights of classes, each with a number of photographs [L]."""
    weights = 1 / np.maximum(photographs, 1) ** power
    mean_weight = (weights * photographs).sum() / photographs.sum()
    present = torch.tensor(weights / mean_weight, dtype=torch.float32)
    return LabelWeights(present=present, absent=torch.zeros_like(present))


def label_probabilities(logits: Tensor, *, single_label: bool) -> Tensor:
    """Probabilities [B, L] from logits [B, L]: each label's by itself, or a softmax of classes."""
    return torch.softmax(logits, dim=1) if single_label else torch.sigmoid(logits)


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    weights: LabelWeights | None = None,
    *,
    single_label: bool = False,
) -> Tensor:
    """L_cls: the mean binary cross-entropy of logits [B, L] against targets [B, L] in 0..1.

    With weights, the term of a label that is present and that of one that is absent count by
    theirs (see `label_weights`). Of single labels it is the cross-entropy of the softmax against
    targets that sum to 1, a mean over the photographs.
    """
    if single_label:
        class_weights = None if weights is None else weights.present
        return F.cross_entropy(logits.float(), targets.float(), weight=class_weights)
    if weights is None:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float())
    return F.binary_cross_entropy_with_logits(
        logits.float(),
        targets.float(),
        weight=weights.absent,
        pos_weight=weights.present / weights.absent,
    )


def correct_probability(logits: Tensor, targets: Tensor, *, single_label: bool = False) -> Tensor:
    """p_t of eq. 11, [B]: the mean probability of the labels that are present; 0 without any.

    Of single labels it is the softmax probability of the correct class, as in the original RA-CNN.
    """
    present = targets.float()
    probabilities = label_probabilities(logits.float(), single_label=single_label)
    total = (probabilities * present).sum(dim=1)
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
    single_label: bool = False,
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
        single_label: p_t is a softmax probability; with `labels` = `present` alone.
    """
    if detach_coarse:
        coarse = coarse.detach()

    if labels == "all":
        coarse_probability = torch.sigmoid(coarse.float())
        fine_probability = torch.sigmoid(fine.float())
        weight = torch.ones_like(coarse_probability)
    else:
        coarse_probability = correct_probability(coarse, targets, single_label=single_label)
        fine_probability = correct_probability(fine, targets, single_label=single_label)
        weight = (targets.sum(dim=1) > 0).to(coarse_probability.dtype)

    # Zero where the finer scale beats the coarser one by the margin.
    finer_first = torch.ones_like(coarse_probability)
    loss = F.margin_ranking_loss(
        fine_probability, coarse_probability, finer_first, margin=margin, reduction="none"
    )
    total = (loss * weight).sum()
    return total if reduction == "sum" else total / len(targets)


def loss_per_photograph(
    loss: Tensor, reduction: Literal["sum", "mean"], photographs: int
) -> Tensor:
    """A batch's ranking loss as a mean over its photographs, whichever its reduction is.

    >>> float(loss_per_photograph(torch.tensor(6.0), "sum", 4))
    1.5
    """
    return loss / photographs if reduction == "sum" else loss
