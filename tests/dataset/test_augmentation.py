"""Augmentation: independent draws for each photograph, from the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.cache import Cache


def test_augmentation_draws_for_each_photograph_and_from_the_seed_alone(cache: Cache) -> None:
    augmentation = Augmentation(
        source_size=96,
        flip=True,
        transpose=True,
        crop_scale=0.6,
        crop_aspect=1.25,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.0,
    )
    copies = torch.from_numpy(np.repeat(cache.sources[:1], 8, axis=0))

    torch.manual_seed(5)
    images = augmentation(copies, 1)
    torch.manual_seed(7)
    assert torch.equal(images, augmentation(copies, 1))
    assert not torch.equal(images, augmentation(copies, 2))

    # The global random state is as `manual_seed(7)` left it.
    state = torch.get_rng_state()
    assert torch.equal(state, torch.manual_seed(7).get_state())

    assert len({image.numpy().tobytes() for image in images}) == 8
    assert images.min() >= 0
    assert images.max() <= 1


def plain(source_size: int, **changes: float) -> Augmentation:
    """An augmentation that changes nothing but what is asked for."""
    return Augmentation(
        source_size=source_size,
        flip=False,
        transpose=False,
        crop_scale=1.0,
        crop_aspect=1.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        **changes,
    )


@pytest.mark.parametrize(
    "change", ["white_balance", "gamma", "grey", "blur", "sharpness", "zoom_out"]
)
def test_each_change_happens_with_its_probability_and_keeps_the_range(
    cache: Cache, change: str
) -> None:
    source = torch.from_numpy(np.array(cache.sources[:1]))
    copies = source.repeat(40, 1, 1, 1)
    unchanged = plain(source.shape[1])(source, 0)[0]

    images = plain(source.shape[1], **{change: 0.5})(copies, 3)

    is_changed = [not torch.allclose(image, unchanged, atol=2e-3) for image in images]
    assert 8 <= sum(is_changed) <= 32
    assert images.min() >= 0
    assert images.max() <= 1


def test_blur_lowers_detail_and_grey_removes_colour(cache: Cache) -> None:
    source = torch.from_numpy(np.array(cache.sources[:1]))
    size = source.shape[1]
    unchanged = plain(size)(source, 0)

    blurred = plain(size, blur=1.0)(source, 1)
    grey = plain(size, grey=1.0)(source, 1)

    assert blurred.diff(dim=3).abs().mean() < unchanged.diff(dim=3).abs().mean()
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)


def test_zooming_out_shows_the_whole_photograph_smaller() -> None:
    source = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    source[:, 8:16, 8:16] = 255  # a mark near a corner

    images = plain(96, zoom_out=1.0)(source.repeat(8, 1, 1, 1), 0)

    # The mark moves towards the middle; beyond the border its mirror image may come in.
    marked = images[:, 0] > 0.5
    assert marked.any(dim=(1, 2)).all()
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": True, "transpose": True},
        {"crop_scale": 0.4, "crop_aspect": 1.5},
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        {"white_balance": 0.5},
        {"gamma": 0.5},
        {"grey": 0.5},
        {"blur": 0.5},
        {"sharpness": 0.5},
        {"zoom_out": 0.5},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_share_of_a_batch_is_augmented_as_in_the_whole(
    cache: Cache, changes: dict[str, float]
) -> None:
    """Of four photographs, because kornia's other parameters have four values too."""
    values = {name: False if name in ("flip", "transpose") else 0.0 for name in PLAIN_VALUES}
    whole_frame = {"crop_scale": 1.0, "crop_aspect": 1.0}
    augmentation = Augmentation(source_size=96, **{**values, **whole_frame, **changes})
    sources = torch.from_numpy(np.array(cache.sources[:4]))

    whole = augmentation(sources, 3)
    assert not torch.allclose(whole, plain(96)(sources, 3))

    shares = [(0, 1), (1, 4)]
    parts = [augmentation(sources[a:b], 3, first=a, batch_size=4) for a, b in shares]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


PLAIN_VALUES = ("flip", "transpose", "brightness", "contrast", "saturation", "hue")
