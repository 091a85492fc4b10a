"""tools/cutouts.py: a leaf is cut out where it stands, and laid on another ground."""

from __future__ import annotations

import numpy as np

from tools.cutouts import cut_out, lay_on, photometric_change, table_top, varied_leaves

SIDE = 128


def leaf_on_ground(seed: int = 0) -> np.ndarray:
    """A green ellipse on brown ground, both with grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    is_leaf = (x / 45) ** 2 + (y / 30) ** 2 < 1
    picture = np.where(is_leaf[..., None], (60, 140, 50), (120, 90, 70))
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def is_green(picture: np.ndarray) -> np.ndarray:
    colours = picture.astype(int)
    return (colours[..., 1] > colours[..., 0] + 20) & (colours[..., 1] > colours[..., 2] + 20)


def test_the_leaf_is_cut_out_where_it_is() -> None:
    picture = leaf_on_ground()

    leaf = cut_out(picture)

    assert leaf is not None
    mask = leaf.mask > 127
    expected = is_green(picture)
    overlap = (mask & expected).sum() / (mask | expected).sum()
    assert overlap > 0.9


def test_no_leaf_is_cut_out_of_one_colour() -> None:
    assert cut_out(np.full((SIDE, SIDE, 3), 128, np.uint8)) is None


def test_the_leaf_is_laid_on_the_other_ground() -> None:
    leaf = cut_out(leaf_on_ground())
    assert leaf is not None
    ground = np.full((SIDE, SIDE, 3), 200, np.uint8)

    laid = [lay_on(np.random.default_rng(seed), leaf, ground) for seed in range(6)]

    for picture in laid:
        green = is_green(picture).mean()
        assert 0.05 < green < 0.8
        assert (picture[0, 0] >= 40).all()  # ground, perhaps in shadow, not the old brown
        assert abs(int(picture[0, 0, 0]) - int(picture[0, 0, 2])) < 12
    assert len({picture.tobytes() for picture in laid}) == 6


def test_grounds_and_changes_are_pictures_of_the_same_size_and_differ() -> None:
    random = np.random.default_rng(0)
    picture = leaf_on_ground()

    for made in (table_top(random, SIDE), photometric_change(random, picture)):
        assert made.shape == picture.shape
        assert made.dtype == np.uint8
    assert table_top(random, SIDE).tobytes() != table_top(random, SIDE).tobytes()


def test_each_leaf_gives_two_pictures_and_the_seed_gives_the_same_ones() -> None:
    pictures = [leaf_on_ground(0), leaf_on_ground(1), np.full((SIDE, SIDE, 3), 9, np.uint8)]

    first = list(varied_leaves(pictures, [], 3))
    second = list(varied_leaves(pictures, [], 3))

    assert len(first) == 5  # nothing can be cut out of the last one
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
