"""Five folds of all photographs, and one label's scores over them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments import complex_folds
from experiments.complex_folds import fold_splits, measure_folds
from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.labels import LabelSet
from leafzoom.model_file.manifest import Manifest
from leafzoom.recipe import Recipe
from tools.complex_tables import complex_folds as folds_table
from tools.out_of_fold import Selection

COMBINATIONS = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0))
LABELS = LabelSet(("complex", "rust", "scab"), COMBINATIONS)


class _Checkpoint:
    manifest = SimpleNamespace(labels=LABELS)


def simulated_fold(seed: int) -> Selection:
    """300 photographs with noisy logits."""
    random = np.random.default_rng(seed)
    targets = np.array(COMBINATIONS, np.uint8)[random.integers(0, len(COMBINATIONS), 300)]
    logits = (2.0 * targets - 1) * 2 + random.normal(0, 2, targets.shape)
    names = tuple(f"{seed}-{number}.jpg" for number in range(300))
    return Selection(names, targets, {"scale1": logits})


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """What two simulated folds give."""
    measured = measure_folds([simulated_fold(1), simulated_fold(2)], LABELS, "complex")
    return {"command": "python -m experiments.complex_folds DATA RUNS", **measured}


def test_every_photograph_is_held_out_once_with_its_duplicates(cache: Cache) -> None:
    splits = fold_splits(cache)
    held_out = list(chain.from_iterable(split.validation for split in splits))
    assert sorted(held_out) == sorted(cache.table.image_names)
    assert all(not set(split.train) & set(split.validation) for split in splits)

    groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))
    fold_of_group: dict[int, int] = {}
    for number, split in enumerate(splits):
        for name in split.validation:
            group = int(groups[cache.table.image_names.index(name)])
            assert fold_of_group.setdefault(group, number) == number


def test_scores_are_over_all_folds_and_in_each(result: dict[str, Any]) -> None:
    assert result["photographs"] == 600
    assert result["folds"] == [300, 300]
    first, *others = result["decisions"].values()
    assert first["label_f1"]["difference"] == 0.0

    for scores in (first, *others):
        by_fold = scores["label_f1"]["by_fold"]
        assert len(by_fold) == 2
        assert min(by_fold) - 1e-4 <= scores["label_f1"]["value"] <= max(by_fold) + 1e-4


def test_the_table_has_a_row_for_every_decision(result: dict[str, Any]) -> None:
    lines = folds_table(result)
    assert len(lines) == 2 + len(result["decisions"]) + 2
    assert "600 photographs" in lines[-1]


def test_finished_folds_are_resumed(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = []

    def train(
        _cache: Cache, split: Split, _recipe: Recipe, run: Path, *, resume: bool, **_: object
    ) -> None:
        resumed.append((split.name, run.name, resume))

    def read_selection(run: Path, _manifest: Manifest) -> Selection:
        return simulated_fold(int(run.name[-1]))

    written: dict[str, Any] = {}
    monkeypatch.setattr(complex_folds, "train", train)
    monkeypatch.setattr(complex_folds, "read_selection", read_selection)
    monkeypatch.setattr(complex_folds, "load_checkpoint", lambda _: _Checkpoint())
    monkeypatch.setattr(
        complex_folds, "write_result", lambda name, content: written.update(content)
    )
    monkeypatch.setattr("sys.argv", ["complex_folds", str(leaves), str(tmp_path)])
    for number in (1, 2):
        (tmp_path / f"fold-{number}").mkdir()
        (tmp_path / f"fold-{number}" / "run.json").touch()

    complex_folds.main()
    names = [f"fold-{number}" for number in range(1, 6)]
    finished = [True, True, False, False, False]
    assert resumed == list(zip(names, names, finished, strict=True))
    assert written["photographs"] == 1500
