"""Summaries of the recipes that ship, and the meaning of every setting."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from leafzoom.recipe.files import recipe_names, shipped_recipe_text
from leafzoom.recipe.recipe import Recipe

__all__ = ["RecipeSummary", "Setting", "describe_recipe", "recipe_summaries"]

_TYPE_WORDS = {
    "boolean": "true or false",
    "integer": "integer",
    "number": "number",
    "string": "text",
}


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe.

    `section`: of the TOML file, "" above the first one. `type_text`: type and range, or the
    choices. `description`: the meaning, with its unit and the paper's section.
    """

    section: str
    key: str
    value: object
    type_text: str
    description: str

    @property
    def path(self) -> str:
        """`section.key`, as `--set` takes it."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def value_text(self) -> str:
        """The value in TOML."""
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe that ships, and what it is in one line."""

    name: str
    summary: str


def recipe_summaries() -> list[RecipeSummary]:
    """The recipes that ship in the package, with the first line of their files, sorted by name."""
    summaries = []
    for name in recipe_names():
        first_line = shipped_recipe_text(name).partition("\n")[0]
        summaries.append(RecipeSummary(name, first_line.removeprefix("#").strip()))
    return summaries


def describe_recipe(recipe: Recipe) -> list[Setting]:
    """Every setting of a recipe, in the order of its sections.

    >>> first = describe_recipe(Recipe())[1]
    >>> print(first.path, "=", first.value_text, "-", first.type_text)
    seed = 0 - integer, at least 0, below 4294967296
    """
    return list(_section_settings("", recipe))


def _section_settings(section: str, values: Any) -> Iterator[Setting]:
    """The settings of a section (a dataclass), then those of the sections in it."""
    # The JSON schema has each setting's type, range and description.
    properties = TypeAdapter(type(values)).json_schema()["properties"]

    # Sections come after the plain settings, as they have to in TOML.
    subsections = {}
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            subsections[field.name] = value
            continue

        schema = properties[field.name]
        type_text = _type_text(schema)
        yield Setting(section, field.name, value, type_text, schema.get("description", ""))

    for name, value in subsections.items():
        yield from _section_settings(f"{section}.{name}" if section else name, value)


def _type_text(schema: Mapping[str, Any]) -> str:
    """Type and range, or the choices, of a setting's JSON schema."""
    # Only plain values have a range; lists and choices are described by what is in them.
    if "anyOf" in schema:
        return " or ".join(_type_text(alternative) for alternative in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in schema["enum"])
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        return f"list of {len(items)} {_type_text(items[0])}s"
    if "items" in schema:
        type_text, comma, range_text = _type_text(schema["items"]).partition(", ")
        return f"list of {type_text}s{comma}{range_text}"

    type_word = _TYPE_WORDS[schema["type"]]
    range_text = _range_text(schema)
    return f"{type_word}, {range_text}" if range_text else type_word


def _range_text(schema: Mapping[str, Any]) -> str:
    """The range of a number's JSON schema; "" if any is allowed."""
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"

    limits = []
    if "minimum" in schema:
        limits.append(f"at least {schema['minimum']}")
    if "exclusiveMinimum" in schema:
        limits.append(f"above {schema['exclusiveMinimum']}")
    if "maximum" in schema:
        limits.append(f"at most {schema['maximum']}")
    if "exclusiveMaximum" in schema:
        limits.append(f"below {schema['exclusiveMaximum']}")
    return ", ".join(limits)
