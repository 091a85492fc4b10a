"""Which boxes meet lesions, and how many random ones would."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.lesions import lesion_hits

LESION = np.array([[0.1, 0.1, 0.2, 0.2]])
NO_LESION = np.empty((0, 4))

# On the lesion; beside it, but holding its centre; elsewhere; in a photograph without a lesion.
BOXES = np.array([[0.15, 0.15, 0.1], [0.22, 0.15, 0.1], [0.8, 0.8, 0.1], [0.5, 0.5, 0.1]])
INNER_BOXES = BOXES * [1, 1, 0.5]


def test_boxes_that_meet_lesions_are_counted() -> None:
    hits = lesion_hits([BOXES, INNER_BOXES], [LESION, LESION, LESION, NO_LESION])
    assert all(len(values) == 3 for values in hits.values())
    assert hits["box2_centre_on"].tolist() == [1, 0, 0]
    assert hits["box2_holds"].tolist() == [1, 1, 0]
    assert hits["box3_holds"].tolist() == [1, 0, 0]


def test_chance_is_that_of_random_boxes_of_the_same_sizes() -> None:
    count = 3000
    boxes = BOXES[:1].repeat(count, axis=0)
    inner_boxes = INNER_BOXES[:1].repeat(count, axis=0)
    hits = lesion_hits([boxes, inner_boxes], [LESION] * count)

    # Centres of boxes 0.2 wide lie in 0.1 to 0.9: up to 0.25 they hold the lesion's centre, up to
    # 0.2 they are on it.
    holds = (0.15 / 0.8) ** 2
    centre_on = (0.1 / 0.8) ** 2
    assert hits["box2_holds_chance"].mean() == pytest.approx(holds, abs=0.002)
    assert hits["box2_centre_on_chance"].mean() == pytest.approx(centre_on, abs=0.002)

    # Centres of the inner boxes lie within 0.05 of the outer ones'.
    random = np.random.default_rng(1)
    outer_centres = random.uniform(0.1, 0.9, (400_000, 2))
    inner_centres = outer_centres + random.uniform(-0.05, 0.05, outer_centres.shape)
    inner_holds = (np.abs(inner_centres - 0.15) <= 0.05).all(axis=1)
    assert hits["box3_holds_chance"].mean() == pytest.approx(inner_holds.mean(), abs=0.002)
