"""The comparison of a season with the reference: what is drift, and what is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ks_2samp

from leafzoom.errors import ModelError
from leafzoom.evaluation.drift import MIN_ANSWERS, DriftReport, compare_with_reference
from leafzoom.evaluation.drift_figure import draw_drift
from leafzoom.evaluation.drift_text import conclusion, drift_lines
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.fitting.reference import fit_reference
from leafzoom.inference.result_reader import SeasonAnswers
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.manifest import Manifest

LABELS = LabelSet(("healthy", "rust", "scab"), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
NAMES = (("scab",), ("rust",), ("healthy",))

# Scab is hard: the model is much less sure of it than of healthy leaves.
SHARES = (0.3, 0.2, 0.5)
SURE = (4, 10, 40)
OOD_MEAN = (0.7, 0.5, 0.4)


@dataclass(frozen=True)
class World:
    """How answers are drawn: shares of the three answers, and what a shift changes."""

    shares: tuple[float, float, float] = SHARES
    ood_factor: float = 1.0
    sure_factor: float = 1.0

    def draw(self, count: int, seed: int) -> SeasonAnswers:
        """A season without unreadable photos."""
        random = np.random.default_rng(seed)
        answer = random.choice(3, count, p=self.shares)
        sure = random.beta(np.array(SURE)[answer] * self.sure_factor, 1.0)
        confidence = np.maximum(sure, 1 / 3)
        scores = np.array(OOD_MEAN)[answer] * random.gamma(40, 1 / 40, count) * self.ood_factor
        return SeasonAnswers(
            likely=tuple(NAMES[index] for index in answer),
            confidence=confidence,
            is_leaf=scores <= 1,
            ood_scores=scores,
            failed=0,
        )


def manifest_of(season: SeasonAnswers) -> Manifest:
    """A model whose reference is a season."""
    column: NDArray[np.intp] = np.array([NAMES.index(labels) for labels in season.likely])
    rows = np.arange(len(column))
    probabilities = np.tile((1 - season.confidence[:, None]) / 2, (1, 3))
    probabilities[rows, column] = season.confidence
    reference = fit_reference(OutOfFoldAnswers(probabilities, column), season.ood_scores, LABELS)
    return Manifest(
        labels=LABELS,
        source_size=96,
        input_size=64,
        scales=3,
        decisions={"fusion123": Decision((0.5, 0.5, 0.5))},
        recipe={},
        name="leaves",
        reference=reference,
    )


MANIFEST = manifest_of(World().draw(1677, seed=0))


def judged(world: World, count: int, seed: int = 1) -> DriftReport:
    return compare_with_reference(world.draw(count, seed), MANIFEST)


@pytest.mark.parametrize("count", [30, 100, 1000])
def test_the_same_leaves_hardly_ever_raise_an_alarm(count: int) -> None:
    """Both tests together have a level of 1 %, and an alarm also takes a shift of 10 points."""
    reports = [judged(World(), count, seed=100 + seed) for seed in range(60)]

    assert sum(report.judgement != "trust" for report in reports) <= 3


@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.1, 0.8, 0.1)])
def test_other_diseases_are_no_drift(shares: tuple[float, float, float]) -> None:
    """All scab: lower confidence and higher scores than the training's, as expected of scab."""
    for seed in range(8):
        report = judged(World(shares), 400, seed=seed)
        assert report.judgement == "trust"
        assert "By itself that is no reason for distrust" in conclusion(report)


@pytest.mark.parametrize(
    ("world", "name"),
    [(World(ood_factor=1.6), "ood_score"), (World(sure_factor=0.2), "confidence")],
)
def test_a_large_shift_is_found_in_the_right_place(world: World, name: str) -> None:
    report = judged(world, 200)
    by_name = {shift.name: shift for shift in report.shifts}

    assert report.judgement == "distrust"
    assert by_name[name].judgement == "distrust"
    assert by_name[name].p_value < 0.001
    assert conclusion(report).startswith("Do not trust the model on these photos: ")


