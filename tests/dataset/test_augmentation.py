"""Augmentation: independent draws for each photograph, from the seed alone."""

from __future__ import annotations

import numpy as np
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
