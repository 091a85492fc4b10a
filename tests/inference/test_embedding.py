"""Descriptors and probabilities as arrays: `Predictor.embed` and `Predictor.predict_proba`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import leafzoom
from leafzoom.dataset.sources import sources_to_images
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import DataError, ModelError, PhotoError, UsageError
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.mirrors import tta_images
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = GOLDEN / "model-format-2.onnx"
CHECKPOINT = MODEL.with_suffix(".safetensors")
SIDE = 64  # of the sources that these small networks were trained with


@pytest.fixture(scope="module")
def model() -> Predictor:
    return leafzoom.load(MODEL, batch_size=4)


@pytest.fixture(scope="module")
def sources() -> np.ndarray:
    """Leaves, [5, 64, 64, 3]."""
    return np.stack([leaf.pixels for leaf in render_leaves(5, size=SIDE, seed=8)])


@pytest.fixture(scope="module")
def torch_network() -> TorchNetwork:
    network = open_network(str(CHECKPOINT))
    assert isinstance(network, TorchNetwork)
    return network


def test_descriptors_are_what_the_backbones_pool(
    torch_network: TorchNetwork, sources: np.ndarray
) -> None:
    """The first scale's, step by step: each mirror image by itself, then the mean."""
    network = torch_network.network
    racnn = network.racnn
    images = racnn.normalise(sources_to_images(torch.from_numpy(sources)))
    with torch.inference_mode():
        views = racnn.whole_view(images).image
        mirrored = tta_images(views, network.tta).reshape(network.tta, *views.shape)
        expected = torch.stack([racnn.backbones[0](view).descriptor for view in mirrored]).mean(0)

    descriptors = torch_network.descriptors(sources)
    width = expected.shape[1]
    assert network.tta == 2
    assert descriptors.shape == (len(sources), racnn.scales * width)
    np.testing.assert_allclose(descriptors[:, :width], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["model-format-1", "model-format-2"])
def test_an_exported_model_has_the_descriptors_of_its_checkpoint(
    name: str, sources: np.ndarray
) -> None:
    expected = open_network(str(GOLDEN / f"{name}.safetensors")).descriptors(sources)
    network = open_network(str(GOLDEN / f"{name}.onnx"))
    assert isinstance(network, OnnxNetwork)

    descriptors = network.descriptors(sources)
    assert descriptors.dtype == np.float32
    np.testing.assert_allclose(descriptors, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected).max() > 1

    # The same session answers for another number of sources.
    np.testing.assert_allclose(network.descriptors(sources[:1]), descriptors[:1], atol=1e-4)


def test_the_shipped_model_gives_descriptors_and_stays_as_it_is() -> None:
    """It has detectors, whose layers read the descriptors too, and weights in half precision."""
    digest = sha256(bundled_model())
    model = Predictor(open_network("bundled"), source_size=256)
    leaves = [leaf.pixels for leaf in render_leaves(2, size=256, seed=0)]

    descriptors = model.embed(leaves)
    assert descriptors.shape == (2, 3 * 1280)
    assert sha256(bundled_model()) == digest

    # Rounding moves a zoom a little, hence the tolerance.
    network = TorchNetwork(load_checkpoint(bundled_model()))
    expected = network.descriptors(np.stack(leaves))
    np.testing.assert_allclose(descriptors, expected, atol=0.01)
    assert np.abs(expected[0] - expected[1]).max() > 0.1


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_embed_keeps_the_order_of_photos_of_any_size(model: Predictor, leaves: Path) -> None:
    """More photos than a batch, and sources of two sizes in it."""
    photos = sorted((leaves / "train_images").iterdir())[:6]
    large = next(iter(render_leaves(1, size=512, seed=1))).pixels
    mixed = [*photos[:3], large, *photos[3:]]

    rows = model.embed(mixed)
    assert rows.shape[0] == 7
    for photo, row in zip(mixed, rows, strict=True):
        np.testing.assert_allclose(model.embed([photo])[0], row, atol=1e-5)


