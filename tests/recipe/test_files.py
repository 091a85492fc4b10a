"""Recipes are read from the package, from TOML files and from dictionaries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leafzoom.errors import RecipeError
from leafzoom.recipe import Recipe, load_recipe, recipe_from_dict, recipe_names, recipe_to_dict

SHIPPED_NAMES = {
    "authors",
    "default",
    "joint-loss",
    "no-fine-tuning",
    "no-upper-bound",
    "paper",
    "paper-narrow-relu",
    "paper-narrow-sigmoid",
    "vgg19",
}

# Keys before version 0.2, each with a value that is not the default's.
FORMER_SECTIONS = {
    "data": {"select_limit": 70},
    "alternation": {"held_stages": 3, "held_scales": 1},
    "prediction": {"mirrors": 4},
}


def test_recipes_load_and_survive_json() -> None:
    names = recipe_names()
    assert set(names) >= SHIPPED_NAMES
    for name in names:
        recipe = load_recipe(name)
        assert recipe.name == name
        plain = json.loads(json.dumps(recipe_to_dict(recipe)))
        assert recipe_from_dict(plain, name) == recipe


def test_the_papers_recipes_have_its_values() -> None:
    paper = load_recipe("paper")
    assert paper.model.zoom_from == "view"
    assert paper.model.apn_hidden == 4096
    assert paper.alternation.margin == 0.05
    assert paper.alternation.apn.learning_rate == 1e-6

    authors = load_recipe("authors")
    assert authors.model.border == pytest.approx(74 / 224)
    assert authors.alternation.apn.learning_rate == 1e-6


def test_a_missing_or_invalid_file_is_named(tmp_path: Path) -> None:
    message = "no recipe 'nothing': give a TOML file or one of attention-sampling, authors, cal"
    with pytest.raises(RecipeError, match=message):
        load_recipe("nothing")

    bad = tmp_path / "bad.toml"
    bad.write_text("[model\n")
    with pytest.raises(RecipeError, match=r"bad\.toml is no valid TOML"):
        load_recipe(str(bad))


def test_a_file_extends_another_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "paper"\n[model]\ninput_size = 128\n')
    mine = load_recipe(str(file), ["model.scales=2"])
    assert mine.name == "mine"
    assert mine.model.input_size == 128
    assert mine.model.scales == 2
    assert mine.model.apn_hidden == 4096

    loop = tmp_path / "loop.toml"
    loop.write_text(f'extends = "{loop}"\n')
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(str(loop))


def assert_former_values(recipe: Recipe) -> None:
    """The values of `FORMER_SECTIONS`, under their present names."""
    assert recipe.data.validation_limit == 70
    assert recipe.alternation.frozen_stages == 3
    assert recipe.alternation.frozen_scales == 1
    assert recipe.prediction.tta == 4


def test_former_names_in_a_dictionary() -> None:
    assert_former_values(recipe_from_dict(FORMER_SECTIONS, "a model file"))


def test_former_names_in_a_file(tmp_path: Path) -> None:
    lines = []
    for section, values in FORMER_SECTIONS.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {value}" for key, value in values.items()]
    file = tmp_path / "old.toml"
    file.write_text("\n".join(lines))
    assert_former_values(load_recipe(str(file)))

    # A former name replaces the present one of the recipe that the file extends.
    extending = tmp_path / "extending.toml"
    extending.write_text('extends = "default"\n' + file.read_text())
    assert_former_values(load_recipe(str(extending)))


def test_former_names_in_changes() -> None:
    changes = []
    for section, values in FORMER_SECTIONS.items():
        changes += [f"{section}.{key}={value}" for key, value in values.items()]
    assert_former_values(load_recipe("default", changes))


def test_written_recipes_have_the_present_names() -> None:
    plain = recipe_to_dict(recipe_from_dict(FORMER_SECTIONS, "a model file"))
    for section, values in FORMER_SECTIONS.items():
        assert not set(values) & set(plain[section])
