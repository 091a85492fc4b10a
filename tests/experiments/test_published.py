"""What results/experiments and docs/findings publish is whole, and of the arms as defined."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.definitions import Comparison, read_arms, read_comparisons
from experiments.intervals import converted

ROOT = Path(__file__).resolve().parents[2]
ARMS = read_arms()
COMPARISONS = {name: entry for name, entry in read_comparisons().items() if entry.measured}

PHOTOGRAPHS = {"photographs": 4396, "leaves": 800}
CONFIRMED_PHOTOGRAPHS = 1677


def read_result(name: str) -> dict[str, Any]:
    path = ROOT / "results" / "experiments" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def report_text() -> str:
    pages = [*sorted((ROOT / "docs" / "findings").glob("*.md")), ROOT / "docs" / "history.md"]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def has_apn(name: str) -> bool:
    changes = ARMS[name].changes
    fixed = ("model.proposals=centre", "model.proposals=response")
    return not any(change in changes for change in fixed)


@pytest.mark.parametrize("name", COMPARISONS)
def test_results_are_of_the_arms_as_defined(name: str) -> None:
    comparison = COMPARISONS[name]
    result = read_result(name)
    assert tuple(result["arms"]) == comparison.arms
    assert result["photographs"] == PHOTOGRAPHS[comparison.data]

    for arm_name, row in result["arms"].items():
        arm = ARMS[arm_name.partition(":")[0]]
        assert row["changes"] == list(arm.changes), f"{arm_name} was measured with other values"
        assert (row.get("extends"), row.get("start")) == (arm.extends, arm.start)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_have_a_plot_in_the_report(name: str) -> None:
    assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
    assert f"experiments/{name}.svg" in report_text()


@pytest.mark.parametrize(
    "comparison",
    [comparison for comparison in COMPARISONS.values() if comparison.zoom_value],
    ids=lambda comparison: comparison.name,
)
def test_zoom_values_are_of_all_arms_with_an_apn_and_all_seeds(comparison: Comparison) -> None:
    result = read_result(comparison.name)
    apn_arms = {arm for arm in comparison.trained_arms if has_apn(arm)}
    assert set(result["zoom_value"]) == apn_arms

    for arm, heads in result["zoom_value"].items():
        assert {row["seeds"] for row in heads.values()} == {result["arms"][arm]["seeds"]}
    assert f"<!-- zoom_value {comparison.name} -->" in report_text()


def test_no_placeholder_is_left_in_the_report() -> None:
    assert re.search(r"XXX|TEXT\b|SHORT[A-Z]", report_text()) is None


@pytest.mark.parametrize("name", ["confirm", "fair"])
def test_whole_trainings_are_compared_on_the_same_photographs(name: str) -> None:
    result = read_result(name)
    assert result["photographs"] == CONFIRMED_PHOTOGRAPHS
    others = set(result["arms"]) - {result["control"]}
    assert {pair["arm"] for pair in result["pairs"]} == others

    text = report_text()
    assert [arm for arm in result["arms"] if f"`{arm}`" not in text] == []


def test_the_papers_curves_are_of_all_its_arms() -> None:
    curves = read_result("paper-curves")["curves"]
    arms = {name.rpartition("-")[0] for name in curves}
    assert arms == set(COMPARISONS["paper"].arms)
    for metrics in curves.values():
        assert min(len(points) for points in metrics.values()) >= 4


@pytest.mark.parametrize("name", ["confirm", "fair", "label-noise", "paper-curves"])
def test_other_plots_are_in_the_report(name: str) -> None:
    assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
    assert f"experiments/{name}.svg" in report_text()


def test_the_price_is_of_all_networks_compared() -> None:
    networks = read_result("price")["networks"]
    plain = {"plain-224-start:scale1", "plain-128:scale1"}
    larger = {"plain-lite2-160:scale1", "plain-lite2-184:scale1"}
    assert set(networks) == plain | larger | {"centre-67", "three-centre"}

    for row in networks.values():
        assert row["multiply_adds"] > 0
        low, high = row["time_ratio_quartiles"]
        assert low <= row["time_ratio"] <= high


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "experiments").glob("*.json")), ids=str)
def test_intervals_of_several_seeds_hold_for_new_ones(path: Path) -> None:
    """What `python -m experiments.intervals` would convert has been converted."""
    result = json.loads(path.read_text(encoding="utf-8"))
    assert converted(result) == result


def test_comparisons_that_are_not_measured_have_no_result_yet() -> None:
    for name, comparison in read_comparisons().items():
        has_result = (ROOT / "results" / "experiments" / f"{name}.json").is_file()
        assert has_result == comparison.measured, name
