"""Ranges of a recipe's values, from TOML: what a trial of `leafzoom tune` may choose from.

    [ranges]
    "alternation.apn.learning_rate" = { low = 1e-6, high = 1e-3, log = true }
    "alternation.rounds" = { low = 1, high = 4 }
    "model.zoom_bounds" = { low = [0.2, 0.45], high = [0.45, 0.75] }
    "model.zoom_from" = { choices = ["source", "view"] }

Of a value that is a list, every element has its own range.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafzoom.errors import RecipeError
from leafzoom.recipe import load_recipe

if TYPE_CHECKING:
    from optuna import Trial

__all__ = [
    "Choice",
    "Interval",
    "Ranges",
    "as_change",
    "check_ranges",
    "load_ranges",
    "ranges_names",
]

Number = int | float

_INTERVAL_KEYS = {"low", "high", "log", "step"}
_FIXED_KEYS = {"data.source_size": "the cache has photographs of one size"}


@dataclass(frozen=True)
class Choice:
    """One of several values of a key, each as JSON."""

    key: str
    values: tuple[str, ...]

    def suggest(self, trial: Trial) -> Any:
        """A trial's value."""
        return json.loads(trial.suggest_categorical(self.key, self.values))

    def ends(self) -> list[Any]:
        """All values."""
        return [json.loads(value) for value in self.values]


@dataclass(frozen=True)
class Interval:
    """The numbers between two, inclusive, of a key or of each element of its list.

    `is_list`: whether the value is a list. `log`: whether factors count, not differences. `step`:
    between the numbers; None: any number, or whole ones where both ends are whole.
    """

    key: str
    low: tuple[Number, ...]
    high: tuple[Number, ...]
    is_list: bool
    log: bool
    step: Number | None

    def suggest(self, trial: Trial) -> Any:
        """A trial's value."""
        values = [self._suggest_one(trial, index) for index in range(len(self.low))]
        return values if self.is_list else values[0]

    def ends(self) -> list[Any]:
        """The least and the greatest value."""
        ends = [list(self.low), list(self.high)]
        return ends if self.is_list else [end[0] for end in ends]

    def _suggest_one(self, trial: Trial, index: int) -> Number:
        name = f"{self.key}[{index}]" if self.is_list else self.key
        low = self.low[index]
        high = self.high[index]
        if isinstance(low, int) and isinstance(high, int):
            step = int(self.step) if self.step else 1
            return trial.suggest_int(name, low, high, step=step, log=self.log)
        return trial.suggest_float(name, low, high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Ranges:
    """All ranges of one file."""

    name: str
    items: tuple[Choice | Interval, ...]

    def changes(self, trial: Trial) -> list[str]:
        """What a trial changes in the recipe, as `--set` has it."""
        return [as_change(item.key, item.suggest(trial)) for item in self.items]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which a study that goes on must share."""
        return {item.key: json.loads(json.dumps(vars(item))) for item in self.items}


def as_change(key: str, value: Any) -> str:
    """A change of a recipe as `--set` has it; JSON's values are TOML's.

    >>> as_change("model.zoom_bounds", [0.25, 0.5])
    'model.zoom_bounds=[0.25, 0.5]'
    """
    return f"{key}={json.dumps(value)}"


def ranges_names() -> list[str]:
    """The names of the ranges that ship in the package, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped_folder().iterdir())


def load_ranges(name_or_file: str) -> Ranges:
    """Ranges that ship in the package, or a TOML file.

    Raises:
        RecipeError: there are none of that name, or one of them is not a range; the message names
            its key.
    """
    where = f"ranges {name_or_file}"
    content = _read(name_or_file, where)
    unknown = sorted(set(content) - {"ranges"})
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]}; there is the section [ranges]")

    section = content.get("ranges", {})
    if not isinstance(section, Mapping) or not section:
        raise RecipeError(f"{where}: [ranges] is empty: give at least one key its range")
    keys = _flat(section)
    items = [_item(key, values, f"{where}: {key}") for key, values in keys.items()]
    return Ranges(Path(name_or_file).stem, tuple(items))


