"""Variants of a model can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.bundled import bundled_model
from tools.variants import in_single_precision, without_checksum


def test_the_variant_in_single_precision_is_read_and_gives_the_same(tmp_path: Path) -> None:
    """Its file has other bytes, so the checksum may not stay."""
    model = onnx.load(bundled_model())
    path = tmp_path / "float32.onnx"
    onnx.save(in_single_precision(without_checksum(model)), path)
    types = {initializer.data_type for initializer in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types

    network = OnnxNetwork(bundled_model())
    size = network.manifest.source_size
    sources = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    expected = network(sources).probabilities
    for head, probabilities in OnnxNetwork(path)(sources).probabilities.items():
        np.testing.assert_allclose(probabilities, expected[head], atol=1e-5)
