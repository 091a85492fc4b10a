"""The gallery shows the photographs that its groups' names promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.untrained import LABELS
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.gallery import choose_photographs, gallery_groups, gallery_item

TARGETS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0]])
ANSWERS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
POSTERIOR = np.array(
    [
        [0.97, 0.01, 0.01, 0.01],
        [0.20, 0.70, 0.05, 0.05],
        [0.30, 0.30, 0.40, 0.00],
        [0.95, 0.02, 0.02, 0.01],
        [0.10, 0.80, 0.05, 0.05],
        [0.00, 1.00, 0.00, 0.00],
    ]
)


def test_groups_are_chosen_by_answer_and_confidence() -> None:
    rows = choose_photographs(TARGETS, ANSWERS, POSTERIOR, LABELS, 3)
    assert set(rows["wrong"]) == {3, 4}
    assert rows["uncertain"] == [2, 1, 4]
    assert rows["suspect"] == [3]

    # One of each combination that is ever right.
    combinations = {tuple(TARGETS[row]) for row in rows["right"]}
    assert len(combinations) == 3


def test_every_photograph_is_drawn_with_a_tile_and_labels_for_each_scale(
    evaluation: Evaluation, cache: Cache
) -> None:
    groups = gallery_groups(evaluation, cache.table)
    titles = [group.title for group in groups]
    assert titles == ["Right", "Wrong", "Most uncertain", "Suspect labels"]

    uncertain = groups[2].photographs
    assert len(uncertain) == 8
    for item in uncertain:
        assert len(item.images) == len(item.scale_labels) == 3
        assert all(labels[0][1] >= labels[-1][1] for labels in item.scale_labels)


def test_without_all_scales_no_probabilities_are_listed(
    evaluation: Evaluation, cache: Cache
) -> None:
    probabilities = {"fusion123": evaluation.probabilities["fusion123"]}
    groups = gallery_groups(replace(evaluation, probabilities=probabilities), cache.table)
    assert all(item.scale_labels == ((), (), ()) for item in groups[2].photographs)


@pytest.mark.parametrize(
    ("probabilities", "listed"),
    [
        ({"a": 0.2, "b": 0.1}, (("a", 0.2),)),
        ({"a": 0.4, "b": 0.9, "c": 0.3}, (("b", 0.9), ("a", 0.4))),
        ({}, ()),
    ],
)
def test_the_best_label_is_listed_and_those_of_a_third_or_more(
    leaves: Path, probabilities: dict[str, float], listed: tuple[tuple[str, float], ...]
) -> None:
    item = gallery_item(
        leaves / "train_images" / "leaf-00001.jpg",
        "leaf-00001.jpg",
        target_labels=("a",),
        predicted_labels=("b",),
        confidence=0.5,
        boxes=[np.array([0, 0, 96, 96]), np.array([10, 10, 50, 50])],
        probabilities=[probabilities, {}],
    )
    assert item is not None
    assert item.scale_labels == (listed, ())
    assert len(item.images) == 2


def test_a_file_that_cannot_be_read_any_more_is_left_out(tmp_path: Path) -> None:
    item = gallery_item(
        tmp_path / "gone.jpg",
        "gone.jpg",
        target_labels=(),
        predicted_labels=(),
        confidence=0.5,
        boxes=[],
        probabilities=[],
    )
    assert item is None
