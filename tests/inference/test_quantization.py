"""A model in eight-bit integers: which layers are, that it is read, and what its answers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.errors import ModelError
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.quantization import (
    activation_ranges,
    backbone_layers,
    first_layers,
    in_int8,
    same_answers,
    write_int8,
)
from leafzoom.model_file.checkpoint import load_checkpoint

SIDE = 16
CHANNELS = 8


@pytest.fixture(scope="module")
def small() -> onnx.ModelProto:
    """A stem and a depthwise convolution with clipping, and a block with a sum behind it."""
    random = np.random.default_rng(0)
    shapes = {
        "stem": (CHANNELS, 3, 3, 3),
        "depthwise": (CHANNELS, 1, 3, 3),
        "first": (CHANNELS, CHANNELS, 1, 1),
        "second": (CHANNELS, CHANNELS, 1, 1),
    }
    spreads = {"stem": 0.1, "depthwise": 2.0, "first": 0.1, "second": 0.1}
    text = f"""
        <ir_version: 10, opset_import: ["" : 18]>
        small (uint8[N, {SIDE}, {SIDE}, 3] source) => (float[N, {CHANNELS}, H, W] sum)
        <float low = {{0}}, float high = {{6}}>
        {{
            pixels = Cast <to = 1> (source)
            image = Transpose <perm = [0, 3, 1, 2]> (pixels)
            stem_raw = Conv (image, stem)
            stem_out = Clip (stem_raw, low, high)
            depthwise_raw = Conv <group = {CHANNELS}> (stem_out, depthwise)
            depthwise_out = Clip (depthwise_raw, low, high)
            first_out = Conv (depthwise_out, first)
            second_out = Conv (first_out, second)
            sum = Add (second_out, first_out)
        }}
    """
    model = onnx.parser.parse_model(text)
    for name, shape in shapes.items():
        weight = random.normal(scale=spreads[name], size=shape).astype(np.float32)
        tensor = onnx.numpy_helper.from_array(weight, name)
        model.graph.initializer.append(tensor)
    return model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (10, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def sources(early_exit_run: Path, cache: Cache) -> np.ndarray:
    assert cache.sources.shape[1] == OnnxNetwork(early_exit_run / "model.onnx").manifest.source_size
    return np.asarray(cache.sources[:24])


@pytest.fixture(scope="module")
def int8_file(
    early_exit_run: Path, sources: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    write_int8(early_exit_run / "model.onnx", path, sources)
    return path


def int8_weights(model: onnx.ModelProto) -> set[str]:
    kinds = {initializer.name: initializer.data_type for initializer in model.graph.initializer}
    return {
        name for name, kind in kinds.items() if kind == onnx.TensorProto.INT8 and "weight" in name
    }


def computed(model: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"source": pictures})
    return np.asarray(result)


def test_layers_are_convolutions_with_their_clipping(small: onnx.ModelProto) -> None:
    layers = backbone_layers(small)
    assert [layer.weight for layer in layers] == ["stem", "depthwise", "first", "second"]
    assert [layer.output for layer in layers] == [
        "stem_out", "depthwise_out", "first_out", "second_out",
    ]  # fmt: skip
    assert [layer.clip is not None for layer in layers] == [True, True, False, False]
    assert [layer.groups for layer in layers] == [1, CHANNELS, 1, 1]


def test_the_first_layers_are_the_stem_and_the_depthwise_one_behind_it(
    small: onnx.ModelProto,
) -> None:
    stem, depthwise, *_ = backbone_layers(small)
    assert first_layers(small) == stem.nodes | depthwise.nodes


def test_ranges_hold_all_values_or_all_but_a_share(
    small: onnx.ModelProto, pictures: np.ndarray
) -> None:
    whole = activation_ranges(small, pictures)
    values = computed(small, pictures)
    assert whole["sum"] == pytest.approx((values.min(), values.max()), rel=1e-5)
    assert whole["stem_out"] == (0.0, 6.0)
    assert whole["stem_raw"][1] > 6

    narrow = activation_ranges(small, pictures, beyond=0.05)
    assert narrow.keys() == whole.keys()
    assert whole["sum"][0] < narrow["sum"][0] < narrow["sum"][1] < whole["sum"][1]


def test_folding_the_clipping_keeps_more_of_the_values(
    small: onnx.ModelProto, pictures: np.ndarray
) -> None:
    ranges = activation_ranges(small, pictures)
    expected = computed(small, pictures)
    errors = {}
    for folds in (True, False):
        quantized = in_int8(small, ranges, fold_clips=folds)
        kinds = [node.op_type for node in quantized.graph.node]
        assert kinds.count("Clip") == (0 if folds else 2)
        errors[folds] = float(np.abs(computed(quantized, pictures) - expected).mean())

    assert 0 < errors[True] < errors[False] / 1.5


def test_layers_that_are_left_out_stay_in_float(
    small: onnx.ModelProto, pictures: np.ndarray
) -> None:
    ranges = activation_ranges(small, pictures)
    quantized = in_int8(small, ranges, in_float=first_layers(small))
    kinds = {weight.name: weight.data_type for weight in quantized.graph.initializer}

    assert kinds["stem"] == kinds["depthwise"] == onnx.TensorProto.FLOAT
    assert kinds["first_quantized"] == kinds["second_quantized"] == onnx.TensorProto.INT8


def test_the_file_is_a_smaller_model_with_every_output(
    early_exit_run: Path, int8_file: Path, sources: np.ndarray
) -> None:
    original = early_exit_run / "model.onnx"
    assert int8_file.stat().st_size < original.stat().st_size

    network = OnnxNetwork(int8_file)
    assert network.manifest == OnnxNetwork(original).manifest
    arrays = network(sources[:2], evidence=True)
    assert arrays.evidence is not None
    first_look = network.first_look(sources[:2])
    assert first_look is not None
    np.testing.assert_allclose(
        first_look.probabilities["scale1"], arrays.probabilities["scale1"], atol=1e-5
    )


def test_a_network_answers_as_itself(early_exit_run: Path, sources: np.ndarray) -> None:
    network = OnnxNetwork(early_exit_run / "model.onnx")
    assert same_answers(network, network, sources) == 1.0


def test_no_training_starts_from_integers(int8_file: Path) -> None:
    with pytest.raises(ModelError):
        load_checkpoint(int8_file)
