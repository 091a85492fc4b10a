"""Rendered leaves: reproducible, with known lesions whose kind shows only in detail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.dataset import synthetic
from leafzoom.dataset.synthetic import SYNTHETIC_LABELS, render_leaves, write_class_folders
from leafzoom.dataset.table import read_table


def test_rendered_leaves_are_reproducible_and_have_known_lesions() -> None:
    first, second = (list(render_leaves(8, size=96, seed=3)) for _ in range(2))

    for leaf, same in zip(first, second, strict=True):
        assert np.array_equal(leaf.pixels, same.pixels)
        assert len(leaf.lesions) == (leaf.labels != ("healthy",))
        assert all(0 < x0 < x1 < 96 and 0 < y0 < y1 < 96 for x0, y0, x1, y1 in leaf.lesions)
        assert set(leaf.labels) <= set(SYNTHETIC_LABELS)

    other_seed = next(render_leaves(1, size=96, seed=4))
    assert not np.array_equal(first[0].pixels, other_seed.pixels)


def patch(kind: str, reduction: int, seed: int) -> NDArray[np.float64]:
    """Grey levels of a patch of spots on plain green, drawn as in a leaf and averaged down."""
    canvas = Image.new("RGB", (768, 768), (80, 130, 50))
    synthetic._draw_patch(canvas, [kind], (384, 384), np.random.default_rng(seed))

    crop = canvas.crop((288, 288, 480, 480))
    side = round(192 / reduction)
    return np.asarray(crop.resize((side, side), Image.Resampling.BOX), np.float64).mean(axis=2)


def test_the_kinds_of_lesion_look_alike_at_low_resolution_and_differ_in_detail() -> None:
    """The same patches of both kinds: nearly the same at 96 px (an eighth), different at 384 px."""
    ring_spot, solid_spot = SYNTHETIC_LABELS[1:]
    coarse_differences = []
    fine_differences = []
    brightness_differences = []

    for seed in range(40):
        coarse_ring = patch(ring_spot, 8, seed)
        coarse_solid = patch(solid_spot, 8, seed)
        fine_ring = patch(ring_spot, 2, seed)
        fine_solid = patch(solid_spot, 2, seed)

        # How much a spot stands out from the green at low resolution.
        contrast = np.abs(coarse_solid - coarse_solid[0, 0]).max()
        coarse_differences.append(np.abs(coarse_ring - coarse_solid).mean() / contrast)
        fine_differences.append(np.abs(fine_ring - fine_solid).mean() / contrast)
        brightness_differences.append((coarse_ring.mean() - coarse_solid.mean()) / contrast)

    assert abs(np.mean(brightness_differences)) < 0.005
    assert np.mean(fine_differences) > 2.5 * np.mean(coarse_differences)


def test_leaves_of_one_label_are_a_folder_a_class(tmp_path: Path) -> None:
    leaves = list(render_leaves(7, size=64, seed=0, single_label=True))
    assert [leaf.labels for leaf in leaves[:4]] == [
        (name,) for name in (*SYNTHETIC_LABELS, "healthy")
    ]

    table = read_table(write_class_folders(tmp_path, 7, size=64, seed=0)).require_one_label()
    labels = {row.path.name: row.labels for row in table.rows}
    assert labels == {f"leaf-{index:05d}.jpg": leaf.labels for index, leaf in enumerate(leaves)}
