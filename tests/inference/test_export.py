"""The exported model: its contract, and that it computes what the checkpoint computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from conftest import HEADS
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import ModelError
from leafzoom.inference import export as export_module
from leafzoom.inference.export import Parity, export_onnx, parity
from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import METADATA_KEY, Manifest


def test_the_graph_is_the_contract(trained: Path) -> None:
    model = onnx.load(trained / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}

    (source,) = model.graph.input
    assert source.name == "source"
    tensor_type = source.type.tensor_type
    assert tensor_type.elem_type == onnx.TensorProto.UINT8
    batch, height, width, channels = tensor_type.shape.dim
    assert batch.dim_param
    assert height.dim_param == width.dim_param != batch.dim_param
    assert channels.dim_value == 3

    output_names = [output.name for output in model.graph.output]
    assert output_names == [
        *(f"probabilities_{head}" for head in HEADS[1:]), "box_scale1", "box_scale2", "box_scale3",
        "evidence_scale1", "evidence_scale2", "evidence_scale3", "evidence_bias", "box_closest",
        "evidence_first_look", "evidence_first_look_bias",
    ]  # fmt: skip


def test_the_metadata_is_the_checkpoints_manifest(trained: Path) -> None:
    model = onnx.load(trained / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    manifest = Manifest.from_json(metadata[METADATA_KEY], "model.onnx")
    assert manifest.labels.names == ("healthy", "ring_spot", "solid_spot")
    assert manifest.head == "fusion123"
    assert manifest == load_checkpoint(trained / "model.safetensors").manifest


@pytest.mark.parametrize("count", [1, 3, 16])
def test_the_export_computes_what_the_checkpoint_computes(
    trained: Path, cache: Cache, count: int
) -> None:
    network = TorchNetwork(load_checkpoint(trained / "model.safetensors"))
    exported = OnnxNetwork(trained / "model.onnx")
    result = parity(network, exported, np.asarray(cache.sources[:count]))
    assert result.photographs == count
    assert result.probability < 1e-4
    assert result.box_px < 0.01


@pytest.mark.parametrize("side", [96, 130, 257])
def test_the_export_takes_larger_sources(trained: Path, side: int) -> None:
    network = TorchNetwork(load_checkpoint(trained / "model.safetensors"))
    exported = OnnxNetwork(trained / "model.onnx")
    assert (exported.source_sizes[0], exported.source_sizes[-1]) == (96, 1024)
    assert network.source_sizes == exported.source_sizes

    leaves = render_leaves(3, size=side, seed=4)
    result = parity(network, exported, np.stack([leaf.pixels for leaf in leaves]))
    assert result.probability < 1e-4
    assert result.box_px < 0.05


@pytest.mark.parametrize("side", [64, 1025])
def test_sources_of_other_sides_are_refused(trained: Path, side: int) -> None:
    with pytest.raises(ModelError, match="S = 96 to 1024"):
        OnnxNetwork(trained / "model.onnx")(np.zeros((1, side, side, 3), np.uint8))


@pytest.mark.parametrize("side", [96, 200])
def test_evidence_and_bias_sum_to_the_logits(early_exit_run: Path, side: int) -> None:
    exported = OnnxNetwork(early_exit_run / "model.onnx")
    checkpoint = TorchNetwork(load_checkpoint(early_exit_run / "model.safetensors"))
    leaves = render_leaves(5, size=side, seed=4)
    sources = np.stack([leaf.pixels for leaf in leaves])

    for network in (exported, checkpoint):
        every_look = network(sources, evidence=True)
        assert_sums_to_logits(every_look, "fusion123")
        first_look = network.first_look(sources, evidence=True)
        assert first_look is not None
        assert_sums_to_logits(first_look, "scale1")
    assert network(sources).evidence is None


def assert_sums_to_logits(arrays: NetworkArrays, head: str) -> None:
    """Check that the evidence sums to the logits of a head."""
    evidence = arrays.evidence
    assert evidence is not None
    total = evidence.bias + sum(maps.sum(axis=(2, 3)) for maps in evidence.maps)
    probabilities = arrays.probabilities[head].astype(np.float64)
    np.testing.assert_allclose(total, np.log(probabilities / (1 - probabilities)), atol=1e-4)


def test_a_model_that_differs_is_not_written(
    trained: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = OnnxNetwork.__call__

    def wrong(self: OnnxNetwork, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays:
        arrays = correct(self, sources, evidence=evidence)
        arrays.probabilities["scale2"][0, 0] += 0.01
        return arrays

    monkeypatch.setattr(export_module.OnnxNetwork, "__call__", wrong)
    checkpoint = load_checkpoint(trained / "model.safetensors")
    sources = np.asarray(cache.sources[:4])
    with pytest.raises(ModelError, match=r"differs from the checkpoint by 1\.0e-02 in probability"):
        export_onnx(checkpoint, tmp_path / "m.onnx", sources)
    assert list(tmp_path.iterdir()) == []


# The comparison, on networks whose outputs are given.

DECISION = Decision((0.5, 0.5))
MANIFEST = Manifest(
    labels=LabelSet(("a", "b"), ((1, 0), (0, 1))),
    source_size=8,
    input_size=8,
    scales=1,
    decisions={"scale1": DECISION, "backbone": DECISION},
    recipe={},
)


class ShiftedNetwork:
    """A network that returns the first pixel of a source as its outputs, plus a shift."""

    def __init__(
        self, shift: float = 0.0, heads: tuple[str, ...] = ("scale1",), early_exit: bool = False
    ) -> None:
        self.manifest = MANIFEST
        if early_exit:
            self.manifest = Manifest(**{**vars(MANIFEST), "early_exit": 0.5})
        self.source_sizes = range(8, 9)
        self.has_evidence = False
        self.device_name = "cpu"
        self.shift = shift
        self.heads = heads

    def __call__(self, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays:
        values = sources[:, 0, 0, 0].astype(np.float32)
        shifted = values * (1 + self.shift)
        probabilities = {head: np.stack([values, shifted], axis=1) for head in self.heads}
        boxes = np.stack([values, values, values, shifted * 2], axis=1)
        return NetworkArrays(probabilities, (boxes,), shifted * 3)

    def first_look(self, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays | None:
        if self.manifest.early_exit is None:
            return None
        values = sources[:, 0, 0, 0].astype(np.float32) * (1 + 5 * self.shift)
        return NetworkArrays.of_first_look(np.stack([values, values], axis=1), values, 8)


def numbered_sources(count: int) -> np.ndarray:
    """Sources whose pixels are their number."""
    numbers = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (count, 8, 8, 3))


def test_parity_is_the_greatest_difference_over_all_photographs() -> None:
    result = parity(ShiftedNetwork(), ShiftedNetwork(0.5), numbered_sources(40))
    assert result.probability == pytest.approx(39 * 0.5)
    assert result.box_px == pytest.approx(39 * 1.0)
    assert result.ood_score == pytest.approx(39 * 1.5)
    assert result.photographs == 40
    assert result.worst == tuple(range(39, 23, -1))


def test_parity_compares_the_heads_that_both_networks_have() -> None:
    with_backbone = ShiftedNetwork(0.5, ("backbone", "scale1"))
    assert parity(with_backbone, ShiftedNetwork(0.5), numbered_sources(3)).probability == 0


def test_parity_compares_the_first_looks_of_networks_that_can_stop_there() -> None:
    exiting = ShiftedNetwork(early_exit=True)
    shifted = ShiftedNetwork(0.5, early_exit=True)
    result = parity(exiting, shifted, numbered_sources(11))
    assert result.probability == pytest.approx(10 * 2.5)
    assert result.ood_score == pytest.approx(10 * 2.5)

    with pytest.raises(ModelError, match="not both networks have a first look"):
        parity(exiting, ShiftedNetwork(), numbered_sources(2))


def test_a_difference_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelError, match="not a finite number on one of 4 photographs"):
        Parity(float("nan"), 0.0, 0.0, 4, (0,))
    with pytest.raises(ModelError, match="cannot be compared"):
        parity(ShiftedNetwork(float("nan")), ShiftedNetwork(), numbered_sources(4))
