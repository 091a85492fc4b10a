"""How several processes share photographs: each takes consecutive ones of a batch or a part."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WHOLE", "Share"]


@dataclass(frozen=True)
class Share:
    """One of `count` shares whose sizes differ by at most one; `index` counts from 0."""

    index: int = 0
    count: int = 1

    def of(self, photographs: int) -> slice:
        """Which of a number of photographs are this share's.

        >>> [Share(index, 3).of(7) for index in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
        """
        start = self.index * photographs // self.count
        end = (self.index + 1) * photographs // self.count
        return slice(start, end)


WHOLE = Share()
"""The share of the only process."""
