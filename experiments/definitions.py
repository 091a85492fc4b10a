"""The arms of arms.toml and the comparisons of comparisons.toml, as values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["EXPERIMENTS_FOLDER", "Arm", "Comparison", "read_arms", "read_comparisons", "read_toml"]

EXPERIMENTS_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Arm:
    """One training of an experiment.

    `changes`: `section.key=value`, applied to the recipe. `extends`: the recipe file in this
    folder;
    None: base.toml. `start`: the checkpoint that it starts from, a file beside the shared one; "":
    none; None: the shared one. `nine`: scale 2 is measured at nine boxes too.
    """

    name: str
    changes: tuple[str, ...]
    extends: str | None = None
    start: str | None = None
    nine: bool = False

    @property
    def recipe_file(self) -> Path:
        """The recipe that the changes are applied to."""
        return EXPERIMENTS_FOLDER / (self.extends or "base.toml")

    def start_checkpoint(self, shared: Path) -> Path | None:
        """The arm's start checkpoint, given the shared one; None for random weights."""
        if self.start is None:
            return shared
        return shared.parent / self.start if self.start else None


@dataclass(frozen=True)
class Comparison:
    """Some measured arms, each against the control or the arm that `against` names.

    `arms`: ARM, or ARM:KIND with the head (`scale1`) or the boxes (`nine`, `oracle`, …) that are
    compared. `data`: "photographs" or "leaves" (rendered ones). `zoom_value`: the value of the
    learned boxes to the same classifiers is reported too. `measured`: whether its result is
    published.
    """

    name: str
    title: str
    control: str
    arms: tuple[str, ...]
    against: dict[str, str]
    data: str = "photographs"
    zoom_value: bool = False
    measured: bool = True

    def compared_with(self, arm: str) -> str:
        """The arm that this one is compared with."""
        return self.against.get(arm, self.control)

    @property
    def trained_arms(self) -> tuple[str, ...]:
        """The names in arms.toml of all arms, without their kinds, each once."""
        return tuple(dict.fromkeys(arm.partition(":")[0] for arm in self.arms))


def read_arms() -> dict[str, Arm]:
    """All arms of arms.toml by name."""
    tables = read_toml("arms.toml")
    return {
        name: Arm(
            name=name,
            changes=tuple(table["set"]),
            extends=table.get("extends"),
            start=table.get("start"),
            nine=table.get("nine", False),
        )
        for name, table in tables.items()
    }


def read_comparisons() -> dict[str, Comparison]:
    """All comparisons of comparisons.toml by name."""
    tables = read_toml("comparisons.toml")
    return {
        name: Comparison(
            name=name,
            title=table["title"],
            control=table["control"],
            arms=tuple(table["arms"]),
            against=table.get("against", {}),
            data=table.get("data", "photographs"),
            zoom_value=table.get("zoom_value", False),
            measured=table.get("measured", True),
        )
        for name, table in tables.items()
    }


def read_toml(name: str) -> dict[str, dict[str, Any]]:
    """The tables of a file in this folder."""
    return tomllib.loads((EXPERIMENTS_FOLDER / name).read_text(encoding="utf-8"))
