"""Ranges: read from TOML, tried in the recipe, and one line with the key where they are wrong."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from conftest import failure_line, run_command
from leafzoom.errors import RecipeError
from leafzoom.recipe import load_recipe
from leafzoom.tuning.ranges import Interval, check_ranges, load_ranges, ranges_names

optuna = pytest.importorskip("optuna", reason="the extra tune is not installed")


def write_ranges(folder: Path, text: str) -> str:
    """A file of ranges."""
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_the_shipped_ranges_are_of_the_papers_bounds() -> None:
    """Every end is a value that the recipes may have; the paper's own bounds lie inside."""
    assert "zoom-bounds" in ranges_names()
    ranges = load_ranges("zoom-bounds")
    for recipe in ("default", "paper"):
        check_ranges(ranges, recipe, [])

    (bounds,) = [item for item in ranges.items if item.key == "model.zoom_bounds"]
    assert isinstance(bounds, Interval)
    for recipe in ("paper", "paper-narrow-sigmoid"):
        values = load_recipe(recipe).model.zoom_bounds
        for low, value, high in zip(bounds.low, values, bounds.high, strict=True):
            assert low <= value <= high


def test_every_kind_of_range_gives_a_change_of_the_recipe(tmp_path: Path) -> None:
    name = write_ranges(
        tmp_path,
        """
        [ranges]
        "alternation.apn.learning_rate" = { low = 1e-6, high = 1e-3, log = true }
        "alternation.rounds" = { low = 1, high = 4 }
        "model.zoom_bounds" = { low = [0.2, 0.45], high = [0.45, 0.75] }
        [ranges.model]
        zoom_from = { choices = ["source", "view"] }
        """,
    )
    ranges = load_ranges(name)
    check_ranges(ranges, "default", ["seed=3"])
    assert json.loads(json.dumps(ranges.to_dict())) == ranges.to_dict()

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    recipes = [load_recipe("default", ranges.changes(study.ask())) for _ in range(30)]
    kinds = {(recipe.alternation.rounds, recipe.model.zoom_from) for recipe in recipes}
    assert kinds == set(product((1, 2, 3, 4), ("source", "view")))

    rates = np.array([recipe.alternation.apn.learning_rate for recipe in recipes])
    assert 1e-6 <= rates.min() < 1e-5 < 1e-4 < rates.max() <= 1e-3
    bounds = np.array([recipe.model.zoom_bounds for recipe in recipes])
    assert (bounds >= [0.2, 0.45]).all()
    assert (bounds <= [0.45, 0.75]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranges = 5", "mine.toml: [ranges] is empty"),
        ("[ranges]", "mine.toml: [ranges] is empty"),
        ("[other]\na = 1", "unknown key other"),
        ("[ranges\n", "is no valid TOML"),
        ("[ranges]\nseed = 3", "seed: a range is { low, high } or { choices }, not 3"),
        ("[ranges]\nseed = { low = 1 }", "seed: a range has low and high"),
        ("[ranges]\nseed = { low = 1, high = 3, most = 4 }", "this one has high, low, most"),
        ("[ranges]\nseed = { low = 3, high = 3 }", "seed: low 3 is not a number below high 3"),
        ("[ranges]\nseed = { low = 'a', high = 3 }", "seed: low 'a' is not a number"),
        ("[ranges]\nseed = { low = [1, 2], high = [3] }", "seed: low and high are two numbers"),
        ("[ranges]\nseed = { low = 0, high = 3, log = true }", "seed: log is true or false"),
        ("[ranges]\nseed = { low = 1, high = 3, step = 0 }", "seed: step 0 is not a number"),
        ("[ranges]\nseed = { choices = [1] }", "seed: choices is a list of two values or more"),
        ("[ranges]\nseed = { choices = [1, 2], low = 1 }", "seed: choices is a list"),
    ],
)
def test_a_bad_file_of_ranges_names_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_ranges(write_ranges(tmp_path, text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("'model.zoom' = { low = 1, high = 2 }", [], "model.zoom = 1: .*unknown key model.zoom"),
        ("'seed' = { low = 1, high = 2 }", ["seed=4"], "seed has a value from --set too"),
        (
            "'data.source_size' = { choices = [256, 512] }",
            [],
            "data.source_size cannot be tuned: the cache has photographs of one size",
        ),
        (
            "'model.zoom_bounds' = { low = [0.2, 0.4], high = [0.4, 1.4] }",
            [],
            r"model.zoom_bounds = \[0.4, 1.4\]: .*0 < least <= greatest <= 1",
        ),
    ],
)
def test_ends_that_the_recipe_cannot_have_are_refused(
    tmp_path: Path, text: str, changes: list[str], message: str
) -> None:
    ranges = load_ranges(write_ranges(tmp_path, f"[ranges]\n{text}\n"))
    with pytest.raises(RecipeError, match=message):
        check_ranges(ranges, "default", changes)


def test_the_command_line_refuses_in_one_line_before_the_photographs_are_read(
    tmp_path: Path,
) -> None:
    command = ("tune", "--data", tmp_path, "--recipe", "default", "--out", tmp_path / "study")
    line = failure_line(run_command(*command, "--ranges", "nothing"), 2)
    assert "no ranges nothing: give a TOML file or one of zoom-bounds" in line

    name = write_ranges(tmp_path, "[ranges]\n'model.zoom' = { low = 1, high = 2 }\n")
    line = failure_line(run_command(*command, "--ranges", name), 2)
    assert "ranges mine: model.zoom" in line
    assert not (tmp_path / "study").exists()
