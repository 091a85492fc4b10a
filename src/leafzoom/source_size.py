"""How large the square is that a photo is squashed to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SourceSize"]

_STEP_PX = 64


@dataclass(frozen=True)
class SourceSize:
    """How large a source is cut from a photo: as large as the photo's pixels carry, within limits.

    `least`, `greatest`: the least and the greatest side in pixels; between them the side is the
    photo's longer one, rounded down to a multiple of 64, so that few sizes occur.
    """

    least: int
    greatest: int

    def of(self, photo_size: tuple[int, int]) -> int:
        """The side of the source of a photo of this width and height.

        >>> sizes = SourceSize(256, 640)
        >>> sizes.of((200, 150)), sizes.of((500, 300)), sizes.of((4000, 3000))
        (256, 448, 640)
        """
        steps = max(photo_size) // _STEP_PX
        return min(max(steps * _STEP_PX, self.least), self.greatest)
