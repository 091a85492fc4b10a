"""The smallest training, for the tests of what damage and interruption leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.inference.export import export_onnx
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training.run import train
from reliability.damage import no_echo
from reliability.small import SMALL


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaves for the smallest training."""
    return write_leaves(tmp_path_factory.mktemp("small"), 48, size=64, seed=0)


@pytest.fixture(scope="session")
def sources(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Their cache."""
    return build_cache(read_table(data), tmp_path_factory.mktemp("small-cache"), 64, workers=1)


@pytest.fixture(scope="session")
def parts(sources: Cache) -> Split:
    """Their split."""
    return training_split(sources, "inner-train")


@pytest.fixture
def small() -> Recipe:
    """The smallest training that has every stage."""
    return load_recipe("default", SMALL)


@pytest.fixture(scope="session")
def whole(sources: Cache, parts: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was neither stopped nor damaged."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(sources, parts, load_recipe("default", SMALL), run, echo=no_echo)
    return run


@pytest.fixture(scope="session")
def exported(whole: Path, sources: Cache) -> Path:
    """The exported model of that training."""
    path = whole / "model.onnx"
    checkpoint = load_checkpoint(whole / "model.safetensors")
    export_onnx(checkpoint, path, np.asarray(sources.sources[:4]))
    return path
