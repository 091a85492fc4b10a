"""Write docs/recipes.md from the recipes: python -m tools.recipe_reference [--check]

The page lists the recipes that ship, what each changes, and every setting with its default, its
range and its meaning. --check writes nothing and exits with 1 if the page is not up to date. Takes
about a second; needs `leafzoom[train]`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib

from leafzoom.recipe import (
    Recipe,
    describe_recipe,
    load_recipe,
    recipe_names,
    recipe_summaries,
)
from leafzoom.recipe.files import shipped_recipe_text
from tools.markdown import Lines, heading, row
from tools.provenance import ROOT

__all__ = ["PAGE", "main", "parser", "reference"]

PAGE = ROOT / "docs" / "recipes.md"

_INTRODUCTION = """\
# Recipes

<!-- Written by python -m tools.recipe_reference from the recipes themselves; do not edit. -->

A recipe is a TOML file with every choice of a training. `leafzoom train --recipe NAME` takes one of
these, or a file of your own:
"""

_OWN_RECIPES = """
In a file, `extends = "paper"` takes another recipe's values, and a setting that is left out keeps
its default. `--set model.input_size=128` changes one value on the command line. `leafzoom recipes
NAME` prints every value of a recipe. "§" and "eq." refer to the paper; [design.md](design.md) says
how it is read where it contradicts itself.

Former names of settings are still read: `data.select_limit`, `alternation.held_stages`,
`alternation.held_scales` and `prediction.mirrors`. The tables have the present ones.
"""

_CHANGES = """
## What each recipe changes

Everything else is as in the recipe that it extends, or has the default of the tables above.
"""


def main() -> int:
    """Write or check; returns the exit status."""
    is_check = parser().parse_args().check
    page = reference()
    if not is_check:
        PAGE.write_text(page, encoding="utf-8")
        return 0

    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        print(
            f"{PAGE.relative_to(ROOT)} differs from the recipes; "
            "run python -m tools.recipe_reference",
            file=sys.stderr,
        )
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.recipe_reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    return options


def reference() -> str:
    """The page."""
    lines = [
        _INTRODUCTION,
        *_summary_table(),
        _OWN_RECIPES,
        "## Settings",
        *_setting_tables(),
        _CHANGES,
        *_changes(),
    ]
    return "\n".join(lines) + "\n"


def _summary_table() -> Lines:
    """A line a recipe."""
    lines = heading(["recipe", "what it is"])
    for summary in recipe_summaries():
        lines.append(row([f"`{summary.name}`", _cell(summary.summary)]))
    return lines


def _setting_tables() -> Lines:
    """A table a section, with the values that settings have where no recipe sets them."""
    lines: Lines = []
    section = None
    for setting in describe_recipe(Recipe()):
        if setting.section != section:
            section = setting.section
            title = f"`[{section}]`" if section else "Above the first section"
            lines += ["", f"### {title}", "", *heading(["setting", "default", "range", "meaning"])]

        cells = [
            f"`{setting.key}`",
            f"`{setting.value_text}`",
            _cell(setting.type_text),
            _cell(setting.description),
        ]
        lines.append(row(cells))
    return lines


def _changes() -> Lines:
    """For each recipe, the settings that differ from those of the recipe that it extends."""
    lines: Lines = []
    for name in recipe_names():
        base_name = tomllib.loads(shipped_recipe_text(name)).get("extends")
        base = Recipe() if base_name is None else load_recipe(base_name)
        base_values = {setting.path: setting.value for setting in describe_recipe(base)}

        changes = [
            f"    {setting.path} = {setting.value_text}"
            for setting in describe_recipe(load_recipe(name))
            if setting.path != "name" and setting.value != base_values[setting.path]
        ]
        title = "Changes the defaults:" if base_name is None else f"Extends `{base_name}`:"
        lines += [f"### `{name}`", "", title, "", *changes, ""]
    return lines[:-1]


def _cell(text: str) -> str:
    """Text that a table's cell can hold."""
    return text.replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
