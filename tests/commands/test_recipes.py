"""`leafzoom recipes`: the list of recipes, and every setting of one."""

from __future__ import annotations

from pathlib import Path

from conftest import failure_line, run_command
from leafzoom.recipe import describe_recipe, load_recipe, recipe_names


def test_the_list_has_a_line_for_each_recipe() -> None:
    result = run_command("recipes")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert all(len(line.split()) > 5 for line in lines)


def test_a_recipe_is_shown_with_values_and_meanings() -> None:
    result = run_command("recipes", "paper")
    assert result.exit_code == 0
    for setting in describe_recipe(load_recipe("paper")):
        assert f"\n{setting.path} = {setting.value_text}\n" in "\n" + result.output

    # Meanings are wrapped.
    words = " ".join(result.output.split())
    assert "Side of the view of every scale in pixels (§2: 224). (integer, 32 to 1024)" in words
    assert max(len(line) for line in result.output.splitlines()) <= 100


def test_a_file_is_shown_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "paper"\n[model]\ninput_size = 128\n')
    result = run_command("recipes", file)
    assert 'name = "mine"' in result.output
    assert "model.input_size = 128" in result.output


def test_an_unknown_recipe_is_refused() -> None:
    line = failure_line(run_command("recipes", "nothing"), 2)
    assert "no recipe 'nothing': give a TOML file or one of attention-sampling, auth" in line
