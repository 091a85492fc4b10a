"""Stopping after the first look: where it is fitted, what it says, and that it is a part of the exported model."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from leafzoom.cli import cli
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import ModelError, UsageError
from leafzoom.inference.export import export_onnx, write_manifest
from leafzoom.inference.formats import write_records
from leafzoom.inference.model_file import open_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.predictor import Prediction, Predictor, find_photos
from leafzoom.labels import LabelSet
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.onnx_file import read_onnx, with_outputs
from leafzoom.training.decision_fit import fit_early_exit
from leafzoom.training.familiarity_fit import fit_familiarity

TWO = LabelSet(("healthy", "scab"), ((1, 0), (0, 1)))


def sources_for(network: OnnxNetwork, count: int = 6) -> np.ndarray:
    return np.stack([leaf.pixels for leaf in render_leaves(count, size=network.manifest.source_size, seed=5)])


@pytest.fixture(scope="module")
def early(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run's network with a first look of its own: that run has too few photographs to fit one."""
    checkpoint = load_checkpoint(trained / "model.safetensors")
    size = checkpoint.manifest.source_size
    sources = np.stack([leaf.pixels for leaf in render_leaves(40, size=size, seed=3)])
    network = network_from_checkpoint(checkpoint)
    with torch.inference_mode():
        pictures = network.racnn.normalise(torch.from_numpy(sources).permute(0, 3, 1, 2).float() / 255)
        descriptors = network.racnn(pictures)[0].descriptor.numpy()
    familiarity = fit_familiarity(descriptors, 1, 0)
    assert familiarity is not None
    own = {f"familiarity1.{name}": tensor for name, tensor in familiarity.state_dict().items()}
    decisions = {head: replace(of, temperature=0.02) for head, of in checkpoint.manifest.decisions.items()}
    made = replace(  # so sharp that the barely trained network is sure of some photographs
        checkpoint,
        tensors={**checkpoint.tensors, **own},
        manifest=replace(checkpoint.manifest, early_exit=0.5, decisions=decisions),
    )
    folder = tmp_path_factory.mktemp("early")
    save_checkpoint(folder / "model.safetensors", made.tensors, made.manifest)
    export_onnx(load_checkpoint(folder / "model.safetensors"), folder / "model.onnx", sources)
    return folder


def with_exit(early: Path, threshold: float) -> OnnxNetwork:
    """The network with another confidence that its first look has to have."""
    network = OnnxNetwork(early / "model.onnx")
    network.manifest = replace(network.manifest, early_exit=threshold)
    return network


def test_the_threshold_is_the_lowest_that_costs_nothing() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 4000)
    targets = np.stack([truth == 0, truth == 1], axis=1).astype(np.uint8)
    sign = (2 * targets - 1.0) * np.array([1, 1])
    last = 3 * sign + random.normal(0, 0.1, sign.shape)  # always right
    strength = random.uniform(0.05, 3, 4000)
    wrong = (strength < 0.5) & (random.uniform(size=4000) < 0.5)  # guesses where it is not sure
    first = np.where(wrong, -strength, strength)[:, None] * sign
    found = fit_early_exit(first, last, targets, TWO)
    assert found is not None
    assert 0.5 < found < 0.99
    assert fit_early_exit(last, last, targets, TWO) == 0.5
    assert fit_early_exit(random.normal(size=sign.shape) * 9, last, targets, TWO) is None
    assert fit_early_exit(first[:1], last[:1], targets[:1], TWO) is None
    # So few cannot rule out a loss of 0.2 points.
    assert fit_early_exit(last[:1499], last[:1499], targets[:1499], TWO) is None
    assert fit_early_exit(last[:1500], last[:1500], targets[:1500], TWO) == 0.5


def test_a_model_can_be_cut_down_to_some_outputs(early: Path, tmp_path: Path) -> None:
    import onnx

    content, _ = read_onnx(early / "model.onnx")
    names = ["probabilities_scale1", "strangeness_scale1"]
    cut = onnx.load_from_string(with_outputs(content, names))
    onnx.checker.check_model(cut)
    assert [output.name for output in cut.graph.output] == names
    whole = onnx.load_from_string(content)
    kept = [node for node in whole.graph.node if any(node == other for other in cut.graph.node)]
    assert kept == list(cut.graph.node)
    assert len(cut.graph.node) < 0.6 * len(whole.graph.node)
    stored = {tensor.name for tensor in cut.graph.initializer}
    assert stored == {name for node in cut.graph.node for name in node.input} & {
        tensor.name for tensor in whole.graph.initializer
    }
    assert cut.metadata_props == whole.metadata_props
    everything = [output.name for output in whole.graph.output]
    assert onnx.load_from_string(with_outputs(content, everything)).graph.node == whole.graph.node


