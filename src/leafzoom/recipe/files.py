"""Reading recipes: those that ship, TOML files, dictionaries, and `--set section.key=value`."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from leafzoom.errors import RecipeError
from leafzoom.recipe.recipe import Recipe

__all__ = [
    "load_recipe",
    "recipe_from_dict",
    "recipe_names",
    "recipe_to_dict",
    "shipped_recipe_text",
]

_ADAPTER = TypeAdapter(Recipe)

# Names of keys before version 0.2, by section. Model files and recipes that have them are still
# read.
_FORMER_NAMES = {
    "data": {"select_limit": "validation_limit"},
    "alternation": {"held_stages": "frozen_stages", "held_scales": "frozen_scales"},
    "prediction": {"mirrors": "tta"},
}


def recipe_names() -> list[str]:
    """The names of the recipes that ship in the package, sorted."""
    file_names = [file.name for file in _shipped_folder().iterdir()]
    return sorted(
        file_name.removesuffix(".toml") for file_name in file_names if file_name.endswith(".toml")
    )


def shipped_recipe_text(name: str) -> str:
    """The TOML of a recipe that ships in the package."""
    return (_shipped_folder() / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name_or_file: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe that ships in the package, or a TOML file, with changes applied.

    Args:
        name_or_file: one of `recipe_names`, or the path of a file.
        changes: `section.key=value`; the value is read as TOML, else as a string.

    Raises:
        RecipeError: no such recipe or file, invalid TOML, an unknown key, an impossible value.

    >>> load_recipe("default", ["model.input_size=128"]).model.input_size
    128
    """
    content = _read(name_or_file)
    content.setdefault("name", Path(name_or_file).stem)
    for change in changes:
        _apply(content, change)
    return recipe_from_dict(content, name_or_file)


def recipe_from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested plain values; `where` names their origin in errors.

    Raises:
        RecipeError: an unknown key or an impossible value.
    """
    # Settings that are left out keep their defaults, in nested sections too.
    defaults = recipe_to_dict(Recipe())
    try:
        return _ADAPTER.validate_python(_merge(defaults, _with_present_names(content)))
    except ValidationError as error:
        raise RecipeError(f"recipe {where}: {_first_message(error)}") from error


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Every value of a recipe as nested plain values, for JSON and `recipe_from_dict`."""
    plain: dict[str, Any] = _ADAPTER.dump_python(recipe, mode="json")
    return plain


def _first_message(error: ValidationError) -> str:
    """The first error of a validation in a line: the key, what was expected, what came."""
    first = error.errors()[0]
    path = first["loc"]
    key = ".".join(str(part) for part in path) or "the recipe"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key {key}; the keys there are {', '.join(_keys(path[:-1]))}"

    # The value is quoted, but a whole section would be too long.
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    is_section = isinstance(value, Mapping) or dataclasses.is_dataclass(value)
    return f"{key}: {message}" if is_section else f"{key}: {message}, not {value!r}"


def _keys(path: Sequence[str | int]) -> list[str]:
    """The keys of the section at a path of names."""
    section: Any = Recipe()
    for name in path:
        section = getattr(section, str(name))
    return [field.name for field in dataclasses.fields(section)]


def _shipped_folder() -> Traversable:
    return resources.files("leafzoom") / "assets" / "recipes"


def _read(name_or_file: str, extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plain values of a recipe, merged into those of the recipe that it extends."""
    # Recipes that extend each other would be read for ever.
    if name_or_file in extended_by:
        chain = ", ".join(extended_by)
        raise RecipeError(f"the recipe {name_or_file} extends itself (by way of {chain})")

    content = _with_present_names(_read_toml(name_or_file))
    base_name = content.pop("extends", None)
    if base_name is None:
        return content

    # A file that a recipe extends is beside it.
    if base_name not in recipe_names():
        base_name = str(Path(name_or_file).parent / str(base_name))

    # The name is the file's own.
    base = _read(base_name, (*extended_by, name_or_file))
    base.pop("name", None)
    return _merge(base, content)


def _read_toml(name_or_file: str) -> dict[str, Any]:
    """The values of one recipe's own file."""
    try:
        if name_or_file in recipe_names():
            text = shipped_recipe_text(name_or_file)
        elif Path(name_or_file).is_file():
            text = Path(name_or_file).read_text(encoding="utf-8-sig")
        elif Path(name_or_file).suffix == ".toml":
            raise RecipeError(
                f"the recipe {name_or_file} does not exist: give a TOML file or one of "
                f"{', '.join(recipe_names())}"
            )
        else:
            raise RecipeError(
                f"no recipe {name_or_file!r}: give a TOML file or one of "
                f"{', '.join(recipe_names())}"
            )
        return tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {name_or_file}: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"the recipe {name_or_file} is no valid TOML: {error}") from error


def _with_present_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with former names of keys replaced by the present ones."""
    renamed = dict(content)
    for section, present_names in _FORMER_NAMES.items():
        values = content.get(section)
        if isinstance(values, Mapping):
            renamed[section] = {present_names.get(key, key): values[key] for key in values}
    return renamed


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` written over it, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        base_value = merged.get(key)
        if isinstance(base_value, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(base_value, value)
        else:
            merged[key] = value
    return merged


def _apply(content: dict[str, Any], change: str) -> None:
    """Write one `section.key=value` into nested plain values."""
    path, separator, text = change.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError(f"--set takes section.key=value, not {change!r}")

    # All keys with former names are in sections of the first level.
    if len(keys) == 2:
        section_name, key = keys
        present_names = _FORMER_NAMES.get(section_name, {})
        keys = [section_name, present_names.get(key, key)]

    # Sections that do not exist yet are made.
    section = content
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {change}: {key} is a value, not a section")
    section[keys[-1]] = _parse_value(text)


def _parse_value(text: str) -> Any:
    """A value in TOML, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text.strip()
