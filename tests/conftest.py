"""What the tests share: a folder of rendered leaves, its cache, a recipe small enough for seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from click.testing import CliRunner

from leafzoom.cli import cli
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.recipe import Recipe, load_recipe

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY = (
    "data.source_size=96",
    "model.backbone=test_efficientnet",
    "model.pretrained=none",
    "model.input_size=64",
    "model.apn_hidden=8",
    "fine_tuning.batch_size=12",
    "fine_tuning.epochs=2",
    "warm_up.batch_size=12",
    "alternation.rounds=1",
    "alternation.classifier_epochs=2",
    "alternation.batch_size=12",
    "alternation.classifier.learning_rate=5e-3",  # that 16 steps of it show in the losses
)


def needs_shared(*parts: str) -> Path:
    """A path below ../shared; the test skips, saying so, where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path('..', 'shared', *parts)}, which is not here")
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's own cache."""
    monkeypatch.setenv("LEAFZOOM_CACHE", str(tmp_path_factory.getbasetemp() / "user-cache"))


@pytest.fixture(scope="session")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rendered leaves in Kaggle's layout."""
    return write_leaves(tmp_path_factory.mktemp("leaves"), 60, size=96, seed=0)


@pytest.fixture(scope="session")
def cache(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The cache of the leaves."""
    return build_cache(read_table(leaves), tmp_path_factory.mktemp("cache"), 96, workers=1)


@pytest.fixture(scope="session")
def split(cache: Cache) -> Split:
    """Its inner parts."""
    return training_split(cache, "inner-train")


@pytest.fixture(scope="session")
def trained(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made through the command line."""
    out = tmp_path_factory.mktemp("cli") / "run"
    changes = [word for change in TINY for word in ("--set", change)]
    arguments = ["train", "--data", str(leaves), "--recipe", "default", "--out", str(out), *changes]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def tiny() -> Recipe:
    """The default recipe on a network for seconds."""
    return load_recipe("default", TINY)


@pytest.fixture
def generator() -> torch.Generator:
    """Random tensors that are the same in every run."""
    return torch.Generator().manual_seed(0)
