"""Early exit: photos on which the first look is confident are looked at once."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import ModelError, UsageError
from leafzoom.inference.formats import write_records
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.onnx_writer import write_manifest
from leafzoom.photo_files import find_photos


def with_threshold(run: Path, threshold: float | None) -> OnnxNetwork:
    """The network with another confidence from which on its first look answers."""
    network = OnnxNetwork(run / "model.onnx")
    network.manifest = replace(network.manifest, early_exit=threshold)
    return network


def rendered_sources(network: OnnxNetwork, count: int) -> np.ndarray:
    leaves = render_leaves(count, size=network.manifest.source_size, seed=5)
    return np.stack([leaf.pixels for leaf in leaves])


def predict_all(predictor: Predictor, photos: list[Path]) -> list[Prediction]:
    results = list(predictor.predict_many(photos))
    predictions = [result for result in results if isinstance(result, Prediction)]
    assert len(predictions) == len(photos)
    return predictions


@pytest.fixture(scope="module")
def photos(leaves: Path) -> list[Path]:
    return find_photos([leaves])[:8]


@pytest.fixture(scope="module")
def all_looks(early_exit_run: Path, photos: list[Path]) -> list[Prediction]:
    """The photos' predictions without an early exit."""
    return predict_all(Predictor(with_threshold(early_exit_run, 0.5)), photos)


@pytest.fixture(scope="module")
def eager(early_exit_run: Path, photos: list[Path]) -> list[Prediction]:
    """Their predictions with an early exit at any confidence."""
    return predict_all(Predictor(with_threshold(early_exit_run, 0.0), early_exit=True), photos)


@pytest.fixture(scope="module")
def one_look(eager: list[Prediction]) -> list[Prediction]:
    """Those that took the early exit."""
    predictions = [prediction for prediction in eager if len(prediction.scales) == 1]
    assert len(predictions) > 1, "hardly a photograph takes the exit: the test shows nothing"
    return predictions


def test_the_first_look_is_scale_1_of_all_looks(early_exit_run: Path) -> None:
    network = with_threshold(early_exit_run, 0.5)
    sources = rendered_sources(network, 6)

    first = network.first_look(sources)
    everything = network(sources)

    assert first is not None
    assert list(first.probabilities) == ["scale1"]
    np.testing.assert_allclose(
        first.probabilities["scale1"], everything.probabilities["scale1"], atol=1e-5
    )
    np.testing.assert_array_equal(first.boxes[0], everything.boxes[0])
    # Its session computes nothing but these outputs.
    (session,) = network._parts.values()
    names = [output.name for output in session.get_outputs()]
    assert names == network._first_outputs


def test_the_checkpoints_first_look_is_the_exports(early_exit_run: Path) -> None:
    exported = with_threshold(early_exit_run, 0.5)
    checkpoint = open_network(str(early_exit_run), prefer="torch")
    sources = rendered_sources(exported, 6)

    of_export = exported.first_look(sources)
    of_checkpoint = checkpoint.first_look(sources)

    assert of_export is not None
    assert of_checkpoint is not None
    np.testing.assert_allclose(
        of_checkpoint.probabilities["scale1"], of_export.probabilities["scale1"], atol=1e-4
    )
    np.testing.assert_allclose(of_checkpoint.ood_score, of_export.ood_score, rtol=1e-3, atol=1e-3)


def test_a_model_without_a_threshold_has_no_early_exit(early_exit_run: Path) -> None:
    network = with_threshold(early_exit_run, None)

    with pytest.raises(UsageError, match="has no confidence threshold for an early exit"):
        Predictor(network, early_exit=True)


def test_the_threshold_is_a_probability(early_exit_run: Path) -> None:
    with pytest.raises(ModelError, match=r"early_exit .*1\.5"):
        with_threshold(early_exit_run, 1.5)


def test_a_file_that_changes_while_it_is_open_is_refused(
    early_exit_run: Path, tmp_path: Path
) -> None:
    """The first look's part of the graph is read at the first call."""
    copy = tmp_path / "model.onnx"
    copy.write_bytes((early_exit_run / "model.onnx").read_bytes())
    network = OnnxNetwork(copy)
    write_manifest(copy, replace(network.manifest, name="another"))

    with pytest.raises(ModelError, match=r"model\.onnx has changed since it was opened"):
        network.first_look(rendered_sources(network, 1))


def test_a_threshold_of_one_never_exits(
    early_exit_run: Path, photos: list[Path], all_looks: list[Prediction]
) -> None:
    predictor = Predictor(with_threshold(early_exit_run, 1.0), early_exit=True)

    assert predict_all(predictor, photos) == all_looks


def test_an_early_exits_prediction_is_that_of_scale_1(
    eager: list[Prediction], one_look: list[Prediction], all_looks: list[Prediction]
) -> None:
    late_by_photo = {prediction.photo: prediction for prediction in all_looks}

    assert [prediction.photo for prediction in eager] == list(late_by_photo)
    for early in one_look:
        late = late_by_photo[early.photo]
        assert early.verdict == "diagnosis"
        assert early.probabilities == early.scales[0].probabilities
        assert early.scales[0].box == late.scales[0].box
        assert early.probabilities == pytest.approx(late.scales[0].probabilities, abs=1e-5)


def test_the_others_are_looked_at_closely(
    eager: list[Prediction], one_look: list[Prediction], all_looks: list[Prediction]
) -> None:
    exited = {prediction.photo for prediction in one_look}

    for prediction, late in zip(eager, all_looks, strict=True):
        if prediction.photo not in exited:
            assert prediction == late


def test_only_confidences_above_the_threshold_exit(
    early_exit_run: Path,
    photos: list[Path],
    one_look: list[Prediction],
    all_looks: list[Prediction],
) -> None:
    threshold = float(np.median([prediction.confidence for prediction in one_look]))
    predictor = Predictor(with_threshold(early_exit_run, threshold), early_exit=True)

    predictions = predict_all(predictor, photos)

    assert any(len(prediction.scales) == 1 for prediction in predictions)
    for prediction, late in zip(predictions, all_looks, strict=True):
        if len(prediction.scales) == 1:
            assert prediction.confidence >= threshold
        else:
            assert prediction == late


def test_an_early_exit_is_drawn_and_written(one_look: list[Prediction], tmp_path: Path) -> None:
    prediction = one_look[0]

    prediction.save(tmp_path / "one.png")
    table = io.StringIO()
    write_records([prediction], "table", table, list(prediction.probabilities))

    assert (tmp_path / "one.png").stat().st_size > 1000
    assert "the first look was sure: no closer one" in table.getvalue()
    assert "scale 1" in table.getvalue()
    assert "fused" not in table.getvalue()
