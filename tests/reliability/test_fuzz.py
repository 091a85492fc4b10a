"""Random inputs to the readers of tables, `.onnx` files and photos: an answer or one line."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from hypothesis import strategies as st

from leafzoom.errors import ModelError
from leafzoom.model_file.onnx_reader import read_onnx
from tools.fuzz import Tally, fuzz, main, try_target
from tools.fuzz_targets import Target, small_model, targets

NAMES = ("tables", "tables as written", "onnx", "photos")


def tried(target: Target, examples: int, seed: int = 0) -> Tally:
    tally = Tally()
    try_target(target, tally, examples=examples, random_seed=seed)
    return tally


@pytest.mark.parametrize("name", NAMES)
def test_random_inputs_give_an_answer_or_one_line(name: str, tmp_path: Path) -> None:
    (target,) = [target for target in targets(tmp_path) if target.name == name]
    tally = tried(target, examples=60)
    assert tally.failures == []
    assert tally.outcomes["read"] > 0


@pytest.mark.slow
def test_more_random_inputs() -> None:
    """Not the same inputs on a busy machine, but each has to pass."""
    tallies = fuzz(seconds=30, first_seed=1000)
    assert set(tallies) == set(NAMES)
    for tally in tallies.values():
        assert tally.failures == []
        assert tally.outcomes["read"] > 0


def test_a_failure_is_written_down_with_its_input() -> None:
    def check(content: bytes) -> str:
        if len(content) > 3:
            raise ValueError(f"too\nlong: {len(content)}")
        return "read"

    tally = tried(Target("x", st.binary(max_size=50), check), examples=200)
    assert tally.failures == [(b"\0\0\0\0", "ValueError: too long: 4")]
    assert tally.to_dict()["failures"] == ["ValueError: too long: 4"]


def test_the_figure_is_added_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "reliability.json"
    out.write_text('{"name": "reliability"}')
    options = ["--minutes", "0.001", "--seed", "3", "--out", out, "--failures", tmp_path / "failed"]
    monkeypatch.setattr("sys.argv", ["fuzz", *map(str, options)])
    monkeypatch.setattr("tools.fuzz._EXAMPLES_A_ROUND", 5)
    main()

    result = json.loads(out.read_text())
    assert result["name"] == "reliability"
    assert result["fuzzing"]["command"] == "python -m tools.fuzz --minutes 0.001 --seed 3"
    assert set(result["fuzzing"]["readers"]) == set(NAMES)
    assert all(figure["inputs"] >= 5 for figure in result["fuzzing"]["readers"].values())
    assert list((tmp_path / "failed").iterdir()) == []


def test_what_our_reader_overlooks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison with the onnx library sees what a careless reader lets through."""
    model = onnx.load_model_from_string(small_model())
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    (target,) = [target for target in targets(tmp_path) if target.name == "onnx"]
    assert target.check(small_model()) == "read"
    assert target.check(model.SerializeToString()) == "refused"

    monkeypatch.setattr("leafzoom.model_file.onnx_reader._tensor_is_external", lambda _: False)
    with pytest.raises(AssertionError, match="weights in another file were not seen"):
        target.check(model.SerializeToString())


def test_every_place_of_a_tensor_is_looked_at(tmp_path: Path) -> None:
    """Each tensor of the small model, one after the other, keeps its data elsewhere."""
    path = tmp_path / "m.onnx"
    for index in range(100):
        model = onnx.load_model_from_string(small_model())
        tensors = _tensors(model.graph)
        if index == len(tensors):
            break
        tensors[index].external_data.add(key="location", value="w")
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="keeps weights in other files"):
            read_onnx(path)
    assert index == 7


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """All tensors of a graph like the small model's."""
    tensors = list(graph.initializer)
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.HasField("t") else []
            tensors += _tensors(attribute.g) if attribute.HasField("g") else []
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    return tensors + [part for tensor in sparse for part in (tensor.values, tensor.indices)]
