"""What the tests share: rendered leaves, their cache, a recipe that trains in seconds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from click.testing import CliRunner, Result

from leafzoom.cli import cli
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.sources import sources_to_images
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import render_leaves, write_leaves
from leafzoom.dataset.table import Row, Table, read_table
from leafzoom.fitting.ood_detector import fit_ood_detector
from leafzoom.inference.export import export_onnx
from leafzoom.model.build import network_from_checkpoint, network_tensors
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.recipe import Recipe, load_recipe

# Parallel test processes share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

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

SET_TINY = tuple(word for change in TINY for word in ("--set", change))
"""`TINY` as options of `leafzoom train`."""

HEADS = ("backbone", "scale1", "scale2", "scale3", "fusion12", "fusion123")
"""The heads of the tiny network."""


def run_command(*arguments: object) -> Result:
    """Run `leafzoom` with these arguments, in this process."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def failure_line(result: Result, exit_code: int) -> str:
    """The one line of an expected failure."""
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output

    starts = ("leafzoom:", "Error:")
    lines = [line for line in result.stderr.splitlines() if line.startswith(starts)]
    assert len(lines) == 1, result.stderr
    return lines[0]


def needs_shared(*parts: str) -> Path:
    """A path below ../shared; the test skips, saying so, where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path('..', 'shared', *parts)}, which is not here")
    return path


def save_photo(
    path: Path, colour: tuple[int, int, int] = (10, 120, 30), size: tuple[int, int] = (40, 30)
) -> Path:
    """Write a photograph of one colour, [width, height] pixels large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def write_data_folder(folder: Path, table: str | bytes, *image_names: str) -> Path:
    """Write `train.csv` and photographs of one colour in `images/`."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_name in image_names:
        save_photo(folder / "images" / image_name)

    content = table.encode() if isinstance(table, str) else table
    (folder / "train.csv").write_bytes(content)
    return folder


def numbered_table(count: int, combinations: list[tuple[str, ...]]) -> Table:
    """A table of photographs 00000.jpg, 00001.jpg, ... without files; combinations take turns."""
    rows = []
    for index in range(count):
        labels = combinations[index % len(combinations)]
        rows.append(Row(index + 2, f"{index:05d}.jpg", labels, Path("x")))
    return Table(Path("t.csv"), tuple(rows), ())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's own cache, or takes the user's own model."""
    monkeypatch.setenv("LEAFZOOM_CACHE", str(tmp_path_factory.getbasetemp() / "user-cache"))
    monkeypatch.delenv("LEAFZOOM_MODEL", raising=False)


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
    result = run_command("train", "--data", leaves, "--recipe", "default", "--out", out, *SET_TINY)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def early_exit_run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run's network with out-of-distribution detectors and an early exit.

    The run itself has too few validation photographs to fit them.
    """
    checkpoint = load_checkpoint(trained / "model.safetensors")
    leaves = render_leaves(40, size=checkpoint.manifest.source_size, seed=3)
    sources = np.stack([leaf.pixels for leaf in leaves])

    # A detector for all scales, and one for scale 1 alone.
    network = network_from_checkpoint(checkpoint)
    racnn = network.racnn
    with torch.inference_mode():
        images = racnn.normalise(sources_to_images(torch.from_numpy(sources)))
        descriptors = [state.descriptor for state in racnn(images)]
    all_scales = torch.cat(descriptors, dim=1).numpy()
    network.ood_detector = fit_ood_detector(all_scales, racnn.scales, 0)
    network.first_ood_detector = fit_ood_detector(descriptors[0].numpy(), 1, 0)

    # A temperature so low that the barely trained network is confident on some photographs.
    decisions = {
        head: replace(decision, temperature=0.02)
        for head, decision in checkpoint.manifest.decisions.items()
    }

    folder = tmp_path_factory.mktemp("early")
    save_checkpoint(
        folder / "model.safetensors",
        {**checkpoint.tensors, **network_tensors(network)},
        replace(checkpoint.manifest, early_exit=0.5, decisions=decisions),
    )
    export_onnx(load_checkpoint(folder / "model.safetensors"), folder / "model.onnx", sources)
    return folder


@pytest.fixture
def tiny() -> Recipe:
    """The default recipe on a network for seconds."""
    return load_recipe("default", TINY)


@pytest.fixture
def generator() -> torch.Generator:
    """Random tensors that are the same in every run."""
    return torch.Generator().manual_seed(0)
