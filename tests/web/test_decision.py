"""The page's `decision.js` beside Python's decision, on random outputs of a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from leafzoom.inference.loading import open_network
from leafzoom.inference.network import NetworkArrays
from leafzoom.inference.predictor import DecodedPhoto, Predictor
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.manifest import Manifest
from leafzoom.orchard.pooled import pool
from leafzoom.photo import Source
from leafzoom.web.model import decision_of
from tools.web_agreement import PhonePage

_COUNT = 60
_SIDE = 256
_COVERAGE = 0.9

_PREDICT = """async ({ model, outputs, photoSize, sourceSize, coverage }) => {
  const address = new URL("decision.js", document.baseURI).href;
  const { pool, predictionOf } = await import(address);
  const predictions = outputs.map((one, index) =>
    predictionOf({
      photo: String(index), outputs: one, maps: {}, model, photoSize, sourceSize,
      isFirstLook: false, coverage,
    }),
  );
  return { predictions, pooled: pool(predictions, model) };
}"""


def outputs_of(manifest: Manifest, generator: np.random.Generator) -> NetworkArrays:
    """Random outputs, many of them close to a threshold."""
    labels = len(manifest.labels.names)
    logits = generator.normal(0, 3, (_COUNT, labels))
    probabilities = {}
    for head in manifest.network_heads:
        noisy = logits + generator.normal(0, 0.7, (_COUNT, labels))
        if manifest.labels.single_label:
            shares = np.exp(noisy) / np.exp(noisy).sum(axis=1, keepdims=True)
        else:
            shares = 1 / (1 + np.exp(-noisy))
        probabilities[head] = shares.astype(np.float32)
    boxes = tuple(
        generator.uniform(-5, _SIDE + 5, (_COUNT, 4)).astype(np.float32)
        for _ in manifest.look_heads
    )
    scores = generator.uniform(0, 1.3, _COUNT).astype(np.float32)
    scores[:2] = (np.inf, np.nan)
    return NetworkArrays(probabilities, boxes, scores)


def in_javascript(arrays: NetworkArrays, manifest: Manifest, row: int) -> dict[str, list[float]]:
    """One row of the outputs, by the names of the graph; what JSON lacks is left to the browser."""
    assert arrays.ood_score is not None
    outputs: dict[str, Any] = {
        f"probabilities_{head}": values[row].tolist()
        for head, values in arrays.probabilities.items()
    }
    for head, boxes in zip(manifest.look_heads, arrays.boxes, strict=True):
        outputs[f"box_{head}"] = boxes[row].tolist()
    outputs["strangeness"] = [float(arrays.ood_score[row])]
    return outputs


def of_single_labels(manifest: Manifest) -> Manifest:
    labels = LabelSet.of_classes(manifest.labels.names)
    decisions = {head: Decision((), 1.3) for head in manifest.decisions}
    return replace(manifest, labels=labels, decisions=decisions, confusion=None, format_version=2)


def without_interactions(manifest: Manifest) -> Manifest:
    decisions = {
        head: replace(decision, interactions=(), temperature=0.8)
        for head, decision in manifest.decisions.items()
    }
    return replace(manifest, decisions=decisions)


@pytest.mark.parametrize("change", [None, of_single_labels, without_interactions])
def test_the_page_decides_as_python_does(engine_page: PhonePage, change: Any) -> None:
    network = open_network("bundled")
    manifest = change(network.manifest) if change else network.manifest
    network.manifest = manifest
    predictor = Predictor(network)
    arrays = outputs_of(manifest, np.random.default_rng(7))

    source = Source(np.zeros((_SIDE, _SIDE, 3), np.uint8), (4000, 2672))
    photos = [DecodedPhoto(str(row), source, coverage=_COVERAGE) for row in range(_COUNT)]
    expected = predictor._predictions(photos, arrays, manifest.head)
    answer = engine_page.evaluate(
        _PREDICT,
        {
            "model": {**decision_of(manifest), "maps": False},
            "outputs": [in_javascript(arrays, manifest, row) for row in range(_COUNT)],
            "photoSize": [4000, 2672],
            "sourceSize": _SIDE,
            "coverage": _COVERAGE,
        },
    )

    for mine, other in zip(expected, answer["predictions"], strict=True):
        assert_same(other, mine.to_dict())
    assert {one.verdict for one in expected} == {"diagnosis", "unsure", "not_a_leaf"}

    pooled = pool(expected, manifest)
    assert pooled is not None
    assert answer["pooled"]["leaves"] == pooled.leaves
    assert answer["pooled"]["share"] == pytest.approx(pooled.share, abs=1e-5)
    assert answer["pooled"]["any_leaf"] == pytest.approx(pooled.any_leaf, abs=1e-5)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key in ("photo", "labels", "verdict", "likely", "possible", "model", "strangeness"):
        assert found[key] == expected[key], key
    assert found["confidence"] == pytest.approx(expected["confidence"], abs=2e-6)
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=2e-6)
    for mine, other in zip(expected["scales"], found["scales"], strict=True):
        assert other["box"] == pytest.approx(mine["box"], abs=0.011)
