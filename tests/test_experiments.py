"""The experiments' harness: its arms are recipes, its statistics are right, and what it publishes is whole."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.zoom_value import KINDS, looks_by_kind
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.checkpoint import load_checkpoint
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
    sys.modules[loader.name] = module  # dataclasses look for it there
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_recipe(arm: str) -> None:
    extends = ARMS[arm].get("extends", "base.toml")
    recipe = load_recipe(str(HERE / extends), [f"name={arm}", *ARMS[arm]["set"]])
    named = re.search(r"^plain-.*?(\d{3})", arm)
    assert recipe.model.input_size == (int(named[1]) if named else {"leaves.toml": 96}.get(extends, 128))
    epochs = recipe.fine_tuning.epochs + recipe.alternation.classifier_epochs * (1 + recipe.alternation.rounds)
    wanted = 0 if arm.endswith("-start") else {"base.toml": 2, "paper.toml": 4, "leaves.toml": 4}[extends]
    assert epochs == wanted, "arms are compared that train their classifiers for as long"


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_of_arms_and_published(name: str) -> None:
    comparison = COMPARISONS[name]
    assert {arm.partition(":")[0] for arm in comparison["arms"]} <= set(ARMS)
    assert comparison["control"] in comparison["arms"]
    result = json.loads((ROOT / "results" / "experiments" / f"{name}.json").read_text(encoding="utf-8"))
    assert list(result["arms"]) == comparison["arms"]
    assert result["photographs"] == (800 if comparison.get("data") == "leaves" else 4396)
    for arm, row in result["arms"].items():
        wanted = ARMS[arm.partition(":")[0]]
        assert row["changes"] == wanted["set"], f"{arm} was measured with other values"
        assert (row.get("extends"), row.get("start")) == (wanted.get("extends"), wanted.get("start"))
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
    assert f"experiments/{name}.svg" in text
    if comparison.get("zoom_value"):
        apns = {arm.partition(":")[0] for arm in comparison["arms"] if not _without_apn(arm)}
        assert set(result["zoom_value"]) == apns
        for arm, heads in result["zoom_value"].items():
            assert {row["seeds"] for row in heads.values()} == {result["arms"][arm]["seeds"]}
        assert f"<!-- zoom_value {name} -->" in text


def _without_apn(arm: str) -> bool:
    changes = ARMS[arm.partition(":")[0]]["set"]
    return any(change in changes for change in ("model.proposals=centre", "model.proposals=response"))


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


def test_zoom_value_is_of_the_same_classifiers(tmp_path: Path) -> None:
    """From a network's answers with four kinds of boxes to the table's row, two seeds."""
    report = script("report")
    random = np.random.default_rng(0)
    learned = random.uniform(size=(2, 500)) < 0.8
    expected = []
    for seed in range(2):
        folder = tmp_path / f"arm-{seed}"
        folder.mkdir()
        (folder / "measured.npz").touch()
        (folder / "recipe.json").write_text('{"model": {"proposals": "apn"}}', encoding="utf-8")
        hits = {f"{kind} scale2": random.uniform(size=500) < 0.6 for kind in ("random", "response")}
        hits |= {"learned scale2": learned[seed], "centre scale2": learned[seed]}
        expected.append(learned[seed].mean() - hits["random scale2"].mean())
        with pytest.raises(SystemExit, match=rf"arm-{seed} has no zoom-value.npz: experiments/zoom-value DATA"):
            report.zoom_values(tmp_path, ["arm"])
        np.savez_compressed(folder / "zoom-value.npz", **hits)
    row = report.zoom_values(tmp_path, ["arm", "other"])
    assert list(row) == ["arm"]
    assert list(row["arm"]) == ["scale2"]
    found = row["arm"]["scale2"]
    assert found["seeds"] == 2
    assert found["exact_match"] == pytest.approx(learned.mean(), abs=1e-4)
    assert found["centre"]["difference"] == 0
    assert found["random"]["by_seed"] == pytest.approx(expected, abs=1e-4)
    assert found["random"]["interval"][0] > 0


def test_zoom_value_is_measured_on_the_runs_own_data(
    trained: Path, leaves: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = script("zoom-value")
    run = tmp_path / "arm-0"
    shutil.copytree(trained, run)
    checkpoint = load_checkpoint(run / "model.safetensors")
    rows = np.array([3, 1, 8])
    targets = cache.table.targets(checkpoint.manifest.labels)[rows]

    def call(data: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["zoom-value", str(data), str(run)])
        measure.main()

    with pytest.raises(SystemExit, match="arm-0 is not a measured run: experiments/run"):
        call(leaves)
    np.savez_compressed(run / "measured.npz", rows=rows, targets=targets)
    other = tmp_path / "other"
    shutil.copytree(leaves, other)
    table = other / "train.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"arm-0 was not trained and measured on .*other: give that folder"):
        call(other)
    assert not (run / "zoom-value.npz").exists()
    call(leaves)
    looks = looks_by_kind(network_from_checkpoint(checkpoint), np.asarray(cache.sources)[rows])
    with np.load(run / "zoom-value.npz") as arrays:
        assert {name.split()[0] for name in arrays.files} == set(KINDS)
        for name in arrays.files:
            kind, head = name.split()
            said = looks[kind].answers[head]
            assert arrays[name].tolist() == (said == targets.astype(bool)).all(axis=1).tolist()


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
    order = np.array([[2, 7, 0, 1, 3, 4, 5, 6, 8]])
    assert report._chosen(logits, targets, "gain", order).tolist() == [[9.0, 9.0, -2.0, 2.0]]
    assert report._chosen(logits, targets, "gain3", order).tolist() == [[9.0, 9.0, -1.0, 1.0]]
    many = report._chosen(np.repeat(logits, 500, axis=0), np.repeat(targets, 500, axis=0), "random")
    assert set(many[:, 2]) == set(range(-4, 5))


def test_boxes_that_meet_lesions_are_counted_and_chance_beside() -> None:
    run = script("run")
    lesion = np.array([[0.1, 0.1, 0.2, 0.2]])
    boxes = np.array([[0.15, 0.15, 0.1], [0.22, 0.15, 0.1], [0.8, 0.8, 0.1], [0.5, 0.5, 0.1]])
    inner = boxes * [1, 1, 0.5]
    met = run.on_lesions([boxes, inner], [lesion, lesion, lesion, np.empty((0, 4))])
    assert all(len(hits) == 3 for hits in met.values())
    many = run.on_lesions([boxes[:1].repeat(3000, axis=0), inner[:1].repeat(3000, axis=0)], [lesion] * 3000)
    assert met["box2_centre_on"].tolist() == [1, 0, 0]
    assert met["box2_holds"].tolist() == [1, 1, 0]
    assert met["box3_holds"].tolist() == [1, 0, 0]
    # Centres of boxes 0.2 wide lie in 0.1 to 0.9: up to 0.25 they hold the lesion's centre, up to 0.2 they are on it.
    assert many["box2_holds_chance"].mean() == pytest.approx((0.15 / 0.8) ** 2, abs=0.002)
    assert many["box2_centre_on_chance"].mean() == pytest.approx((0.1 / 0.8) ** 2, abs=0.002)
    # Centres of the inner boxes lie within 0.05 of the outer ones'.
    random = np.random.default_rng(1)
    outer = random.uniform(0.1, 0.9, (400_000, 2))
    held = (np.abs(outer + random.uniform(-0.05, 0.05, outer.shape) - 0.15) <= 0.05).all(axis=1)
    assert many["box3_holds_chance"].mean() == pytest.approx(held.mean(), abs=0.002)


def test_a_gain_that_the_map_shows_is_learned_and_noise_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = script("gain")
    random = np.random.default_rng(0)
    at = np.array([[x, y, 0.25] for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75)])
    maps = np.zeros((120, 2, 4, 4), np.float32)
    spot = random.integers(0, 4, (120, 2))
    maps[np.arange(120), 0, spot[:, 1], spot[:, 0]] = 1.0  # the lower, the nearer to this cell
    maps[:, 1] = random.normal(size=(120, 4, 4))
    seen = gain.described(maps, np.zeros((120, 1), np.float32), np.broadcast_to(at, (120, 9, 3)))
    assert seen.shape == (120, 9, 2 + 9 * 2)
    corner = gain.described(
        np.eye(4)[None, None, 0:1] * 0 + np.arange(16).reshape(1, 1, 4, 4), np.zeros((1, 1)), at[None]
    )
    whole = np.arange(16).reshape(4, 4)
    assert corner[0, 0, 0] - corner[0, 8, 0] == pytest.approx(whole[:2, :2].mean() - whole[2:, 2:].mean())
    losses = -seen[..., 0].astype(np.float64)
    expected, explained = gain.cross_validated(seen, losses)
    assert explained > 0.9
    chosen = np.take_along_axis(losses, expected.argmin(axis=1)[:, None], axis=1)[:, 0]
    assert (chosen - losses.min(axis=1)).mean() < 0.1 * (losses.mean(axis=1) - losses.min(axis=1)).mean()
    # More features than boxes, and nothing to be learned: a fit that had seen the photographs would explain it all.
    wide = random.normal(size=(30, 9, 400)).astype(np.float32)
    noise = random.normal(size=(30, 9))
    noise -= noise.mean(axis=1, keepdims=True)
    monkeypatch.setattr(gain, "_PENALTIES", (1e-3,))
    assert np.square(gain.fitted(wide, noise)(wide) - noise).mean() < 0.1 * np.square(noise).mean()
    assert gain.cross_validated(wide, noise)[1] < 0


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
    images, right, plain = confirm.answers(confirm.predictions(path))
    assert images == ["a.jpg", "b.jpg"]
    assert right.tolist() == [False, True]
    assert {head: hits.tolist() for head, hits in plain.items()} == {"scale1": [True, True], "scale2": [False, False]}


def test_what_else_is_published_is_whole() -> None:
    """The comparisons that arms.toml does not describe."""
    folder = ROOT / "results" / "experiments"
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert re.search(r"XXX|TEXT\b|SHORT[A-Z]", text) is None, "a placeholder is left"
    for name in ("confirm", "fair"):
        confirm = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert confirm["photographs"] == 1677
        assert {pair["arm"] for pair in confirm["pairs"]} == set(confirm["arms"]) - {confirm["control"]}
        assert {arm for arm in confirm["arms"] if f"`{arm}`" not in text} == set()
    curves = json.loads((folder / "paper-curves.json").read_text(encoding="utf-8"))["curves"]
    assert {name.rpartition("-")[0] for name in curves} == set(COMPARISONS["paper"]["arms"])
    assert all(len(points) >= 4 for metrics in curves.values() for points in metrics.values())
    for name in ("confirm", "fair", "paper-curves"):
        assert (ROOT / "docs" / "experiments" / f"{name}.svg").is_file()
        assert f"experiments/{name}.svg" in text
    price = json.loads((folder / "price.json").read_text(encoding="utf-8"))["networks"]
    larger = {"plain-lite2-160:scale1", "plain-lite2-184:scale1"}
    assert set(price) == larger | {"plain-224-start:scale1", "plain-128:scale1", "centre-67", "three-centre"}
    for row in price.values():
        assert row["multiply_adds"] > 0
        low, high = row["time_ratio_quartiles"]
        assert low <= row["time_ratio"] <= high
