"""The measurement of class weights, on rendered leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import TINY
from experiments.class_weights import measure_class_weights
from leafzoom.dataset.split import Split
from leafzoom.storage import write_json


@pytest.mark.slow
def test_all_kinds_are_trained_and_compared(leaves: Path, split: Split, tmp_path: Path) -> None:
    write_json(tmp_path / "parts.json", split.to_dict())
    changes = [*TINY, "fine_tuning.epochs=1", "alternation.classifier_epochs=0"]
    changes.append("alternation.rounds=0")
    result = measure_class_weights(
        leaves, tmp_path / "parts.json", tmp_path / "runs", [0, 1], changes
    )

    assert set(result["kinds"]) == {"none", "sqrt", "inverse"}
    assert result["judged"]["photographs"] == len(split.test)
    for kind in ("sqrt", "inverse"):
        rows = result["kinds"][kind]["heads"]
        seeds = [scores["macro_f1"] for scores in rows["by seed"].values()]
        assert rows["mean"]["macro_f1"] == pytest.approx(sum(seeds) / 2, abs=1e-4)

        none = result["kinds"]["none"]["heads"]["mean"]["macro_f1"]
        difference = result["differences from none"][kind]["macro_f1, heads"]
        expected = rows["mean"]["macro_f1"] - none
        assert difference["difference"] == pytest.approx(expected, abs=2e-4)
        low, high = difference["interval"]
        assert low <= high
