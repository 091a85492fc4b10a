"""Random changes of a batch of sources on the device, drawn for each photograph independently.

The changes are kornia's. All draws come from one seed, so that an epoch of a training can be
repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from kornia import augmentation as kornia_augmentation
from kornia.augmentation.container.params import ParamItem
from torch import Tensor, nn

from leafzoom.dataset.sources import sources_to_images

__all__ = ["Augmentation"]

_GAMMA = (0.7, 1.4)
_BLUR_SIGMA_PX = (0.3, 2.0)
_BLUR_KERNEL_PX = (9, 9)
_SHARPNESS = (0.0, 3.0)
_ZOOMED_OUT_SIZE = (0.5, 1.0)

# kornia's parameters without a row for each photograph: the order of a colour jitter's changes,
# and the batch's shape.
_DRAWN_FOR_THE_BATCH = frozenset({"order", "forward_input_shape"})


class Augmentation:
    """Flips, transposes, random crops enlarged to the source's size, colour, light, sharpness.

    Args:
        source_size: S, the side of a source in pixels.
        flip: left-right and up-down, each with probability 0.5.
        transpose: turn by 0 to 3 quarters; with flips all eight symmetries of the square.
        crop_scale: the smallest share of the area that a crop keeps; 1 for no crop.
        crop_aspect: the greatest ratio of a crop's sides.
        brightness: factors 1 ± this of the colour jitter; 0 for none.
        contrast: likewise.
        saturation: likewise.
        hue: turns of the colour wheel, ± this; 0 for none.
        white_balance: probability of light of another colour temperature (a black body's).
        gamma: probability of another exposure.
        grey: probability of a grey photograph.
        blur: probability of a Gaussian blur.
        sharpness: probability of softer or sharper edges (0: smoothed, 1: as they are).
        zoom_out: probability that the photograph shrinks, with its mirror images around it.
    """

    def __init__(  # noqa: PLR0913, a recipe's values one by one
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
        white_balance: float = 0.0,
        gamma: float = 0.0,
        grey: float = 0.0,
        blur: float = 0.0,
        sharpness: float = 0.0,
        zoom_out: float = 0.0,
    ) -> None:
        steps: list[nn.Module] = []
        if flip:
            steps.append(kornia_augmentation.RandomHorizontalFlip(p=0.5))
            steps.append(kornia_augmentation.RandomVerticalFlip(p=0.5))
        if transpose:
            steps.append(kornia_augmentation.RandomRotation90((0, 3), p=1.0))
        steps += _zooms(source_size, crop_scale, crop_aspect, zoom_out)

        if brightness or contrast or saturation or hue:
            jitter = kornia_augmentation.ColorJiggle(brightness, contrast, saturation, hue, p=1.0)
            steps.append(jitter)
        steps += _camera_changes(white_balance, gamma, grey, blur, sharpness)

        self._sequence: kornia_augmentation.AugmentationSequential | None = None
        if steps:
            self._sequence = kornia_augmentation.AugmentationSequential(
                *steps, data_keys=["input"], same_on_batch=False
            )

    def __call__(
        self, sources: Tensor, seed: int, *, first: int = 0, batch_size: int | None = None
    ) -> Tensor:
        """Augment a batch, or a share of it; the same seed gives the same draws.

        All draws of the whole batch are made for a share too, so a photograph looks the same
        whichever process augments it. torch's global random state is the same afterwards as before.

        Args:
            sources: uint8 [B, S, S, 3].
            seed: of all draws of this batch.
            first: index of the first of these photographs in the whole batch.
            batch_size: how many photographs the whole batch has; None: these.

        Returns:
            float32 [B, 3, S, S] in 0..1.
        """
        images = sources_to_images(sources)
        if self._sequence is None:
            return images

        # kornia draws from the global generator of the CPU.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            parameters = None
            if batch_size not in (None, len(images)):
                shape = torch.Size([batch_size, *images.shape[1:]])
                drawn = self._sequence.forward_parameters(shape)
                parameters = _parameters_of_rows(drawn, first, images.shape)
            augmented: Tensor = self._sequence(images, params=parameters)
        return augmented.clamp_(0, 1)


def _parameters_of_rows(
    drawn: Sequence[ParamItem], first: int, shape: torch.Size
) -> list[ParamItem]:
    """What kornia drew for a whole batch, for some consecutive rows of it.

    Args:
        drawn: of the whole batch, by operation.
        first: the first row.
        shape: of the images of these rows, [B, 3, S, S].
    """
    rows = slice(first, first + shape[0])
    items = []
    for item in drawn:
        assert isinstance(item.data, dict)
        own = {}
        for name, values in item.data.items():
            own[name] = values if name in _DRAWN_FOR_THE_BATCH else values[rows]
        own["forward_input_shape"] = torch.tensor(shape)
        items.append(ParamItem(item.name, own))
    return items


def _zooms(
    source_size: int, crop_scale: float, crop_aspect: float, zoom_out: float
) -> list[nn.Module]:
    """A smaller leaf, then a crop enlarged to the source's size."""
    steps: list[nn.Module] = []
    if zoom_out:
        shrink = kornia_augmentation.RandomAffine(
            degrees=0.0, scale=_ZOOMED_OUT_SIZE, padding_mode="reflection", p=zoom_out
        )
        steps.append(shrink)

    if crop_scale < 1:
        crop = kornia_augmentation.RandomResizedCrop(
            (source_size, source_size),
            scale=(crop_scale, 1.0),
            ratio=(1 / crop_aspect, crop_aspect),
            p=1.0,
        )
        steps.append(crop)
    return steps


def _camera_changes(
    white_balance: float, gamma: float, grey: float, blur: float, sharpness: float
) -> list[nn.Module]:
    """What other cameras and other light change."""
    steps: list[nn.Module] = []
    if white_balance:
        planck = kornia_augmentation.RandomPlanckianJitter(mode="blackbody", p=white_balance)
        steps.append(planck)
    if gamma:
        steps.append(kornia_augmentation.RandomGamma(_GAMMA, (1.0, 1.0), p=gamma))
    if grey:
        steps.append(kornia_augmentation.RandomGrayscale(p=grey))
    if blur:
        gauss = kornia_augmentation.RandomGaussianBlur(_BLUR_KERNEL_PX, _BLUR_SIGMA_PX, p=blur)
        steps.append(gauss)
    if sharpness:
        steps.append(kornia_augmentation.RandomSharpness(_SHARPNESS, p=sharpness))
    return steps
