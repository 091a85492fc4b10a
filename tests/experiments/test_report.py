"""From measured runs to the rows of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments import report


def test_zoom_value_compares_boxes_for_the_same_classifiers(tmp_path: Path) -> None:
    """From a network's answers with four kinds of boxes to the table's row, two seeds."""
    random = np.random.default_rng(0)
    learned = random.uniform(size=(2, 500)) < 0.8
    random_differences = []
    for seed in range(2):
        folder = tmp_path / f"arm-{seed}"
        folder.mkdir()
        (folder / "measured.npz").touch()
        recipe = '{"model": {"proposals": "apn"}}'
        (folder / "recipe.json").write_text(recipe, encoding="utf-8")

        message = rf"arm-{seed} has no zoom-value\.npz: python -m experiments\.zoom_value DATA"
        with pytest.raises(SystemExit, match=message):
            report.zoom_values(tmp_path, ["arm"])

        hits = {
            "learned scale2": learned[seed],
            "centre scale2": learned[seed],
            "random scale2": random.uniform(size=500) < 0.1,
            "response scale2": random.uniform(size=500) < 0.6,
        }
        random_differences.append(learned[seed].mean() - hits["random scale2"].mean())
        np.savez_compressed(folder / "zoom-value.npz", **hits)  # type: ignore[arg-type]

    values = report.zoom_values(tmp_path, ["arm", "other"])
    assert list(values) == ["arm"]
    assert list(values["arm"]) == ["scale2"]

    value = values["arm"]["scale2"]
    assert value.seeds == 2
    assert value.exact_match == pytest.approx(learned.mean(), abs=1e-4)
    assert value.differences["centre"].difference == 0
    by_seed = value.differences["random"].by_seed
    assert by_seed == pytest.approx(random_differences, abs=1e-4)
    assert value.differences["random"].interval[0] > 0
