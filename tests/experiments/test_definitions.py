"""Every arm of arms.toml is a recipe that trains, and comparisons are of arms."""

from __future__ import annotations

import re

import pytest

from experiments.definitions import read_arms, read_comparisons
from leafzoom.recipe import load_recipe

ARMS = read_arms()
COMPARISONS = read_comparisons()

# The recipe that an arm changes → its input size, and the epochs in which its classifiers learn.
INPUT_SIZES = {"leaves.toml": 96}
CLASSIFIER_EPOCHS = {"base.toml": 2, "paper.toml": 4, "leaves.toml": 4}


@pytest.mark.parametrize("name", ARMS)
def test_arms_are_recipes_that_train_classifiers_equally_long(name: str) -> None:
    arm = ARMS[name]
    recipe = load_recipe(str(arm.recipe_file), [f"name={name}", *arm.changes])

    # Plain networks have their input size in their name.
    plain = re.search(r"^plain-.*?(\d{3})", name)
    expected_size = int(plain[1]) if plain else INPUT_SIZES.get(arm.recipe_file.name, 128)
    assert recipe.model.input_size == expected_size

    alternation = recipe.alternation
    epochs = recipe.fine_tuning.epochs
    epochs += alternation.classifier_epochs * (1 + alternation.rounds)
    expected_epochs = 0 if name.endswith("-start") else CLASSIFIER_EPOCHS[arm.recipe_file.name]
    assert epochs == expected_epochs


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_of_arms(name: str) -> None:
    comparison = COMPARISONS[name]
    assert set(comparison.trained_arms) <= set(ARMS)
    assert comparison.control in comparison.arms
    assert set(comparison.against) | set(comparison.against.values()) <= set(comparison.arms)
