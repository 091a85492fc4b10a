"""The whole network's heads are means over mirror images."""

from __future__ import annotations

import pytest
import torch

from conftest import TINY
from leafzoom.model.build import build_fusions
from leafzoom.model.fusion import FusedNetwork, head_names
from leafzoom.recipe import load_recipe
from network_helpers import small_racnn


@pytest.mark.parametrize(("tta", "axes"), [(2, [(), (3,)]), (4, [(), (3,), (2,), (2, 3)])])
def test_heads_are_means_over_mirror_images(tta: int, axes: list[tuple[int, ...]]) -> None:
    recipe = load_recipe("default", [*TINY, f"prediction.tta={tta}"])
    racnn = small_racnn()
    fusions = build_fusions(recipe.fusion, racnn)
    plain = FusedNetwork(racnn, fusions).eval()
    augmented = FusedNetwork(racnn, fusions, tta).eval()
    sources = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        output = augmented(sources)
        # Axes of images [B, 3, S, S]; those of sources [B, S, S, 3] are one less.
        mirrored = [plain(sources.flip([axis - 1 for axis in flipped])) for flipped in axes]

    for head in head_names(3):
        expected = torch.stack([one.logits[head] for one in mirrored]).mean(dim=0)
        torch.testing.assert_close(output.logits[head], expected, rtol=1e-4, atol=1e-5)
    for box, expected_box in zip(output.boxes, mirrored[0].boxes, strict=True):
        torch.testing.assert_close(box, expected_box)
