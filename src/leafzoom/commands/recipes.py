"""`leafzoom recipes`: the recipes that ship, and what their settings mean."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from leafzoom.commands.options import NAME_OR_FILE
from leafzoom.errors import needs_extra

if TYPE_CHECKING:
    from leafzoom.recipe import Recipe, RecipeSummary

__all__ = ["recipes"]

_LINE_WIDTH = 100


@click.command()
@click.argument("name", required=False, type=NAME_OR_FILE)
def recipes(name: str | None) -> None:
    """List the recipes, or show every setting of the recipe NAME.

    NAME is a recipe of the list or a TOML file. Settings are shown as --set takes them.

    \b
    Examples:
      leafzoom recipes
      leafzoom recipes default
    """
    with needs_extra("train", "leafzoom recipes"):
        from leafzoom.recipe import load_recipe, recipe_summaries

    lines = (
        _summary_lines(recipe_summaries()) if name is None else _setting_lines(load_recipe(name))
    )
    for line in lines:
        click.echo(line)


def _summary_lines(summaries: list[RecipeSummary]) -> Iterator[str]:
    """A line a recipe: its name, and what it is."""
    name_width = max(len(summary.name) for summary in summaries)
    for summary in summaries:
        yield f"{summary.name:<{name_width}}  {summary.summary}"


def _setting_lines(recipe: Recipe) -> Iterator[str]:
    """Every setting with its value, its meaning, its type and its range."""
    from leafzoom.recipe import describe_recipe

    # An empty line before each section.
    section = ""
    for setting in describe_recipe(recipe):
        if setting.section != section:
            section = setting.section
            yield ""

        yield f"{setting.path} = {setting.value_text}"
        yield from textwrap.wrap(
            f"{setting.description} ({setting.type_text})",
            width=_LINE_WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
        )
