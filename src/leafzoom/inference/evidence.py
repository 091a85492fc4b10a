"""What speaks for each label of one photo, place by place, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.inference.network import EvidenceArrays

__all__ = ["Evidence"]

Box = tuple[float, float, float, float]

_DECIMALS = 5
_TINT = (200, 30, 160)  # magenta: neither leaves nor rust have it
_GREATEST_TINT = 0.5  # share of the tint where the evidence is greatest
_LEAST_BRIGHTNESS = 0.4  # of the photo where there is none


@dataclass(frozen=True)
class Evidence:
    """What the logits of the answer are the sum of.

    The logit of a label is its `bias` plus the sum of its maps over all places of all scales: no
    gradients, nothing left out. A positive number speaks for the label, a negative one against it.

    Attributes:
        maps: of each scale, {label: [h, w]}: rows from the top and columns from the left of the
            scale's box (`ScalePrediction.box`). Looks at the photo's mirror image, whose boxes may
            differ by a little, are mirrored back and averaged.
        bias: {label: what comes from no place}.
        closest_box: the box of the closest look (`model.closest_look`), 6 % of the photo, x0, y0,
            x1, y1 in pixels of the upright photo; None after an early exit.
    """

    maps: tuple[dict[str, NDArray[np.float32]], ...]
    bias: dict[str, float]
    closest_box: Box | None = None

    def logit(self, label: str) -> float:
        """The label's logit, by the sum.

        Raises:
            KeyError: the model has no such label.
        """
        return self.bias[label] + sum(float(maps[label].sum()) for maps in self.maps)

    def share(self, label: str, scale: int) -> float:
        """What the view of one scale, counted from 1, adds to the label's logit."""
        return float(self.maps[scale - 1][label].sum())

    def overlay(self, image: Image.Image, label: str, scale: int) -> Image.Image:
        """A view with what speaks for a label tinted, and the rest darkened.

        The strongest place of all scales has the strongest tint, so that scales can be compared.
        What speaks against the label is not drawn.

        Args:
            image: the view, RGB: the photo, or the part of it in the scale's box.
            label: of the model.
            scale: whose view it is, from 1.
        """
        greatest = max(float(maps[label].max()) for maps in self.maps)
        tiny = float(np.finfo(np.float32).tiny)
        strength = self.maps[scale - 1][label] / max(greatest, tiny)
        strength = strength.clip(0, 1).astype(np.float32)
        smooth = Image.fromarray(strength).resize(image.size, Image.Resampling.BICUBIC)

        share = np.asarray(smooth)[:, :, None].clip(0, 1)
        pixels = np.asarray(image, np.float32)
        pixels = pixels * (_LEAST_BRIGHTNESS + (1 - _LEAST_BRIGHTNESS) * np.sqrt(share))
        tinted = pixels + (np.array(_TINT, np.float32) - pixels) * (_GREATEST_TINT * share)
        return Image.fromarray(tinted.round().astype(np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """The evidence as a JSON object, rounded to five decimals: its sums hold to about 0.001."""
        maps = []
        for label_maps in self.maps:
            rounded = {
                label: label_map.astype(float).round(_DECIMALS).tolist()
                for label, label_map in label_maps.items()
            }
            maps.append(rounded)
        return {
            "bias": {label: round(value, _DECIMALS) for label, value in self.bias.items()},
            "maps": maps,
            "closest_box": None if self.closest_box is None else list(self.closest_box),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_dict`.

        Raises:
            KeyError, ValueError: a key is missing, or a map has no rows of one length.
        """
        maps = []
        for label_maps in content["maps"]:
            arrays = {label: np.array(rows, np.float32) for label, rows in label_maps.items()}
            if any(array.ndim != 2 for array in arrays.values()):
                raise ValueError("an evidence map has rows of different lengths")
            maps.append(arrays)
        box = content["closest_box"]
        if box is not None:
            x0, y0, x1, y1 = box
            box = (x0, y0, x1, y1)
        return cls(tuple(maps), dict(content["bias"]), box)

    @classmethod
    def from_arrays(
        cls,
        arrays: EvidenceArrays,
        row: int,
        labels: Sequence[str],
        closest_box: Box | None,
    ) -> Evidence:
        """The evidence of the photo in one row of a network's outputs."""
        maps = tuple(dict(zip(labels, scale[row], strict=True)) for scale in arrays.maps)
        bias = [float(value) for value in arrays.bias[row]]
        return cls(maps, dict(zip(labels, bias, strict=True)), closest_box)