def test_embed_and_predict_proba_take_a_folder(model: Predictor, leaves: Path) -> None:
    folder = leaves / "train_images"
    count = len(list(folder.iterdir()))
    assert len(model.embed(folder)) == len(model.predict_proba(str(folder))) == count


def test_predict_proba_has_the_probabilities_of_predict(model: Predictor, leaves: Path) -> None:
    photos = sorted((leaves / "train_images").iterdir())[:5]
    probabilities = model.predict_proba(iter(photos))

    assert probabilities.shape == (5, len(model.labels))
    for photo, row in zip(photos, probabilities, strict=True):
        assert dict(zip(model.labels, row, strict=True)) == model.predict(photo).probabilities


def test_arrays_of_no_photos_have_no_rows(model: Predictor) -> None:
    assert model.predict_proba([]).shape == (0, len(model.labels))
    assert len(model.embed([])) == 0


def test_a_photo_that_cannot_be_read_is_an_error(model: Predictor, leaves: Path) -> None:
    """A row less, and every later row would be of another photo."""
    photo = leaves / "train_images" / "leaf-00000.jpg"
    for method in (model.embed, model.predict_proba):
        with pytest.raises(PhotoError, match=r"gone\.jpg does not exist"):
            method([photo, "gone.jpg"])


def test_one_photo_or_an_empty_folder_is_an_error(
    model: Predictor, leaves: Path, tmp_path: Path
) -> None:
    photo = leaves / "train_images" / "leaf-00000.jpg"
    for method in (model.embed, model.predict_proba):
        with pytest.raises(UsageError, match="is a file"):
            method(photo)
        with pytest.raises(UsageError, match="not one photo"):
            method(photo.read_bytes())
        with pytest.raises(DataError):
            method(tmp_path)


def test_no_thread_is_left_of_photos_that_are_not_needed(model: Predictor) -> None:
    """The error ends the stream at once, however many photos there would be."""
    asked = []

    def endless() -> Iterator[str]:
        while True:
            asked.append(1)
            yield "gone.jpg"

    with pytest.raises(PhotoError):
        model.embed(endless())
    assert len(asked) < 100


def test_other_sources_are_refused() -> None:
    network = open_network(str(MODEL))
    with pytest.raises(ModelError, match="sources have to be uint8"):
        network.descriptors(np.zeros((1, SIDE, SIDE, 4), np.uint8))


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = MODEL.read_bytes()
    path.write_bytes(content)
    network = open_network(str(path))

    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ModelError, match="has changed since it was opened"):
        network.descriptors(np.zeros((1, SIDE, SIDE, 3), np.uint8))


def test_a_linear_classifier_learns_from_descriptors(model: Predictor) -> None:
    """Green and brown pictures, which a few photographs tell apart."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 40, (12, 96, 96, 3))
    colours = np.array([[40, 160, 40], [140, 90, 40]])[np.arange(12) % 2]
    photos = (noise + colours[:, None, None]).astype(np.uint8)

    descriptors = model.embed(list(photos))
    classifier = LogisticRegression(max_iter=1000).fit(descriptors[:8], np.arange(8) % 2)
    assert classifier.score(descriptors[8:], np.arange(4) % 2) == 1.0


@pytest.mark.parametrize("method", ["predict_many", "predict_proba", "embed"])
@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ("gone", "and gone does not exist"),
        (MODEL, "is a file: put it into a list"),
        (b"", r"not one photo \(bytes\)"),
        (None, "not NoneType"),
    ],
)
def test_errors_name_the_method_that_was_called(
    model: Predictor, method: str, photos: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        getattr(model, method)(photos)
    assert str(error.value).startswith(f"{method} takes a folder or an iterable of photos")


def test_no_photos_have_descriptors_of_the_same_length(
    model: Predictor, sources: np.ndarray
) -> None:
    assert model.embed([]).shape == (0, model.embed(list(sources[:1])).shape[1])
