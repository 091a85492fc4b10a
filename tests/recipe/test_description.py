"""Every recipe and every setting says what it is."""

from __future__ import annotations

import pytest

from leafzoom.recipe import (
    Setting,
    describe_recipe,
    load_recipe,
    recipe_from_dict,
    recipe_names,
    recipe_summaries,
    recipe_to_dict,
)

MAX_SUMMARY_LENGTH = 100


@pytest.fixture(scope="module")
def settings() -> dict[str, Setting]:
    """The default recipe's, by `section.key`."""
    return {setting.path: setting for setting in describe_recipe(load_recipe("default"))}


def test_every_setting_has_a_description_and_a_type(settings: dict[str, Setting]) -> None:
    for setting in settings.values():
        assert len(setting.description.split()) >= 2, setting.path
        assert setting.description.endswith((".", ")")), setting.path
        assert setting.type_text, setting.path


def test_settings_hold_the_whole_recipe() -> None:
    """Each in its section, so that the recipe can be made from them again."""
    recipe = load_recipe("paper")
    content: dict[str, object] = {}
    for setting in describe_recipe(recipe):
        section = content
        for name in setting.section.split(".") if setting.section else []:
            section = section.setdefault(name, {})
        section[setting.key] = setting.value
    assert recipe_from_dict(content, "settings") == recipe


def test_settings_can_be_set_as_they_are_shown(settings: dict[str, Setting]) -> None:
    changes = [f"{path}={setting.value_text}" for path, setting in settings.items()]
    changed = load_recipe("paper", changes)
    assert recipe_to_dict(changed) == recipe_to_dict(load_recipe("default"))


@pytest.mark.parametrize(
    ("path", "type_text"),
    [
        ("name", "text"),
        ("augmentation.flip", "true or false"),
        ("model.input_size", "integer, 32 to 1024"),
        ("fine_tuning.epochs", "integer, at least 0"),
        ("fine_tuning.optimizer.learning_rate", "number, above 0"),
        ("alternation.soft_labels", "number, at least 0, below 0.5"),
        ("model.zoom_from", "one of source, view"),
        ("prediction.tta", "one of 1, 2, 4"),
        ("model.zoom_bounds", "list of 2 numbers"),
        ("data.labels", "list of texts"),
        ("fine_tuning.input_sizes", "list of integers, 32 to 1024"),
        ("warm_up.size_target", "number or list of numbers"),
    ],
)
def test_types_say_what_is_allowed(settings: dict[str, Setting], path: str, type_text: str) -> None:
    assert settings[path].type_text == type_text


def test_every_recipe_has_a_summary() -> None:
    summaries = recipe_summaries()
    assert [summary.name for summary in summaries] == recipe_names()
    for summary in summaries:
        assert 20 < len(summary.summary) <= MAX_SUMMARY_LENGTH, summary.name
        assert not summary.summary.startswith(("#", "[")), summary.name
