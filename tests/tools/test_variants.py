"""Variants of a model can be read, and their layers are found by stage and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.quantization import backbone_layers, first_layers
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.onnx_writer import in_single_precision, save_model
from tools import variants
from tools.evaluation_data import LabelledPart


@pytest.fixture(scope="module")
def single() -> onnx.ModelProto:
    return in_single_precision(onnx.load(bundled_model()))


def test_the_variant_in_single_precision_is_read_and_gives_the_same(
    single: onnx.ModelProto, tmp_path: Path
) -> None:
    """Its file has other bytes, so the checksum may not stay."""
    path = tmp_path / "float32.onnx"
    save_model(single, path)
    types = {initializer.data_type for initializer in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types

    network = OnnxNetwork(bundled_model())
    size = network.manifest.source_size
    sources = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    expected = network(sources).probabilities
    for head, probabilities in OnnxNetwork(path)(sources).probabilities.items():
        np.testing.assert_allclose(probabilities, expected[head], atol=1e-6, err_msg=head)


def test_choices_leave_the_layers_that_they_name(single: onnx.ModelProto) -> None:
    layers = backbone_layers(single)
    choices = variants._choices(single)
    counts = {name: sum(map(choice.in_float, layers)) for name, choice in choices.items()}

    # Three scales and the closest look; Lite0 has 49 convolutions, 16 of them depthwise.
    looks = 4
    assert len(layers) == looks * 49
    assert counts["int8, all layers"] == 0
    assert counts["int8, first layer in float32"] == looks
    assert counts[variants.EXPORTED] == 2 * looks
    assert counts["int8, first stage in float32"] == 3 * looks
    assert counts["int8, depthwise layers in float32"] == 16 * looks
    assert counts["int8, last layer in float32"] == looks
    assert counts["int8, scale 1 in float32"] == 49


def test_the_exported_variant_leaves_what_the_export_leaves(single: onnx.ModelProto) -> None:
    choice = variants._choices(single)[variants.EXPORTED]
    left = [layer for layer in backbone_layers(single) if choice.in_float(layer)]
    assert {name for layer in left for name in layer.nodes} == first_layers(single)


def test_lost_answers_are_counted_by_photograph() -> None:
    manifest = OnnxNetwork(bundled_model()).manifest
    targets = np.array([manifest.labels.encode(["rust"])] * 100, np.uint8)
    sure = np.where(targets, 0.999, 0.001).astype(np.float32)
    wrong = sure.copy()
    wrong[:3] = np.where(manifest.labels.encode(["scab"]), 0.999, 0.001)
    part = LabelledPart(np.zeros((100, 1, 1, 3), np.uint8), targets)

    lost = variants._lost({manifest.head: wrong}, {manifest.head: sure}, part, manifest)

    assert (lost["wrong_now"], lost["right_now"]) == (3, 0)
    assert lost["change"] == pytest.approx(-0.03)
    assert lost["interval"][0] < -0.03 < lost["interval"][1] <= 0
    assert lost["logits_moved"] > 1
