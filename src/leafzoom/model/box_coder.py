"""From an APN's outputs to a box of the view and back (eq. 2).

Convention: boxes are (x, y, half side) in pixels of the view, x = column to the right, y = row
down, the origin at the outer corner of the first pixel. No box leaves the view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["BoxCoder"]


@dataclass(frozen=True)
class BoxCoder:
    """Decodes proposals tx, ty, tl in -1..1 into boxes of a view, and encodes boxes as proposals.

    tl runs linearly from the least to the greatest side. tx and ty run over the centres that keep
    the box inside the view.

    Args:
        view_size: V, side of the view in pixels.
        bounds: least and greatest side of a box, as fractions of the view's side.
        centre_range: which centres are legal: those of the largest box (`largest`, the paper's
            56..168 for a half side of 56 in 224), or those of this box (`own`), so that small boxes
            reach the border.
    """

    view_size: int
    bounds: tuple[float, float]
    centre_range: Literal["largest", "own"]

    @property
    def half_side_range(self) -> tuple[float, float]:
        """The least and the greatest half side of a box, in pixels of the view."""
        least, greatest = self.bounds
        return self.view_size * least / 2, self.view_size * greatest / 2

    def decode(self, proposals: Tensor) -> Tensor:
        """The boxes [B, 3], in pixels of the view, that proposals [B, 3] in -1..1 stand for.

        >>> coder = BoxCoder(224, (1 / 3, 1 / 2), "largest")
        >>> coder.decode(torch.tensor([[1.0, -1.0, 1.0]])).tolist()
        [[168.0, 56.0, 56.0]]
        """
        least, greatest = self.half_side_range
        half_side = self._half_side(proposals[:, 2:])

        # Rounding can put tanh's ±1 an ulp outside, and no box may leave the view.
        half_side = half_side.clamp(least, greatest)

        centre = self.view_size / 2 + proposals[:, :2] * self._reach(half_side)
        return torch.cat([centre, half_side], dim=1)

    def encode(self, centres: Tensor, tl: float | Tensor) -> Tensor:
        """The legal proposals nearest to some centres, the targets of the APN's warm-up (§3.3.2).

        Args:
            centres: [B, 2], x and y in pixels of the view.
            tl: the size, from -1 (least) to 1 (greatest): one for all, or [B, 1].

        Returns:
            [B, 3] in -1..1; `decode` maps them to the centres, clamped into the legal range.
        """
        # How far the centre of a box of this size may lie from the view's centre.
        size = torch.as_tensor(tl, dtype=centres.dtype, device=centres.device)
        size = size.expand(len(centres), 1)
        reach = torch.as_tensor(self._reach(self._half_side(size)), dtype=size.dtype)

        # A box as large as the view has one legal centre.
        offset = (centres - self.view_size / 2) / reach.clamp(min=torch.finfo(centres.dtype).tiny)
        offset = torch.where(reach > 0, offset.clamp(-1, 1), torch.zeros_like(offset))
        return torch.cat([offset, size], dim=1)

    def _half_side(self, tl: Tensor) -> Tensor:
        """The half sides [B, 1] in pixels that sizes tl [B, 1] stand for."""
        least, greatest = self.half_side_range
        return least + (tl + 1) * ((greatest - least) / 2)

    def _reach(self, half_side: Tensor) -> Tensor | float:
        """How far the centre of a box may lie from the view's centre, [B, 1] in pixels."""
        if self.centre_range == "largest":
            _, greatest = self.half_side_range
            return self.view_size / 2 - greatest
        return self.view_size / 2 - half_side
