"""The confusion that a model file keeps."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafzoom.errors import ModelError
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.confusion import NOT_A_LEAF, UNSURE, Confusion
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.onnx_reader import read_onnx

CONFUSION = Confusion(2, ((0, 0, 8), (0, 2, 1), (1, 0, 2), (1, 1, 6), (1, 3, 1)))


def test_counts_become_a_matrix_and_come_back() -> None:
    matrix = CONFUSION.matrix()

    np.testing.assert_array_equal(matrix, [[8, 0, 1, 0], [2, 6, 0, 1]])
    assert matrix[0, UNSURE] == 1
    assert matrix[1, NOT_A_LEAF] == 1
    assert CONFUSION.photographs == matrix.sum() == 18
    assert Confusion.from_matrix(matrix) == CONFUSION
    assert Confusion.from_json(json.loads(json.dumps(asdict(CONFUSION)))) == CONFUSION


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((), "three whole numbers"),
        (((0, 0),), "three whole numbers"),
        (((0, 0, 0.5),), "three whole numbers"),
        (((0, 0, 0),), "out of range among"),
        (((2, 0, 1),), "out of range among"),
        (((0, 4, 1),), "out of range among"),
        (((0, -1, 1),), "out of range among"),
        (((0, 1, 1), (0, 0, 1)), "have to ascend"),
        (((0, 1, 1), (0, 1, 1)), "have to ascend"),
    ],
)
def test_damaged_confusions_are_refused(counts: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Confusion(2, counts)


def test_a_training_writes_it_into_the_checkpoint_and_the_export(trained: Path) -> None:
    manifest = load_checkpoint(trained / "model.safetensors").manifest

    assert manifest.confusion is not None
    assert manifest.confusion.photographs == manifest.data["selected_on"]
    assert manifest.confusion.combinations == len(manifest.labels.combinations)
    assert Manifest.from_json(manifest.to_json(), "here") == manifest
    _, exported = read_onnx(trained / "model.onnx")
    assert exported.confusion == manifest.confusion


def test_older_files_have_none_and_damaged_ones_are_named(trained: Path) -> None:
    manifest = load_checkpoint(trained / "model.safetensors").manifest
    content = json.loads(manifest.to_json())

    older = {key: value for key, value in content.items() if key != "confusion"}
    assert Manifest.from_json(json.dumps(older), "here").confusion is None

    content["confusion"]["combinations"] += 1
    with pytest.raises(ModelError, match=r"here has damaged metadata.*combinations of labels"):
        Manifest.from_json(json.dumps(content), "here")
    content["confusion"] = {"combinations": 2}
    with pytest.raises(ModelError, match="here has incomplete metadata"):
        Manifest.from_json(json.dumps(content), "here")
    content["confusion"] = {"combinations": "2", "counts": [[0, 0, 1]]}
    with pytest.raises(ModelError, match="here has incomplete metadata"):
        Manifest.from_json(json.dumps(content), "here")
