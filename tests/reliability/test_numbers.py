"""A model file of this version gives the same numbers in the next, and a newer format is refused.

That the same seed gives the same losses is checked by `test_the_same_seed_gives_the_same_run` and
`test_pinned_losses`, with the tests of the training.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import save_file

from leafzoom.cli import cli
from leafzoom.errors import ModelError
from leafzoom.inference.loading import open_network
from leafzoom.labels import decide
from leafzoom.model.pretrained import initial_checkpoint, pretrained_backbone
from leafzoom.model_file.manifest import FORMAT_VERSION, METADATA_KEY
from leafzoom.recipe import load_recipe
from reliability.small import SMALL

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = [1, 2]
KINDS = ["onnx", "safetensors"]


def test_every_format_so_far_has_its_golden_files() -> None:
    """Whoever raises the format's number adds files by tests/golden/write_model.py, and keeps the
    old ones.
    """
    assert list(range(1, FORMAT_VERSION + 1)) == FORMATS

    names = {path.name for path in GOLDEN.glob("model-format-*")}
    suffixes = [*KINDS, "json"]
    assert names == {f"model-format-{number}.{suffix}" for number in FORMATS for suffix in suffixes}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", FORMATS)
def test_a_model_file_says_what_it_said_when_it_was_written(number: int, kind: str) -> None:
    """Written by tests/golden/write_model.py; the sources are noise."""
    path = GOLDEN / f"model-format-{number}.{kind}"
    expected = json.loads(path.with_suffix(".json").read_text())
    network = open_network(str(path))
    manifest = network.manifest
    assert manifest.format_version == number
    assert list(manifest.labels.names) == expected["labels"]

    sources = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    arrays = network(sources)
    assert list(arrays.probabilities) == list(expected["probabilities"])
    for head, probabilities in expected["probabilities"].items():
        np.testing.assert_allclose(arrays.probabilities[head], probabilities, atol=2e-4)
    for boxes, expected_boxes in zip(arrays.boxes, expected["boxes"], strict=True):
        np.testing.assert_allclose(boxes, expected_boxes, atol=0.05)

    head = manifest.head
    answers = decide(arrays.probabilities[head], manifest.decisions[head], manifest.labels)
    assert answers.tolist() == expected["answers"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", FORMATS)
def test_a_training_starts_from_an_old_model_file(number: int, kind: str) -> None:
    checkpoint = initial_checkpoint(str(GOLDEN / f"model-format-{number}.{kind}"))
    assert {"scale1", "scale2", "apn1", "fusion12"} <= checkpoint.parts

    recipe = load_recipe("default", [*SMALL, "model.scales=2"])
    backbone = pretrained_backbone(recipe, checkpoint.manifest.labels.names, checkpoint)
    assert np.isfinite(backbone.network.conv_stem.weight.detach().numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_format_is_refused_clearly(kind: str, tmp_path: Path) -> None:
    """Before anything else in the file is checked: a newer format may hold anything."""
    path = tmp_path / f"newer.{kind}"
    write_with_metadata(
        path, json.dumps({"format_version": FORMAT_VERSION + 1, "whatever": [None]})
    )
    message = (
        f"{path} has model format {FORMAT_VERSION + 1} "
        f"and this leafzoom reads up to {FORMAT_VERSION}: update"
    )

    with pytest.raises(ModelError) as error:
        open_network(str(path))
    assert str(error.value).startswith(message)

    result = CliRunner().invoke(cli, ["info", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"leafzoom: {message}")
    assert len(result.stderr.splitlines()) == 1


def write_with_metadata(path: Path, metadata: str) -> None:
    """Write the golden model of format 1 with other metadata."""
    golden = GOLDEN / f"model-format-1{path.suffix}"
    if path.suffix == ".onnx":
        model = onnx.load(golden)
        for entry in model.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = metadata
        path.write_bytes(model.SerializeToString())
        return

    with safe_open(golden, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={METADATA_KEY: metadata})
