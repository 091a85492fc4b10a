"""Numbers that stay true: a model file of this version says the same in the next, and a newer format is refused.

That the same seed gives the same losses is held by test_training.py (`test_the_same_seed_gives_the_same_run`,
`test_pinned_losses`).
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
from small import SMALL

from leafzoom.cli import cli
from leafzoom.errors import ModelError
from leafzoom.inference.model_file import open_network
from leafzoom.labels import decide
from leafzoom.manifest import FORMAT_VERSION, METADATA_KEY
from leafzoom.model.build import initial_checkpoint, pretrained_backbone
from leafzoom.recipe import load_recipe

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = [1]
KINDS = ["onnx", "safetensors"]


def test_every_format_so_far_has_its_golden_files() -> None:
    """Whoever raises the format's number writes new ones and leaves the old ones: tests/golden/write_model.py."""
    assert list(range(1, FORMAT_VERSION + 1)) == FORMATS
    found = {path.name for path in GOLDEN.glob("model-format-*")}
    assert found == {f"model-format-{number}.{kind}" for number in FORMATS for kind in [*KINDS, "json"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", FORMATS)
def test_a_model_file_says_what_it_said_when_it_was_written(number: int, kind: str) -> None:
    """Written by tests/golden/write_model.py; the sources are noise."""
    path = GOLDEN / f"model-format-{number}.{kind}"
    wanted = json.loads(path.with_suffix(".json").read_text())
    network = open_network(str(path))
    manifest = network.manifest
    found = network(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    assert (manifest.format_version, list(manifest.labels.names)) == (number, wanted["labels"])
    assert list(found.probabilities) == list(wanted["probabilities"])
    for head, probabilities in wanted["probabilities"].items():
        np.testing.assert_allclose(found.probabilities[head], probabilities, atol=2e-4)
    for boxes, stored in zip(found.boxes, wanted["boxes"], strict=True):
        np.testing.assert_allclose(boxes, stored, atol=0.05)
    answers = decide(found.probabilities[manifest.head], manifest.decisions[manifest.head], manifest.labels)
    assert answers.tolist() == wanted["answers"]


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
    """Before anything else in the file is judged, for what comes after the number may be anything."""
    path = tmp_path / f"newer.{kind}"
    newer = json.dumps({"format_version": FORMAT_VERSION + 1, "whatever": [None]})
    if kind == "onnx":
        model = onnx.load(GOLDEN / "model-format-1.onnx")
        for entry in model.metadata_props:
            entry.value = newer if entry.key == METADATA_KEY else entry.value
        path.write_bytes(model.SerializeToString())
    else:
        with safe_open(GOLDEN / "model-format-1.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata={METADATA_KEY: newer})
    says = f"{path} has model format {FORMAT_VERSION + 1} and this leafzoom reads up to {FORMAT_VERSION}: update"
    with pytest.raises(ModelError) as error:
        open_network(str(path))
    assert str(error.value).startswith(says)
    result = CliRunner().invoke(cli, ["info", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"leafzoom: {says}")
    assert len(result.stderr.splitlines()) == 1
