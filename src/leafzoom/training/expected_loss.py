"""An APN that learns from boxes that are tried out, instead of a gradient through its own box."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from leafzoom.model.racnn import RACNN, Glimpse
from leafzoom.training.optimization import Optimization, frozen
from leafzoom.training.phases import Backward

__all__ = ["ExpectedLossPhase", "candidates", "expected_loss"]

_PLACES = 3  # a side of the grid of candidate boxes
_WIDTH = 0.4  # of the kernel around a proposal, in units of tx, ty and tl


class ExpectedLossPhase:
    """Every APN learns where the finer scale's classification loss is low, from nine boxes that are tried out; the
    backbones stay still, in eval().

    The sampling's derivative knows only what a pixel's move would change, and a photograph's loss over places has
    many small dips. Here nine boxes a photograph, one at random in every cell of a 3 x 3 grid over the legal centres,
    each of a random legal size, are looked into without gradients; `expected_loss` is the mean of their losses near
    the APN's proposal, which the APN lowers. The next zoom starts from the proposal itself.
    """

    name = "apn"

    def __init__(self, racnn: RACNN, optimization: Optimization, backward: Backward) -> None:
        self.racnn, self.optimization, self.backward = racnn, optimization, backward

    def begin(self) -> None:
        """Train the APNs alone."""
        frozen([self.racnn])
        self.racnn.apns.requires_grad_(True).train()

    def step(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One step on the expected loss of every zoom."""
        racnn = self.racnn
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        logits: Tensor | None = None
        logged = {}
        for scale in range(len(racnn.apns)):
            with torch.no_grad():
                look = racnn.look(scale, glimpse)
                logits = racnn.total_logits(logits, look.logits)
                tried = candidates(len(pictures), like=glimpse.boxes)
                losses = torch.stack([self._loss(scale, sources, glimpse, logits, place, targets) for place in tried])
            proposals = racnn.propose(scale, look.features)
            loss = expected_loss(proposals, tried.transpose(0, 1), losses.transpose(0, 1)).mean()
            self.backward(loss)
            logged[f"expected_loss{scale + 1}{scale + 2}"] = loss.detach()
            with torch.no_grad():
                glimpse = racnn.zoom(sources, glimpse, proposals.detach())
        self.optimization.step()
        return logged

    def _loss(
        self, scale: int, sources: Tensor, glimpse: Glimpse, coarse: Tensor, proposals: Tensor, targets: Tensor
    ) -> Tensor:
        """The finer scale's classification loss of each photograph, [B], where it looks at these proposals."""
        look = self.racnn.look(scale + 1, self.racnn.zoom(sources, glimpse, proposals))
        logits = self.racnn.total_logits(coarse, look.logits).float()
        return F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").mean(dim=1)


def candidates(photographs: int, *, like: Tensor) -> Tensor:
    """Proposals to try out, [9, B, 3] in -1..1: one in every cell of a grid of tx and ty, tl anywhere."""
    place = torch.arange(_PLACES**2, device=like.device)
    cell = torch.stack([place % _PLACES, place // _PLACES], dim=1)[:, None].to(like.dtype)
    drawn = torch.rand((_PLACES**2, photographs, 3), device=like.device, dtype=like.dtype)
    return torch.cat([(cell + drawn[..., :2]) * (2 / _PLACES) - 1, 2 * drawn[..., 2:] - 1], dim=2)


def expected_loss(proposals: Tensor, tried: Tensor, losses: Tensor) -> Tensor:
    """The mean of losses that boxes have which were tried out, the nearer to the proposal the heavier.

    A Nadaraya-Watson estimate with a Gaussian kernel, so that its slope points to where the losses are lower over a
    third of the view, not only a pixel away.

    Args:
        proposals: [B, 3] in -1..1, which get the gradient.
        tried: [B, K, 3] in -1..1.
        losses: [B, K], without gradients.

    Returns:
        [B].

    >>> near, far = [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]
    >>> at = torch.zeros(1, 3, requires_grad=True)
    >>> expected_loss(at, torch.tensor([[near, far]]), torch.tensor([[1.0, 3.0]])).backward()
    >>> at.grad.sign().tolist()  # descent moves towards the box with the lower loss
    [[-1.0, 0.0, 0.0]]
    """
    distance = (tried - proposals[:, None]).square().sum(dim=2) / (2 * _WIDTH**2)
    return (torch.softmax(-distance, dim=1) * losses).sum(dim=1)
