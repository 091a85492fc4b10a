"""Rendered pictures without a leaf: rooms, streets, faces, text, stripes, noise, plain colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["render_scenes"]

_SMOOTHING_PX = 0.6


def render_scenes(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """Scenes of all kinds in turn, uint8 [size, size, 3]; the same ones in every call."""
    scene = _Scene(size, np.random.default_rng(0))

    # Noise and plain colour take turns.
    kinds: tuple[Callable[[], None], ...] = (
        scene.draw_room,
        scene.draw_street,
        scene.draw_face,
        scene.draw_page,
        scene.draw_stripes,
        scene.draw_noise,
        scene.draw_room,
        scene.draw_street,
        scene.draw_face,
        scene.draw_page,
        scene.draw_stripes,
        scene.draw_nothing,
    )

    for number in range(count):
        scene.clear()
        kinds[number % len(kinds)]()
        yield np.asarray(scene.image.filter(ImageFilter.GaussianBlur(_SMOOTHING_PX)))


class _Scene:
    """A picture that is drawn over and over.

    Args:
        size: side in pixels.
        random: colours and positions are drawn from it.
    """

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self.size = size
        self.random = random
        self.clear_colour((0, 0, 0))

    def clear(self) -> None:
        """Start with a random colour."""
        self.clear_colour(self._colour())

    def clear_colour(self, colour: tuple[int, int, int]) -> None:
        """Start with a colour."""
        self.image = Image.new("RGB", (self.size, self.size), colour)
        self.pen = ImageDraw.Draw(self.image)

    def draw_room(self) -> None:
        """Boxes before a wall."""
        for _ in range(12):
            self.pen.rectangle(self._rectangle(), fill=self._colour())

    def draw_street(self) -> None:
        """Sky, ground, houses."""
        size = self.size
        self.pen.rectangle((0, size // 2, size, size), fill=self._colour())
        for x in range(0, size, size // 6):
            roof = self._integer(size // 5, size // 2)
            self.pen.rectangle((x, roof, x + size // 8, size * 2 // 3), fill=self._colour())

    def draw_face(self) -> None:
        """An ellipse with two eyes."""
        size = self.size
        face = (size // 4, size // 6, size * 3 // 4, size * 5 // 6)
        self.pen.ellipse(face, fill=self._colour())

        y = size * 2 // 5
        for x in (size * 2 // 5, size * 3 // 5):
            self.pen.ellipse((x - 9, y - 9, x + 9, y + 9), fill=self._colour())

    def draw_page(self) -> None:
        """Lines of letters on white."""
        self.image.paste("white", (0, 0, self.size, self.size))
        for y in range(8, self.size - 8, 12):
            codes = self.random.integers(0, 32, 40)
            text = "".join(chr(97 + code) if code < 26 else " " for code in codes)
            self.pen.text((8, y), text, fill="black")

    def draw_stripes(self) -> None:
        """Slanted lines of different widths."""
        for x in range(0, self.size, self._integer(6, 40)):
            end = x + self._integer(-80, 80)
            colour = self._colour()
            self.pen.line((x, 0, end, self.size), fill=colour, width=self._integer(2, 12))

    def draw_noise(self) -> None:
        """Every pixel by itself."""
        pixels = self.random.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        self.image = Image.fromarray(pixels)

    def draw_nothing(self) -> None:
        """A plain colour."""

    def _colour(self) -> tuple[int, int, int]:
        red, green, blue = (int(value) for value in self.random.integers(0, 256, 3))
        return red, green, blue

    def _rectangle(self) -> tuple[int, int, int, int]:
        """The corners x0, y0, x1, y1 of a rectangle somewhere, at least a pixel wide and high."""
        x0, x1 = sorted(int(x) for x in self.random.integers(0, self.size, 2))
        y0, y1 = sorted(int(y) for y in self.random.integers(0, self.size, 2))
        return x0, y0, x1 + 1, y1 + 1

    def _integer(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high))
