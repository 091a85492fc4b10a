"""A model in two parts: together they compute what it computes, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_split import split_model
from leafzoom.model_file.onnx_subgraph import output_names

FIRST = ["probabilities_scale1", "box_scale1", "strangeness_scale1", "evidence_first_look"]


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def run(content: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = session_of(content)
    names = [entry.name for entry in session.get_outputs()]
    inputs = {entry.name for entry in session.get_inputs()}
    values = session.run(names, {name: feeds[name] for name in inputs})
    return dict(zip(names, values, strict=True))


def check_parts(path: Path, side: int, count: int) -> None:
    content, _ = read_onnx(path)
    outputs = output_names(content)
    second = sorted(outputs.difference(FIRST))
    split = split_model(content, FIRST, second)

    # Other numbers than usual, and several sources at once.
    generator = np.random.default_rng(4)
    sources = generator.integers(0, 256, (count, side, side, 3), np.uint8)
    expected = run(content, {"source": sources})
    first = run(split.first, {"source": sources})
    closer = run(split.second, {"source": sources, **first})

    assert set(first) == {*FIRST, *split.handed_on}
    assert set(closer) == set(second)
    for name, values in expected.items():
        assert np.array_equal(first.get(name, closer.get(name)), values), name


def test_the_parts_of_a_tiny_model_give_what_it_gives(early_exit_run: Path) -> None:
    check_parts(early_exit_run / "model.onnx", 96, 3)


def test_the_parts_of_the_shipped_model_hold_each_weight_once() -> None:
    path = bundled_model()
    check_parts(path, 320, 1)

    content, _ = read_onnx(path)
    second = sorted(output_names(content).difference(FIRST))
    split = split_model(content, FIRST, second)
    assert len(split.first) + len(split.second) < 1.02 * len(content)
    assert len(split.first) < 0.4 * len(content)
    for part in (split.first, split.second):
        onnx.checker.check_model(onnx.load_from_string(part))
