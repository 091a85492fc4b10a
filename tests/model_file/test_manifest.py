"""A manifest survives its JSON, and one that does not hold is refused in one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from leafzoom.errors import ModelError
from leafzoom.inference.loading import open_network
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.manifest import Manifest
from model_file.tampering import Content, refusal, with_graph, with_manifest

LABELS = LabelSet(("rust", "scab"), ((1, 0), (0, 1), (1, 1)))
DECISION = Decision((0.4, 0.6), 1.5, (0.1, -0.2, 0.0))
MANIFEST = Manifest(
    labels=LABELS,
    source_size=96,
    input_size=64,
    scales=2,
    decisions={"scale1": DECISION, "scale2": DECISION, "fusion12": DECISION},
    recipe={"seed": 0},
)


GOLDEN = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"


def test_a_manifest_survives_its_json() -> None:
    manifest = replace(MANIFEST, early_exit=0.9, metrics={"part": {"fusion12": {"f1": 0.5}}})
    assert Manifest.from_json(manifest.to_json(), "m.onnx") == manifest


def test_the_head_is_written_and_read() -> None:
    manifest = replace(MANIFEST, head="scale2")
    assert json.loads(manifest.to_json())["head"] == "scale2"
    assert Manifest.from_json(manifest.to_json(), "m.onnx").head == "scale2"


def test_without_an_entry_the_head_is_the_last_decisions() -> None:
    """Files of older versions have none."""
    content = json.loads(MANIFEST.to_json())
    assert content.pop("head") == "fusion12"
    assert Manifest.from_json(json.dumps(content), "m.onnx") == MANIFEST


def test_a_manifest_without_decisions_has_no_head() -> None:
    manifest = replace(MANIFEST, decisions={}, head="")
    assert manifest.head == ""
    assert Manifest.from_json(manifest.to_json(), "x.safetensors") == manifest


def test_a_head_without_a_decision_is_refused() -> None:
    with pytest.raises(ModelError, match="the head of the answer, fusion123, has no decision"):
        replace(MANIFEST, head="fusion123")


def test_entries_of_later_versions_are_ignored() -> None:
    content = json.loads(MANIFEST.to_json()) | {"mood": "sunny"}
    assert Manifest.from_json(json.dumps(content), "m.onnx") == MANIFEST


def test_the_backbone_is_no_head_of_the_network() -> None:
    manifest = replace(MANIFEST, decisions={"backbone": DECISION, **MANIFEST.decisions})
    assert manifest.network_heads == ("scale1", "scale2", "fusion12")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(format_version=3), "reads up to 2"),
        (lambda c: c.update(format_version="new"), "reads up to 2"),
        (lambda c: c["labels"]["names"].append("mildew"), "metadata"),
        (lambda c: c["labels"].update(names=["a", "b"], combinations=[[1, 0]]), "metadata"),
        (lambda c: c["labels"].update(combinations=[[2, 0, 0]]), "metadata"),
        (lambda c: c["labels"].update(names=[["a"], 1, None]), "metadata"),
        (lambda c: c.pop("decisions"), "metadata"),
        (lambda c: c.update(decisions={}), "no decision"),
        (lambda c: c["decisions"].pop("fusion123"), "no decision"),
        (lambda c: c["decisions"]["fusion123"].update(temperature=float("nan")), "metadata"),
        (lambda c: c["decisions"]["fusion123"].update(thresholds=["high"] * 3), "metadata"),
        (lambda c: c["decisions"]["fusion123"].update(interactions=[1e999] * 99), "metadata"),
        (lambda c: c.update(head="scale9"), "no decision"),
        (lambda c: c.update(head="scale1"), "no decision for every scale and their fusion"),
        (lambda c: c.update(head=["fusion123"]), "metadata"),
        (lambda c: c.update(source_size=10**9), "source_size"),
        (lambda c: c.update(max_source_size="large"), "max_source_size"),
        (lambda c: c.update(scales=10**12), "scales"),
        (lambda c: c.update(scales=2), "no decision for every scale and their fusion"),
        (lambda c: c.update(recipe="default"), "metadata"),
        (lambda c: c.update(name=["x"]), "metadata"),
    ],
)  # fmt: skip
def test_metadata_that_does_not_hold_is_refused(
    trained: Path, tmp_path: Path, change: Callable[[Content], object], expected: str
) -> None:
    assert expected in refusal(with_manifest(trained, tmp_path / "m.onnx", change))


def test_metadata_nested_too_deep_is_refused(trained: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = "[" * 200_000 + "]" * 200_000

    assert "metadata" in refusal(with_graph(trained, tmp_path / "m.onnx", change))


def test_a_graph_of_one_side_has_to_be_of_the_metadatas_side(tmp_path: Path) -> None:
    shutil.copy(GOLDEN, tmp_path / "model.onnx")
    network = open_network(str(tmp_path / "model.onnx"))
    assert list(network.source_sizes) == [network.manifest.source_size]
    assert network.manifest.max_source_size == network.manifest.source_size

    changed = with_manifest(tmp_path, tmp_path / "m.onnx", lambda c: c.update(source_size=128))
    assert "does not read sources" in refusal(changed)
