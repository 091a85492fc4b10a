"""Damaged model files and soft labels: detected, named, made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import ModelError, TrainingError
from leafzoom.inference.loading import open_network
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training.run import train
from reliability.damage import (
    DAMAGES,
    FLIPS,
    damaged_contents,
    flip_bit_of_file,
    no_echo,
    same_weights,
)
from reliability.small import SMALL

CHECKSUM_KEY = "leafzoom_sha256"
CHECKSUM_ENTRY_BYTES = len(CHECKSUM_KEY) + 70
"""At the end of an exported model."""


def file_content(path: Path) -> object:
    """Everything that is read of a model file, to compare."""
    if path.suffix == ".onnx":
        content, manifest = read_onnx(path)
        return content[:-CHECKSUM_ENTRY_BYTES], manifest

    checkpoint = load_checkpoint(path)
    tensors = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.tensors.items()}
    return tensors, checkpoint.manifest


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx"])
def test_a_damaged_model_file_is_detected_and_named(
    name: str,
    whole: Path,
    exported: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Either the file is refused, or the damaged bit belongs to nothing that is read."""
    expected = file_content(whole / name)
    path = tmp_path / name
    messages = []
    for description, content in damaged_contents((whole / name).read_bytes(), FLIPS):
        path.write_bytes(content)
        try:
            assert file_content(path) == expected, description
        except ModelError as error:
            messages.append(str(error))

    record_property("damaged", DAMAGES)
    record_property("refused by name", len(messages))
    assert len(messages) > FLIPS
    for message in messages:
        assert str(path) in message
        assert len(message.splitlines()) == 1
    with pytest.raises(ModelError):
        open_network(str(path))


def test_a_model_file_without_a_checksum_is_still_read(exported: Path, tmp_path: Path) -> None:
    """As older ones are."""
    model = onnx.load(exported)
    entries = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    assert len(entries) == len(model.metadata_props) - 1
    del model.metadata_props[:]
    model.metadata_props.extend(entries)

    old = tmp_path / "old.onnx"
    onnx.save(model, old)
    assert read_onnx(old)[1] == read_onnx(exported)[1]


def test_a_finished_run_whose_model_is_damaged_makes_it_again(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    flip_bit_of_file(run / "model.safetensors", -1000)

    lines: list[str] = []
    train(sources, parts, small, run, resume=True, echo=lines.append)
    assert [line for line in lines if "model.safetensors is damaged" in line]
    assert same_weights(run, whole)

    # Without a state it cannot be made again.
    flip_bit_of_file(run / "model.safetensors", -1000)
    shutil.rmtree(run / "states")
    message = r"model\.safetensors is damaged.* and there is no state"
    with pytest.raises(TrainingError, match=message):
        train(sources, parts, small, run, resume=True, echo=no_echo)


@pytest.mark.slow
def test_damaged_soft_labels_are_named_and_computed_again(
    whole: Path, sources: Cache, parts: Split, tmp_path: Path
) -> None:
    changes = [*SMALL, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"]
    recipe = load_recipe("default", changes)
    init = str(whole / "model.safetensors")
    undamaged = tmp_path / "one" / "run"
    train(sources, parts, recipe, undamaged, init=init, echo=no_echo)

    # The last digits of a probability: only the checksum can detect it.
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run = tmp_path / "two" / "run"
    (file,) = run.glob("soft-labels-*.npy")
    flip_bit_of_file(file, -2)
    (run / "run.json").unlink()
    shutil.rmtree(run / "states")

    lines: list[str] = []
    train(sources, parts, recipe, run, init=init, echo=lines.append)
    assert [line for line in lines if file.name in line and "damaged" in line]
    assert same_weights(run, undamaged)