def test_a_small_shift_asks_for_a_check() -> None:
    report = judged(World(sure_factor=0.65), 1000)

    assert report.judgement == "check"
    assert "Check the model on these photos: the model is less sure" in conclusion(report)


@pytest.mark.parametrize("world", [World(ood_factor=0.6), World(sure_factor=5)])
def test_a_shift_to_the_better_is_no_reason_for_distrust(world: World) -> None:
    assert judged(world, 400).judgement == "trust"


@pytest.mark.parametrize("count", [0, 1, MIN_ANSWERS - 1])
def test_of_few_answers_nothing_is_said(count: int) -> None:
    report = judged(World(ood_factor=5), count)

    assert report.judgement == "too_few"
    assert f"Too few answers to judge by: {count}, and it takes 30" in conclusion(report)


def test_the_distance_is_that_of_scipy_on_binned_answers() -> None:
    """With one answer alone, it is a one-sided two-sample test."""
    only_scab = (1.0, 0.0, 0.0)
    earlier = World(only_scab).draw(600, seed=3)
    manifest = manifest_of(earlier)
    season = World(only_scab, ood_factor=1.03).draw(150, seed=4)
    report = compare_with_reference(season, manifest)
    shift = report.shifts[0]

    edges = np.array(shift.edges)
    assert earlier.ood_scores is not None
    assert season.ood_scores is not None
    bins = [np.searchsorted(edges, scores) for scores in (season.ood_scores, earlier.ood_scores)]
    expected = ks_2samp(*bins, alternative="less", method="asymp")

    assert shift.distance == pytest.approx(expected.statistic)
    assert edges[int(expected.statistic_location)] == shift.edge
    # In bins, chance alone makes somewhat smaller distances than SciPy's continuous values do.
    assert 0.005 < expected.pvalue < 0.2
    assert expected.pvalue / 3 < shift.p_value < expected.pvalue * 1.5


def test_without_scores_the_limit_alone_is_compared() -> None:
    season = World(ood_factor=2).draw(200, seed=1)
    report = compare_with_reference(replace(season, ood_scores=None), MANIFEST)

    ood_shift = report.shifts[0]
    assert ood_shift.name == "ood_score"
    assert ood_shift.edges == (1.0,)
    assert ood_shift.observed[1] == pytest.approx(1 - season.is_leaf.mean())
    assert report.judgement == "distrust"


def test_an_answer_that_the_reference_hardly_has_stands_beside_all_others() -> None:
    season = World().draw(200, seed=1)
    unknown = replace(season, likely=(("rust", "scab"),) * 200)

    report = compare_with_reference(unknown, MANIFEST)

    assert report.judgement == "trust"
    assert sum(report.shifts[0].expected) == pytest.approx(1)


def test_a_model_without_a_reference_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="has no reference to compare answers with: train it"):
        compare_with_reference(World().draw(50, 0), replace(MANIFEST, reference=None))


def test_the_table_shows_what_the_judgement_rests_on() -> None:
    lines = list(drift_lines(judged(World(ood_factor=1.6), 200), 3, "leaves"))

    assert lines[0].startswith("200 answers (3 photos could not be read), beside 1677 photographs")
    (score_line,) = [line for line in lines if line.startswith("out-of-distribution score above")]
    assert score_line.endswith("< 0.001 *")
    assert sum(line.startswith("  ") for line in lines) >= 3
    assert lines[-1].startswith("Do not trust")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drift{suffix}"
    draw_drift(judged(World(ood_factor=1.6), 200), path)

    if suffix == ".png":
        with Image.open(path) as image:
            assert image.width > 2 * image.height
            colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
            # The warning's orange, and white around it.
            assert (np.abs(colours.astype(int) - (0xD5, 0x5E, 0x00)).sum(axis=1) < 10).sum() > 200
    else:
        assert "<svg" in path.read_text(encoding="utf-8")
