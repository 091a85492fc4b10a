"""The runs that `python -m experiments.run` left, and the data that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache, build_cache, default_cache_folder
from leafzoom.dataset.table import Table
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint

__all__ = ["MeasuredRun", "cached_sources", "find_runs", "load_network", "require_runs", "rows_of"]


@dataclass(frozen=True)
class MeasuredRun:
    """The folder RUNS/ARM-SEED of one arm and seed."""

    folder: Path

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return int(self.folder.name.rpartition("-")[2])

    @property
    def is_measured(self) -> bool:
        """Whether its measurement is finished."""
        return (self.folder / "measured.npz").is_file()

    @property
    def source_size(self) -> int:
        """The side of its sources in pixels."""
        return int(self._json("recipe.json")["data"]["source_size"])

    @property
    def proposals(self) -> str:
        """Where its boxes come from: `apn`, `centre` or `response`."""
        return str(self._json("recipe.json")["model"]["proposals"])

    @property
    def commit(self) -> str:
        """The commit of the code that measured it."""
        return str(self._json("measured.json")["commit"])

    @property
    def validation_names(self) -> frozenset[str]:
        """The photographs of its validation part."""
        return frozenset(self._json("split.json")["select"])

    @property
    def model_file(self) -> Path:
        """Its trained network."""
        return self.folder / "model.safetensors"

    def arrays(self, name: str = "measured.npz") -> dict[str, NDArray[Any]]:
        """All arrays of a file, in the order they were written; see `measure` for measured.npz."""
        with np.load(self.folder / name) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def _json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return content


def find_runs(runs: Path, arm: str) -> list[MeasuredRun]:
    """The measured runs of an arm, by seed (0 to 9)."""
    runs_of_arm = [MeasuredRun(folder) for folder in sorted(runs.glob(f"{arm}-[0-9]"))]
    return [run for run in runs_of_arm if run.is_measured]


def require_runs(runs: Path, arm: str) -> list[MeasuredRun]:
    """As `find_runs`, one at least.

    Raises:
        SystemExit: there is none.
    """
    measured = find_runs(runs, arm)
    if not measured:
        raise SystemExit(
            f"{runs} has no measured run of {arm}: python -m experiments.run --arm {arm}"
        )
    return measured


def cached_sources(data: Path, table: Table, source_size: int) -> Cache:
    """The cache of a data folder in its default place, built where it is missing."""
    return build_cache(table, default_cache_folder(data, table.csv, source_size), source_size)


def rows_of(table: Table, image_names: Iterable[str]) -> NDArray[np.intp]:
    """The rows of some photographs, in the table's order."""
    chosen = set(image_names)
    return np.array([row for row, name in enumerate(table.image_names) if name in chosen], np.intp)


def load_network(checkpoint: Checkpoint | Path) -> FusedNetwork:
    """A checkpoint's network, in eval() and in the memory format that is fastest on a CPU."""
    if isinstance(checkpoint, Path):
        checkpoint = load_checkpoint(checkpoint)

    network = network_from_checkpoint(checkpoint)
    network.racnn.backbones.to(memory_format=torch.channels_last)
    return network
