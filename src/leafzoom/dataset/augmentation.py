"""Random changes of a batch of sources on the device, drawn for each photograph by itself.

The changes are kornia's; the draws come from a seed alone, so that an epoch of a training can be repeated.
"""

from __future__ import annotations

import torch
from kornia import augmentation as kornia_augmentation
from torch import Tensor, nn

__all__ = ["Augmentation", "to_float"]


def to_float(sources: Tensor) -> Tensor:
    """Sources uint8 [B, S, S, 3] as float32 [B, 3, S, S] in 0..1."""
    return sources.permute(0, 3, 1, 2).contiguous().float().div_(255)


class Augmentation:
    """Flips, transposes, random crops enlarged to the source's size, colour jitter.

    Args:
        source_size: S, the side of a source in pixels.
        flip: left-right and up-down, each of even chance.
        transpose: turn by 0 to 3 quarters; with flips all eight symmetries of the square.
        crop_scale: the least share of the area that a crop keeps; 1 for no crop.
        crop_aspect: the greatest ratio of a crop's sides.
        brightness, contrast, saturation, hue: ranges of the colour jitter; 0 for none.
    """

    def __init__(
        self,
        *,
        source_size: int,
        flip: bool,
        transpose: bool,
        crop_scale: float,
        crop_aspect: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
    ) -> None:
        parts: list[nn.Module] = []
        if flip:
            parts += [
                kornia_augmentation.RandomHorizontalFlip(p=0.5),
                kornia_augmentation.RandomVerticalFlip(p=0.5),
            ]
        if transpose:
            parts.append(kornia_augmentation.RandomRotation90((0, 3), p=1.0))
        if crop_scale < 1:
            parts.append(
                kornia_augmentation.RandomResizedCrop(
                    (source_size, source_size),
                    scale=(crop_scale, 1.0),
                    ratio=(1 / crop_aspect, crop_aspect),
                    p=1.0,
                )
            )
        if brightness or contrast or saturation or hue:
            parts.append(kornia_augmentation.ColorJiggle(brightness, contrast, saturation, hue, p=1.0))
        self._sequence = (
            kornia_augmentation.AugmentationSequential(*parts, data_keys=["input"], same_on_batch=False)
            if parts
            else None
        )

    def __call__(self, sources: Tensor, seed: int) -> Tensor:
        """Augment a batch; the same seed gives the same draws, and the global random state is left as it was.

        Args:
            sources: uint8 [B, S, S, 3].
            seed: of all draws of this batch.

        Returns:
            float32 [B, 3, S, S] in 0..1.
        """
        pictures = to_float(sources)
        if self._sequence is None:
            return pictures
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            augmented: Tensor = self._sequence(pictures)
        return augmented.clamp_(0, 1)
