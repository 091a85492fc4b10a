"""An APN that learns from candidate boxes, instead of a gradient through its own box."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.training.phases import Backward, train_apns_alone

__all__ = ["ExpectedLossPhase", "candidate_proposals", "expected_loss"]

_GRID_SIDE = 3  # candidate boxes along a side of the grid
_KERNEL_WIDTH = 0.4  # around a proposal, in units of tx, ty and tl


class ExpectedLossPhase:
    """Every APN learns where the finer scale's classification loss is low, from nine candidates.

    The sampling's derivative knows only what moving by a pixel would change, and a photograph's
    loss over places has many small dips. Here nine boxes a photograph are looked into without
    gradients: one at random in every cell of a 3 x 3 grid over the legal centres, each of a random
    legal size. `expected_loss` is the mean of their losses near the APN's proposal, which the APN
    lowers. The next zoom starts from the proposal itself. The backbones stay frozen, in eval().
    """

    name = "apn"

    def __init__(
        self,
        racnn: RACNN,
        optimization: Optimization,
        backward: Backward,
        *,
        single_label: bool = False,
    ) -> None:
        self.single_label = single_label
        self.racnn = racnn
        self.optimization = optimization
        self.backward = backward

    def begin(self) -> None:
        """Train the APNs alone."""
        train_apns_alone(self.racnn)

    def step(self, images: Tensor, targets: Tensor, share: float = 1.0) -> dict[str, Tensor]:
        """One step on the expected loss of every zoom."""
        racnn = self.racnn
        with torch.no_grad():
            state = racnn.start(racnn.normalise(images))

        logged = {}
        for zoom in range(len(racnn.apns)):
            # What the next scale would lose if it looked at each candidate.
            with torch.no_grad():
                candidates = candidate_proposals(len(images), like=state.boxes)
                losses = [self._finer_loss(state, candidate, targets) for candidate in candidates]

            # Those losses are constants: the gradient comes from the distances to the proposal.
            proposals = racnn.propose(state)
            loss = expected_loss(
                proposals, candidates.transpose(0, 1), torch.stack(losses, dim=1)
            ).mean()
            self.backward(share * loss)
            logged[f"expected_loss{zoom + 1}{zoom + 2}"] = loss.detach()

            # The next APN reads what the next scale sees in the proposed box.
            if zoom + 1 < len(racnn.apns):
                with torch.no_grad():
                    state = racnn.advance(state, proposals.detach())

        self.optimization.step()
        return logged

    def _finer_loss(self, state: ScaleState, proposals: Tensor, targets: Tensor) -> Tensor:
        """The finer scale's classification loss [B] where it looks at proposals [B, 3]."""
        logits = self.racnn.advance(state, proposals).logits.float()
        if self.single_label:
            return F.cross_entropy(logits, targets.float(), reduction="none")
        loss = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")
        return loss.mean(dim=1)


def candidate_proposals(photographs: int, *, like: Tensor) -> Tensor:
    """Candidates [9, B, 3] in -1..1: one in every cell of a grid of tx and ty, tl anywhere."""
    # The grid's cells by column and row.
    cells = _GRID_SIDE**2
    number = torch.arange(cells, device=like.device)
    cell = torch.stack([number % _GRID_SIDE, number // _GRID_SIDE], dim=1)
    cell = cell[:, None].to(like.dtype)

    # A random point in each cell, scaled to -1..1.
    random = torch.rand((cells, photographs, 3), device=like.device, dtype=like.dtype)
    centre = (cell + random[..., :2]) * (2 / _GRID_SIDE) - 1
    size = 2 * random[..., 2:] - 1
    return torch.cat([centre, size], dim=2)


def expected_loss(proposals: Tensor, candidates: Tensor, losses: Tensor) -> Tensor:
    """The mean of the candidates' losses; the nearer to the proposal, the greater the weight.

    A Nadaraya-Watson estimate with a Gaussian kernel: its slope points to where the losses are
    lower over a third of the view, not only a pixel away.

    Args:
        proposals: [B, 3] in -1..1, which get the gradient.
        candidates: [B, K, 3] in -1..1.
        losses: [B, K], without gradients.

    Returns:
        [B].

    >>> near, far = [0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]
    >>> at = torch.zeros(1, 3, requires_grad=True)
    >>> expected_loss(at, torch.tensor([[near, far]]), torch.tensor([[1.0, 3.0]])).backward()
    >>> at.grad.sign().tolist()  # descent moves towards the box with the lower loss
    [[-1.0, 0.0, 0.0]]
    """
    squared_distance = (candidates - proposals[:, None]).square().sum(dim=2)
    weights = torch.softmax(-squared_distance / (2 * _KERNEL_WIDTH**2), dim=1)
    return (weights * losses).sum(dim=1)