def check_ranges(ranges: Ranges, recipe_name: str, changes: Sequence[str]) -> None:
    """Try the ends of every range in the recipe, so that no trial fails for a wrong key.

    Args:
        ranges: of the trials.
        recipe_name: whose values they change.
        changes: of `--set`, which all trials share.

    Raises:
        RecipeError: a key does not exist, has a value that it cannot have, or is set too.
    """
    set_keys = {change.partition("=")[0].strip() for change in changes}
    for item in ranges.items:
        where = f"ranges {ranges.name}: {item.key}"
        if item.key in _FIXED_KEYS:
            raise RecipeError(f"{where} cannot be tuned: {_FIXED_KEYS[item.key]}")
        if item.key in set_keys:
            raise RecipeError(f"{where} has a value from --set too: leave one out")
        for end in item.ends():
            try:
                load_recipe(recipe_name, [*changes, as_change(item.key, end)])
            except RecipeError as error:
                raise RecipeError(f"{where} = {json.dumps(end)}: {error}") from error


def _item(key: str, values: Any, where: str) -> Choice | Interval:
    """The range of a key."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: a range is {{ low, high }} or {{ choices }}, not {values!r}")
    if "choices" in values:
        return _choice(key, values, where)
    unknown = sorted(set(values) - _INTERVAL_KEYS)
    if unknown or not {"low", "high"} <= set(values):
        found = ", ".join(sorted(values))
        raise RecipeError(
            f"{where}: a range has low and high, with log or step if need be, or choices; this "
            f"one has {found}"
        )
    return _interval(key, values, where)


def _choice(key: str, values: Mapping[str, Any], where: str) -> Choice:
    """A range of several values."""
    choices = values["choices"]
    if len(values) > 1 or not isinstance(choices, list) or len(choices) < 2:
        raise RecipeError(f"{where}: choices is a list of two values or more, and stands alone")
    return Choice(key, tuple(json.dumps(choice) for choice in choices))


def _interval(key: str, values: Mapping[str, Any], where: str) -> Interval:
    """A range between two numbers, or between two lists of as many."""
    low = values["low"]
    high = values["high"]
    is_list = isinstance(low, list)
    lows = tuple(low) if is_list else (low,)
    highs = tuple(high) if isinstance(high, list) else (high,)
    if isinstance(high, list) != is_list or len(lows) != len(highs) or not lows:
        raise RecipeError(f"{where}: low and high are two numbers, or two lists of as many")

    for least, greatest in zip(lows, highs, strict=True):
        if not _is_number(least) or not _is_number(greatest) or least >= greatest:
            raise RecipeError(f"{where}: low {least!r} is not a number below high {greatest!r}")

    log = values.get("log", False)
    step = values.get("step")
    if not isinstance(log, bool) or (log and (min(lows) <= 0 or step is not None)):
        raise RecipeError(f"{where}: log is true or false, for numbers above 0 without a step")
    if step is not None and (not _is_number(step) or step <= 0):
        raise RecipeError(f"{where}: step {step!r} is not a number above 0")
    return Interval(key, lows, highs, is_list, log, step)


def _is_number(value: Any) -> bool:
    """Whether a value of TOML is a finite number."""
    is_numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return is_numeric and abs(value) < float("inf")


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Ranges by dotted key, whether the file writes keys in quotes or as sections."""
    flat: dict[str, Any] = {}
    for name, values in section.items():
        key = f"{prefix}{name}"
        is_section = isinstance(values, Mapping) and not set(values) & {*_INTERVAL_KEYS, "choices"}
        if is_section and values:
            flat |= _flat(values, f"{key}.")
        else:
            flat[key] = values
    return flat


def _shipped_folder() -> Traversable:
    return resources.files("leafzoom") / "assets" / "ranges"


def _read(name_or_file: str, where: str) -> dict[str, Any]:
    """The content of a file of ranges."""
    try:
        if name_or_file in ranges_names():
            text = (_shipped_folder() / f"{name_or_file}.toml").read_text(encoding="utf-8")
        else:
            text = Path(name_or_file).read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        shipped = ", ".join(ranges_names())
        raise RecipeError(f"no {where}: give a TOML file or one of {shipped}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{where} is no valid TOML: {error}") from error
