"""The experiments' harness: its arms are recipes, its statistics are right, and what it publishes is whole."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from leafzoom.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "experiments"
ARMS = tomllib.loads((HERE / "arms.toml").read_text(encoding="utf-8"))
COMPARISONS = tomllib.loads((HERE / "comparisons.toml").read_text(encoding="utf-8"))


def script(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(f"experiments_{name}", str(HERE / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_recipe(arm: str) -> None:
    extends = ARMS[arm].get("extends", "base.toml")
    recipe = load_recipe(str(HERE / extends), [f"name={arm}", *ARMS[arm]["set"]])
    assert recipe.model.input_size == 128 or arm.startswith("plain-224")
    epochs = recipe.fine_tuning.epochs + recipe.alternation.classifier_epochs * (1 + recipe.alternation.rounds)
    wanted = 0 if arm.endswith("-start") else {"base.toml": 2, "paper.toml": 4}[extends]
    assert epochs == wanted, "arms are compared that train their classifiers for as long"


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_of_arms_and_published(name: str) -> None:
    comparison = COMPARISONS[name]
    assert {arm.partition(":")[0] for arm in comparison["arms"]} <= set(ARMS)
    assert comparison["control"] in comparison["arms"]
    result = json.loads((ROOT / "results" / "experiments" / f"{name}.json").read_text(encoding="utf-8"))
    assert list(result["arms"]) == comparison["arms"]
    assert result["photographs"] > 4000
    for arm, row in result["arms"].items():
        wanted = ARMS[arm.partition(":")[0]]
        assert row["changes"] == wanted["set"], f"{arm} was measured with other values"
        assert (row.get("extends"), row.get("start")) == (wanted.get("extends"), wanted.get("start"))
    assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
    assert f"experiments/{name}.svg" in (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")


def test_a_clear_difference_is_clear_and_none_is_none() -> None:
    report = script("report")
    random = np.random.default_rng(0)
    control = random.uniform(size=(3, 2000)) < 0.8
    better = control | (random.uniform(size=(3, 2000)) < 0.1)
    found = report.difference(better, control)
    assert found["difference"] == pytest.approx((better.mean() - control.mean()), abs=1e-4)
    assert found["interval"][0] > 0
    assert found["p"] < 0.001
    assert len(found["by_seed"]) == 3
    same = report.difference(random.permuted(control, axis=1), control)
    assert same["interval"][0] < 0 < same["interval"][1]
    assert same["p"] > 0.05
    nothing = report.difference(control, control)
    assert nothing == {"difference": 0.0, "interval": [0.0, 0.0], "by_seed": [0.0, 0.0, 0.0], "p": 1.0}


def test_seeds_that_disagree_widen_the_interval() -> None:
    report = script("report")
    random = np.random.default_rng(0)
    control = random.uniform(size=(3, 2000)) < 0.8
    gain = [0.0, 0.0, 0.15]
    uneven = np.stack([row | (random.uniform(size=2000) < share) for row, share in zip(control, gain, strict=True)])
    even = np.stack([row | (random.uniform(size=2000) < 0.05) for row in control])
    wide, narrow = (np.diff(report.difference(arm, control)["interval"])[0] for arm in (uneven, even))
    assert wide > 2 * narrow


def test_the_oracle_takes_the_box_with_the_least_loss() -> None:
    report = script("report")
    logits = np.zeros((1, 10, 2), np.float32)
    logits[0, 0] = [9.0, 9.0]  # scale 1
    logits[0, 1:, 0] = np.arange(9) - 4
    logits[0, 1:, 1] = -(np.arange(9) - 4)
    targets = np.array([[1, 0]], np.uint8)
    assert report._chosen(logits, targets, "oracle").tolist() == [[9.0, 9.0, 4.0, -4.0]]
    assert report._chosen(logits, targets, "nine").tolist() == [[9.0, 9.0, 0.0, 0.0]]
    assert report._chosen(logits + np.arange(10)[None, :, None], targets, "middle").tolist() == [[9.0, 9.0, 5.0, 5.0]]


def test_confirm_reads_the_answers_of_evaluate(tmp_path: Path) -> None:
    """The decision of the last fusion as it stands, every scale at 0.5."""
    confirm = script("confirm")
    path = tmp_path / "predictions.csv"
    path.write_text(
        "image,labels,predicted_fusion12,scale1_rust,scale1_frog_eye,scale2_rust,scale2_frog_eye,fusion12_rust\n"
        "b.jpg,rust,rust,0.9,0.1,0.4,0.1,0.9\n"
        "a.jpg,frog_eye rust,frog_eye,0.5,0.7,0.2,0.9,0.9\n",
        encoding="utf-8",
    )
    images, right, plain = confirm.answers(path)
    assert images == ["a.jpg", "b.jpg"]
    assert right.tolist() == [[False, True]]
    assert {head: hits.tolist() for head, hits in plain.items()} == {
        "scale1": [[True, True]],
        "scale2": [[False, False]],
    }


def test_what_else_is_published_is_whole() -> None:
    """The comparisons that arms.toml does not describe."""
    folder = ROOT / "results" / "experiments"
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    confirm = json.loads((folder / "confirm.json").read_text(encoding="utf-8"))
    assert confirm["photographs"] == 1677
    assert {pair["arm"] for pair in confirm["pairs"]} == set(confirm["arms"]) - {confirm["control"]}
    assert {arm for arm in confirm["arms"] if f"`{arm}`" not in text} == set()
    curves = json.loads((folder / "paper-curves.json").read_text(encoding="utf-8"))["curves"]
    assert {name.rpartition("-")[0] for name in curves} == set(COMPARISONS["paper"]["arms"])
    assert all(len(points) >= 4 for metrics in curves.values() for points in metrics.values())
    for name in ("confirm", "paper-curves"):
        assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
        assert f"experiments/{name}.svg" in text
    price = json.loads((folder / "price.json").read_text(encoding="utf-8"))["networks"]
    assert set(price) == {"plain-224-start:scale1", "plain-128:scale1", "centre-67", "three-centre"}
    for row in price.values():
        assert row["multiply_adds"] > 0
        low, high = row["time_ratio_quartiles"]
        assert low <= row["time_ratio"] <= high