def test_what_a_graph_inside_a_node_reads_stays(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    inner = helper.make_graph(
        [helper.make_node("Add", ["far", "far"], ["sum"])],
        "inner",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["far"]),
            helper.make_node("Abs", ["x"], ["other"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
        ],
        "outer",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("y", "other")],
    )
    cut = onnx.load_from_string(with_outputs(helper.make_model(graph).SerializeToString(), ["y"]))
    assert [node.op_type for node in cut.graph.node] == ["Neg", "If"]
    onnx.checker.check_model(cut)


def test_the_first_look_is_scale_1_of_all_looks(early: Path) -> None:
    network = with_exit(early, 0.5)
    sources = sources_for(network)
    first, everything = network.first_look(sources), network(sources)
    assert first is not None
    np.testing.assert_allclose(first.probabilities["scale1"], everything.probabilities["scale1"], atol=1e-5)
    assert list(first.probabilities) == ["scale1"]
    np.testing.assert_array_equal(first.boxes[0], everything.boxes[0])
    assert network._first is not None
    assert [output.name for output in network._first.get_outputs()] == network._first_outputs
    torch_network = open_network(str(early), prefer="torch")
    torch_network.manifest = network.manifest
    same = torch_network.first_look(sources)
    assert same is not None
    np.testing.assert_allclose(same.probabilities["scale1"], first.probabilities["scale1"], atol=1e-4)
    np.testing.assert_allclose(same.strangeness, first.strangeness, rtol=1e-3, atol=1e-3)


def test_a_model_that_was_not_made_for_it(early: Path, tmp_path: Path) -> None:
    network = with_exit(early, 0.5)
    network.manifest = replace(network.manifest, early_exit=None)
    with pytest.raises(UsageError, match="does not know how sure its first look has to be"):
        Predictor(network, early_exit=True)
    with pytest.raises(ModelError, match=r"early_exit is a probability, not 1\.5"):
        replace(network.manifest, early_exit=1.5)


def test_a_file_that_changes_while_it_is_used(early: Path, tmp_path: Path) -> None:
    content = (early / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content)
    network = OnnxNetwork(tmp_path / "model.onnx")
    other = replace(network.manifest, name="another")
    write_manifest(tmp_path / "model.onnx", other)
    with pytest.raises(ModelError, match=r"model\.onnx has changed since it was opened"):
        network.first_look(sources_for(network, 1))


def test_sure_photographs_are_looked_at_once(early: Path, leaves: Path) -> None:
    photos = find_photos([leaves])[:8]
    plain = list(Predictor(with_exit(early, 0.5))(photos))
    never = list(Predictor(with_exit(early, 1.0), early_exit=True)(photos))
    assert [p.to_dict() for p in never] == [p.to_dict() for p in plain]
    always = list(Predictor(with_exit(early, 0.0), early_exit=True)(photos))
    network = with_exit(early, 0.0)
    confidences = []
    for photo, soon, late in zip(photos, always, plain, strict=True):
        assert soon.photo == str(photo)
        if soon.verdict == "diagnosis" and len(soon.scales) == 1:
            assert soon.probabilities == soon.scales[0].probabilities
            assert soon.scales[0].box == late.scales[0].box
            np.testing.assert_allclose(
                list(soon.probabilities.values()), list(late.scales[0].probabilities.values()), atol=1e-5
            )
            confidences.append(soon.confidence)
        else:
            assert len(soon.scales) == network.manifest.scales
    assert len(confidences) > 1, "no photograph of which the first look is sure: the test shows nothing"
    middle = float(np.median(confidences))
    some = list(Predictor(with_exit(early, middle), early_exit=True)(photos))
    once = [len(p.scales) == 1 for p in some]
    assert any(once)
    for soon, one, all_looks in zip(some, once, plain, strict=True):
        assert soon.confidence >= middle if one else soon.to_dict() == all_looks.to_dict()


def test_an_early_exit_is_drawn_and_written(early: Path, leaves: Path, tmp_path: Path) -> None:
    found = list(Predictor(with_exit(early, 0.0), early_exit=True)(find_photos([leaves])[:8]))
    once = [prediction for prediction in found if isinstance(prediction, Prediction) and len(prediction.scales) == 1]
    once[0].save(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
    table = io.StringIO()
    write_records([once[0].to_dict()], "table", table, list(once[0].probabilities))
    assert "the first look was sure: no closer one" in table.getvalue()
    assert "scale 1" in table.getvalue()
    assert "fused" not in table.getvalue()


def test_early_exit_on_the_command_line(trained: Path, early: Path, leaves: Path, tmp_path: Path) -> None:
    photo = str(find_photos([leaves])[0])
    arguments = ["predict", photo, "--model", str(early), "--format", "json", "--early-exit"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    (said,) = json.loads(result.stdout)
    assert len(said["scales"]) in (1, 3)
    assert (
        "the first look alone answers from a confidence of 0.50"
        in CliRunner().invoke(cli, ["info", str(early)]).stdout
    )
    refused = CliRunner().invoke(cli, ["predict", photo, "--model", str(trained), "--early-exit"])
    assert refused.exit_code == 2
    assert "leave out the early exit" in refused.output
