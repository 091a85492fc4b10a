"""The centre loss of WS-DAN and CAL: photographs of one label have pooled vectors near each other.

Hu et al. 2019 call it attention regularisation: each attention map then stays with one part of the
object. The published code has a class for each photograph. Here a photograph can have several
labels: its centre is the mean of its labels' centres, and it moves each of them by its share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["centre_loss", "expected_centres", "moved_centres"]

_MIN_COUNT = 1e-6


def expected_centres(centres: Tensor, targets: Tensor) -> Tensor:
    """The mean of the centres of each photograph's labels, with norm 1; 0 at the start.

    Args:
        centres: [L, K].
        targets: [B, L] in 0..1.

    Returns:
        [B, K].
    """
    return nn.functional.normalize(_shares(targets).to(centres) @ centres, dim=1)


def centre_loss(pooled: Tensor, expected: Tensor) -> Tensor:
    """The squared distance of vectors [B, K] from what is expected [B, K], a mean over the batch.

    >>> float(centre_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])))
    5.0
    """
    # Squares of half-precision differences would vanish.
    dtype = torch.promote_types(pooled.dtype, torch.float32)
    return (pooled.to(dtype) - expected.to(dtype)).square().sum(dim=1).mean()


def moved_centres(
    centres: Tensor, pooled: Tensor, expected: Tensor, targets: Tensor, rate: float
) -> Tensor:
    """Centres [L, K] after a step towards the photographs of their labels.

    Each label's centre moves by the mean over its photographs of what they differ by.

    Args:
        centres: [L, K].
        pooled: [B, K].
        expected: [B, K], of `expected_centres`.
        targets: [B, L] in 0..1.
        rate: of the step.
    """
    shares = _shares(targets).to(centres)
    differences = shares.T @ (pooled - expected).to(centres)
    return centres + rate * differences / shares.sum(dim=0)[:, None].clamp(min=_MIN_COUNT)


def _shares(targets: Tensor) -> Tensor:
    """Each label's share of a photograph's labels, [B, L]; zeros without any."""
    weights = targets.to(torch.promote_types(targets.dtype, torch.float32))
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=_MIN_COUNT)
