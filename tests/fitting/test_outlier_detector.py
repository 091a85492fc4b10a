"""fitting/outlier_detector.py: leaves below the limit, kinds left out above it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from leafzoom.fitting.outlier_detector import detector_accepting, fit_outlier_detector

WIDTH = 12


def pictures(count: int, centre: float, seed: int) -> NDArray[np.float32]:
    """Features around a centre in the first four dimensions; the last one is the colour."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, WIDTH))
    features[:, :4] += centre
    colour = np.full((count, 1), 0.25)
    return np.concatenate([features, colour], axis=1).astype(np.float32)


def test_leaves_are_accepted_and_a_kind_that_was_not_fitted_is_refused() -> None:
    leaves = pictures(300, 0.0, 0)
    rooms = pictures(60, 4.0, 1)
    streets = pictures(60, 5.0, 2)
    others = np.concatenate([rooms, streets])
    kinds = ["room"] * 60 + ["street"] * 60

    fit = fit_outlier_detector(leaves, leaves[:50], others, kinds, seed=0)

    assert fit is not None
    assert fit.refused_leaves <= 0.01
    assert set(fit.kinds) == {"room", "street"}
    assert all(figures.accepted <= 0.05 for figures in fit.kinds.values())

    # New pictures of both sides.
    new_leaves = fit.detector(torch.from_numpy(pictures(200, 0.0, 3)))
    new_kind = fit.detector(torch.from_numpy(pictures(200, 4.5, 4)))
    assert float((new_leaves > 1).float().mean()) < 0.05
    assert float((new_kind > 1).float().mean()) > 0.95


def test_changed_leaves_are_learned_as_leaves() -> None:
    leaves = pictures(300, 0.0, 0)
    changed = leaves.copy()
    changed[:, 8] += 3.0  # as other pictures have it
    others = pictures(100, 4.0, 1)
    others[:, 8] += 3.0
    kinds = ["one"] * 50 + ["two"] * 50

    with_changed = fit_outlier_detector(leaves, changed, others, kinds, seed=0)
    without = fit_outlier_detector(leaves, changed[:0], others, kinds, seed=0)

    assert with_changed is not None
    assert without is not None
    refused_with = (with_changed.detector(torch.from_numpy(changed)) > 1).float().mean()
    refused_without = (without.detector(torch.from_numpy(changed)) > 1).float().mean()
    assert refused_with < refused_without / 2


def test_a_rare_kind_weighs_as_much_as_a_common_one() -> None:
    leaves = pictures(300, 0.0, 0)
    common = pictures(1000, 4.0, 1)
    rare = pictures(20, 0.0, 2)
    rare[:, 10] += 5.0
    kinds = ["common"] * 1000 + ["rare"] * 20

    fit = fit_outlier_detector(leaves, leaves[:0], np.concatenate([common, rare]), kinds, seed=0)

    assert fit is not None
    new_rare = pictures(200, 0.0, 5)
    new_rare[:, 10] += 5.0
    assert float((fit.detector(torch.from_numpy(new_rare)) > 1).float().mean()) > 0.7


def test_one_kind_alone_is_fitted_without_figures_of_kinds_left_out() -> None:
    fit = fit_outlier_detector(
        pictures(100, 0.0, 0), pictures(0, 0.0, 0), pictures(50, 4.0, 1), ["room"] * 50, seed=0
    )

    assert fit is not None
    assert fit.kinds == {}


@pytest.mark.parametrize(("leaves", "others"), [(19, 100), (100, 19)])
def test_too_few_pictures_give_no_detector(leaves: int, others: int) -> None:
    fit = fit_outlier_detector(
        pictures(leaves, 0.0, 0),
        pictures(0, 0.0, 0),
        pictures(others, 4.0, 1),
        ["room"] * others,
        seed=0,
    )

    assert fit is None


def test_a_feature_that_never_varies_is_not_read_and_half_precision_holds_the_rest() -> None:
    leaves = pictures(100, 0.0, 0)
    others = pictures(50, 4.0, 1)
    leaves[:, 11] = 0.25
    others[:, 11] = 0.25

    fit = fit_outlier_detector(leaves, leaves[:0], others, ["room"] * 50, seed=0)

    assert fit is not None
    assert float(fit.detector.scale[11]) == 0
    assert torch.isfinite(fit.detector.scale.half()).all()


def test_a_given_strength_is_taken_and_gives_the_same_detector() -> None:
    leaves = pictures(200, 0.0, 0)
    others = pictures(80, 4.0, 1)
    kinds = ["one"] * 40 + ["two"] * 40

    chosen = fit_outlier_detector(leaves, leaves[:50], others, kinds, seed=0)
    assert chosen is not None
    given = fit_outlier_detector(leaves, leaves[:50], others, kinds, 0, chosen.strength)

    assert given is not None
    assert given.kinds == {}
    torch.testing.assert_close(given.detector.weight, chosen.detector.weight)
    torch.testing.assert_close(given.detector.bias, chosen.detector.bias)


def test_pictures_without_colour_are_refused_unless_leaves_have_none() -> None:
    leaves = pictures(200, 0.0, 0)
    leaves[:, -1] = np.linspace(0.1, 0.3, 200)
    others = pictures(80, 4.0, 1)
    kinds = ["one"] * 40 + ["two"] * 40

    fit = fit_outlier_detector(leaves, leaves[:50], others, kinds, seed=0)
    assert fit is not None
    grey = leaves[:20].copy()
    grey[:, -1] = 0.0
    pale = leaves[:20].copy()
    pale[:, -1] = 0.03
    assert bool((fit.detector(torch.from_numpy(grey)) > 1).all())
    assert float((fit.detector(torch.from_numpy(pale)) > 1).float().mean()) <= 0.1

    leaves[:, -1] = 0.0
    fit = fit_outlier_detector(leaves, leaves[:50], others, kinds, seed=0)
    assert fit is not None
    assert float((fit.detector(torch.from_numpy(grey)) > 1).float().mean()) <= 0.1


def test_a_kept_detector_accepts_leaves_of_less_colour() -> None:
    leaves = pictures(200, 0.0, 0)
    leaves[:, -1] = 0.2
    others = pictures(80, 4.0, 1)
    fit = fit_outlier_detector(leaves, leaves[:50], others, ["one"] * 80, seed=0)
    assert fit is not None
    grey = leaves.copy()
    grey[:, -1] = 0.0

    kept = detector_accepting(fit.detector, grey)

    assert kept is not None
    assert float((kept(torch.from_numpy(grey)) > 1).float().mean()) <= 0.02
