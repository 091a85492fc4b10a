"""The comparison of networks of the same cost: its definitions, and one on rendered leaves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from experiments import publishing, rivals
from experiments.costs import multiply_adds, ratio_quartiles, seconds_in_turns
from experiments.rival_answers import common_seeds, kept_rows, packed, unpacked
from experiments.rivals import Rival, Rivals, read_rivals
from leafzoom.dataset.split import Split
from leafzoom.recipe import load_recipe
from leafzoom.storage import write_json
from tools.rival_tables import rivals as rivals_table

PLAIN = Rival("plain", "a plain network", "default", "lite0", "scale1", ())
OURS = Rival("ra-cnn", "our RA-CNN", "default", "lite0", "fusion123", ())


def test_every_rival_is_a_recipe() -> None:
    for rival in read_rivals().values():
        recipe = load_recipe(rival.recipe, list(rival.changes))
        assert recipe.model.backbone == f"tf_efficientnet_{rival.start}"

        # A plain network is one look: nothing changes it after its fine-tuning.
        trained = recipe.alternation.classifier_epochs + recipe.alternation.rounds
        assert (rival.head == "scale1") == (recipe.fine_tuning.epochs > 0)
        assert (rival.head == "scale1") == (trained == 0)


def test_works_take_turns() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in ("first", "second")}
    seconds = seconds_in_turns(works, 2, 1)
    assert order == ["first", "second"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_ratios_are_to_the_first() -> None:
    ratios = ratio_quartiles({"first": [1.0, 2.0, 4.0], "second": [2.0, 2.0, 12.0]}, "first")
    assert ratios == {"first": [1.0, 1.0, 1.0], "second": [1.5, 2.0, 2.5]}


def test_multiply_adds_are_a_photograph() -> None:
    import torch

    weight = torch.ones(5, 7)
    images = torch.ones(4, 5)
    assert multiply_adds(lambda: images @ weight, 4) == 35.0


@pytest.mark.slow
def test_rivals_are_trained_and_compared(
    leaves: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("parts", "parts-shared"):
        write_json(tmp_path / f"{name}.json", split.to_dict())
    monkeypatch.setattr(publishing, "ROOT", tmp_path)
    monkeypatch.setattr(rivals, "_ROUNDS", 1)
    monkeypatch.setattr(rivals, "_EVERYWHERE", (*TINY, "prediction.tta=1"))
    monkeypatch.setattr(rivals, "_BACKBONES", {"lite0": "test_efficientnet"})
    monkeypatch.setattr(rivals, "_START_CHANGES", (*TINY, "alternation.classifier_epochs=0"))
    monkeypatch.setattr(rivals, "read_rivals", lambda: {"plain": PLAIN, "ra-cnn": OURS})

    command = ["rivals", str(leaves), str(tmp_path / "parts.json"), str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "0", "1"])
    rivals.main()

    path = tmp_path / "results" / "experiments" / "rivals.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["photographs"] == len(split.test)
    plain = result["networks"]["plain"]
    ours = result["networks"]["ra-cnn"]
    assert ours["multiply_adds"] > 2.5 * plain["multiply_adds"]
    assert "against_plain" not in plain
    difference = ours["exact_match"] - plain["exact_match"]
    assert ours["against_plain"]["difference"] == pytest.approx(difference, abs=2e-4)

    # A later call keeps what this one has measured, and adds to it.
    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "2", "--arm", "plain"])
    rivals.main()
    later = json.loads(path.read_text(encoding="utf-8"))
    assert later["networks"]["plain"]["seeds"] == [0, 1, 2]
    assert later["networks"]["ra-cnn"] == ours
    shutil.rmtree(tmp_path / "runs" / "plain-2")

    # Both seeds have their own training, all from one start.
    trained = {folder.name for folder in (tmp_path / "runs").iterdir()}
    assert trained == {"start-lite0", "plain-0", "plain-1", "ra-cnn-0", "ra-cnn-1"}
    lines = rivals_table(result)
    assert lines[2].startswith("| a plain network | ")
    assert len(lines) == 2 + 2 + 2


def test_answers_are_packed_by_seed() -> None:
    random = np.random.default_rng(0)
    answers = {seed: random.random(21) < 0.5 for seed in (1, 0)}
    texts = packed(answers)
    assert list(texts) == ["0", "1"]
    found = unpacked(json.loads(json.dumps(texts)), 21)
    for seed, expected in answers.items():
        np.testing.assert_array_equal(found[seed], expected)

    # Only seeds that both sides have are compared.
    first, second = common_seeds(answers, {1: answers[0], 2: answers[0]})
    np.testing.assert_array_equal(first, [answers[1]])
    np.testing.assert_array_equal(second, [answers[0]])


def test_rows_of_other_photographs_or_definitions_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "rivals.json"
    assert kept_rows(path, "a", {}) == {}
    rows = {name: {"definition": {"recipe": name}} for name in ("plain", "changed", "gone")}
    write_json(path, {"photographs_digest": "a", "networks": rows})

    definitions = {"plain": {"recipe": "plain"}, "changed": {"recipe": "other"}}
    assert kept_rows(path, "a", definitions) == {"plain": rows["plain"]}
    assert kept_rows(path, "b", definitions) == {}


def test_answers_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "answers.json", [True, False])
    experiment = Rivals(tmp_path, tmp_path / "parts.json", tmp_path)
    assert experiment.answers(PLAIN, tmp_path).tolist() == [True, False]
