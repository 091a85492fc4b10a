"""Batches: every photograph once an epoch, the same batches after a resume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import Batch, DatasetPart, epoch_batches
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.shares import WHOLE, Share

FLIPS = Augmentation(
    source_size=96,
    flip=True,
    transpose=False,
    crop_scale=1.0,
    crop_aspect=1.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
)


@pytest.fixture
def part(cache: Cache) -> DatasetPart:
    """Rows 5 to 49 of the leaves."""
    targets = cache.table.targets(cache.table.label_set())
    return DatasetPart(cache.sources, targets, cache.table.image_names, np.arange(5, 50))


def batches_of(part: DatasetPart, seed: int, first: int = 0) -> list[Batch]:
    """An epoch's batches of up to 8 photographs."""
    device = torch.device("cpu")
    return list(epoch_batches(part, FLIPS, batch_size=8, seed=seed, device=device, first=first))


def test_an_epoch_reads_every_photograph_once(part: DatasetPart) -> None:
    image_names = []
    for batch in batches_of(part, seed=3):
        assert len(batch.image_names) in (7, 8)
        image_names += batch.image_names
    assert sorted(image_names) == sorted(part.image_names[5:50])


def test_an_epoch_can_start_in_its_middle(part: DatasetPart) -> None:
    whole = batches_of(part, seed=3)
    rest = batches_of(part, seed=3, first=4)
    assert [batch.index for batch in rest] == [4, 5]
    assert torch.equal(rest[0].images, whole[4].images)


def test_another_seed_gives_another_order(part: DatasetPart) -> None:
    names = [batch.image_names for batch in batches_of(part, seed=3)]
    other_names = [batch.image_names for batch in batches_of(part, seed=4)]
    assert names != other_names


@pytest.mark.parametrize("batch_size", [2, 3, 4, 7])
def test_no_batch_has_a_single_photograph(part: DatasetPart, batch_size: int) -> None:
    for count in range(2, len(part) + 1):
        some = replace(part, rows=part.rows[:count])
        batches = epoch_batches(
            some, FLIPS, batch_size=batch_size, seed=0, device=torch.device("cpu")
        )
        sizes = [len(batch.image_names) for batch in batches]
        assert sum(sizes) == count
        assert min(sizes) >= 2
        assert max(sizes) <= max(batch_size, 3)


def test_shares_of_a_batch_make_up_the_whole(part: DatasetPart) -> None:
    """Of five photographs a batch and of four, with the same augmentation."""
    part = replace(part, rows=np.arange(9))
    whole = batches_of_share(part, WHOLE)
    first = batches_of_share(part, Share(0, 2))
    second = batches_of_share(part, Share(1, 2))

    assert [len(batch.images) for batch in first] == [2, 2]
    assert [len(batch.images) for batch in second] == [3, 2]
    for batch, one, other in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat([one.images, other.images]), batch.images)
        assert torch.equal(torch.cat([one.targets, other.targets]), batch.targets)
        assert one.image_names == other.image_names == batch.image_names
        assert one.share + other.share == pytest.approx(1)


def batches_of_share(part: DatasetPart, share: Share) -> list[Batch]:
    """An epoch's batches of up to 5 photographs, as one process gets them."""
    device = torch.device("cpu")
    return list(epoch_batches(part, FLIPS, batch_size=5, seed=1, device=device, share=share))
