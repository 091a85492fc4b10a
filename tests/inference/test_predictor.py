"""Photos in, diagnoses out: one photo, folders, streams."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leafzoom
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, ModelError, PhotoError, UsageError
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import DecodedPhoto, PhotoLike, Predictor
from leafzoom.photo import read_source
from leafzoom.photo_files import find_photos


@pytest.fixture(scope="module")
def model(trained: Path) -> Predictor:
    return leafzoom.load(trained)


@pytest.fixture
def leaf(leaves: Path) -> Path:
    return leaves / "train_images" / "leaf-00003.jpg"


class RecordingNetwork:
    """A network that keeps the sources that it reads."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network = network
        self.manifest = network.manifest
        self.source_sizes = network.source_sizes
        self.has_evidence = network.has_evidence
        self.device_name = network.device_name
        self.sources: list[np.ndarray] = []

    def __call__(self, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays:
        self.sources += list(sources.copy())
        return self.network(sources)

    def hashes(self) -> list[str]:
        return [sha256(source) for source in self.sources]


def sha256(source: np.ndarray) -> str:
    return hashlib.sha256(source.tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["str", "bytes", "bytearray", "image", "array"])
def test_predict_takes_any_kind_of_photo(model: Predictor, leaf: Path, kind: str) -> None:
    image = Image.open(leaf)
    photos: dict[str, PhotoLike] = {
        "str": str(leaf),
        "bytes": leaf.read_bytes(),
        "bytearray": bytearray(leaf.read_bytes()),
        "image": image,
        "array": np.asarray(image),
    }
    expected = model.predict(leaf)

    prediction = model.predict(photos[kind])

    assert prediction.labels == expected.labels
    assert prediction.probabilities == expected.probabilities
    assert prediction.scales == expected.scales
    assert prediction.photo == (str(leaf) if kind == "str" else "photo 1")
    assert expected.to_dict()["photo"] == str(leaf)


def test_calling_the_model_is_predict(model: Predictor, leaf: Path) -> None:
    assert model(leaf) == model.predict(leaf)


def test_a_prediction_is_drawn_from_whatever_photo_it_is_of(
    model: Predictor, leaf: Path, tmp_path: Path
) -> None:
    model.predict(leaf).save(tmp_path / "a.png")

    drawn = model.predict(np.asarray(Image.open(leaf))).plot()

    with Image.open(tmp_path / "a.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(drawn))


def test_predict_refuses_what_is_no_photo(model: Predictor) -> None:
    with pytest.raises(PhotoError, match=r"nothing\.jpg does not exist"):
        model.predict("nothing.jpg")
    with pytest.raises(PhotoError, match=r"uint8 \[H, W, 3\].*not float64 \(4, 4\)"):
        model.predict(np.zeros((4, 4)))  # type: ignore[arg-type]


def test_predict_refuses_many_photos_and_names_predict_many(
    model: Predictor, leaves: Path, leaf: Path
) -> None:
    for folder in (leaves, str(leaves)):
        with pytest.raises(UsageError, match=r"is a folder and predict takes one.*predict_many"):
            model.predict(folder)
    with pytest.raises(UsageError, match=r"is a folder.*predict_many"):
        model(leaves)
    with pytest.raises(UsageError, match=r"takes one photo.*not list: call predict_many"):
        model.predict([leaf])  # type: ignore[arg-type]


def test_predict_many_takes_a_folder(model: Predictor, leaves: Path, leaf: Path) -> None:
    results = list(model.predict_many(str(leaves / "train_images")))

    expected_names = [f"leaf-{number:05d}.jpg" for number in range(60)]
    assert [Path(result.photo).name for result in results] == expected_names
    assert results[3] == model.predict(leaf)


def test_predict_many_refuses_a_folder_without_photos(model: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no photo"):
        model.predict_many(tmp_path)


def test_predict_many_refuses_one_photo_and_names_predict(model: Predictor, leaf: Path) -> None:
    with pytest.raises(
        UsageError, match=r"leaf-00003\.jpg is a file: put it into a list, or call predict"
    ):
        model.predict_many(leaf)
    photos = (leaf.read_bytes(), Image.open(leaf), np.asarray(Image.open(leaf)))
    for photo in photos:
        with pytest.raises(UsageError, match=r"not one photo \(.*call predict"):
            model.predict_many(photo)  # type: ignore[arg-type]


def test_streams_keep_their_order_and_survive_bad_photos(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    good = find_photos([leaves])[:20]
    paths = [*good[:3], tmp_path / "none.jpg", *good[3:]]
    predictor = Predictor(OnnxNetwork(trained / "model.onnx"))

    results = list(predictor.predict_many(iter(paths)))

    assert [result.photo for result in results] == [str(path) for path in paths]
    assert isinstance(results[3], FailedPhoto)
    # A photo's prediction does not depend on the others of its batch.
    alone = predictor.predict(good[10])
    batched = results[11]
    assert isinstance(batched, Prediction)
    assert batched.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_what_is_no_photo_fails_alone(model: Predictor, leaf: Path) -> None:
    failed, prediction = model.predict_many([5, leaf])  # type: ignore[list-item]

    assert isinstance(failed, FailedPhoto)
    assert failed.photo == "photo 1"
    assert "not int" in failed.error
    assert isinstance(prediction, Prediction)


def test_a_stream_reads_only_a_little_ahead_and_can_be_left(trained: Path, leaf: Path) -> None:
    batch_size = 4
    workers = 2
    photos_read = 0

    def endless_photos() -> Iterator[Path]:
        nonlocal photos_read
        while True:
            photos_read += 1
            yield leaf

    model = leafzoom.load(trained, batch_size=batch_size, workers=workers)
    stream = model.predict_many(endless_photos())

    assert isinstance(next(stream), Prediction)
    assert photos_read <= 2 * batch_size + 2 * workers

    stream.close()  # type: ignore[attr-defined]
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("leafzoom-decode")]


def test_threads_share_a_predictor(model: Predictor, leaves: Path) -> None:
    paths = sorted((leaves / "train_images").iterdir())[:12]
    expected = [model.predict(path) for path in paths]

    with ThreadPoolExecutor(4) as pool:
        predictions = list(pool.map(model.predict, paths * 3))

    assert predictions == expected * 3


def test_turned_images_are_turned_back(model: Predictor, leaf: Path) -> None:
    """A Pillow image with an orientation in its EXIF is the photo that it shows."""
    upright = Image.open(leaf)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6

    assert model.predict(turned).scales == model.predict(np.asarray(upright)).scales


def test_decoded_photos_are_predicted_in_one_pass(trained: Path, leaves: Path) -> None:
    network = RecordingNetwork(OnnxNetwork(trained / "model.onnx"))
    predictor = Predictor(network)
    paths = find_photos([leaves])[:3]
    photos = [DecodedPhoto(path.name, read_source(path, 96)) for path in paths]

    predictions = predictor.predict_decoded(photos)

    assert [prediction.photo for prediction in predictions] == [path.name for path in paths]
    assert len(network.sources) == 3
    assert predictor.predict_decoded([]) == []
    with pytest.raises(PhotoError, match="made without its photo"):
        predictions[0].plot()


def test_a_checkpoint_and_its_export_predict_the_same(trained: Path, leaves: Path) -> None:
    photos = find_photos([leaves / "train_images"])[:5]
    exported = Predictor(open_network(str(trained)))
    checkpoint = Predictor(open_network(str(trained / "model.safetensors")))

    pairs = zip(exported.predict_many(photos), checkpoint.predict_many(photos), strict=True)

    count = 0
    for of_export, of_checkpoint in pairs:
        assert isinstance(of_export, Prediction)
        assert isinstance(of_checkpoint, Prediction)
        assert of_export.labels == of_checkpoint.labels
        assert of_export.probabilities == pytest.approx(of_checkpoint.probabilities, abs=1e-4)
        count += 1
    assert count == 5


@pytest.mark.parametrize("kind", ["path", "bytes", "image"])
def test_training_and_prediction_see_the_same_pixels(
    trained: Path, cache: Cache, kind: str
) -> None:
    """By hashes: a training reads from the cache what the predictor gives to the network."""
    paths = [row.path for row in cache.table.rows[:12]]
    photos: dict[str, list[PhotoLike]] = {
        "path": list(paths),
        "bytes": [path.read_bytes() for path in paths],
        "image": [Image.open(path) for path in paths],
    }
    network = RecordingNetwork(OnnxNetwork(trained / "model.onnx"))

    results = list(Predictor(network).predict_many(photos[kind]))

    assert len(results) == 12
    assert network.hashes() == [sha256(source) for source in cache.sources[:12]]
    assert len(set(network.hashes())) == 12


def test_training_and_prediction_see_the_same_pixels_of_a_turned_photo(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    """Also of a large photo that lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(leaf) as image:
        image.resize((300, 200)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "train.csv").write_text("image,labels\nturned.jpg,healthy\n")
    network = RecordingNetwork(OnnxNetwork(trained / "model.onnx"))

    Predictor(network).predict(tmp_path / "turned.jpg")
    cache = build_cache(read_table(tmp_path), tmp_path / "cache", 96, workers=1)

    assert (cache.sources[0] == network.sources[0]).all()


# Open files, and other kinds of paths.


class Response(io.RawIOBase):
    """A server's response: it has no start to go back to, and no name."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)

    def seekable(self) -> bool:
        return False


def test_open_files_are_read_from_their_start(model: Predictor, leaf: Path) -> None:
    expected = model.predict(leaf)
    content = leaf.read_bytes()
    at_its_end = io.BytesIO()
    at_its_end.write(content)

    with leaf.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(content)
        for photo in (io.BytesIO(content), at_its_end, file, spooled, Response(content)):
            assert model.predict(photo).probabilities == expected.probabilities
            assert model.predict(photo if photo.seekable() else Response(content)).plot()
        assert model.predict(file).photo == str(leaf)
        results = list(model.predict_many([io.BytesIO(content), memoryview(content), file]))

    names = [result.photo for result in results]
    assert names == ["photo 1", "photo 2", str(leaf)]
    assert {type(result) for result in results} == {Prediction}


def test_a_file_that_is_open_as_text_or_closed_is_said(model: Predictor, leaf: Path) -> None:
    with pytest.raises(PhotoError, match=r"gives str, not bytes: open it in binary mode"):
        model.predict(io.StringIO("text"))
    closed = io.BytesIO(leaf.read_bytes())
    closed.close()
    with pytest.raises(PhotoError, match=r"the open file cannot be read \(I/O operation on closed"):
        model.predict(closed)

    (failed,) = model.predict_many([io.StringIO("text")])
    assert isinstance(failed, FailedPhoto)


def test_one_open_file_is_no_stream_of_photos(model: Predictor, leaf: Path) -> None:
    """It is iterable, by lines."""
    with leaf.open("rb") as file, pytest.raises(UsageError, match=r"not one photo.*call predict"):
        model.predict_many(file)


def test_any_path_like_object_is_a_path(model: Predictor, leaf: Path) -> None:
    class OtherPath:
        def __fspath__(self) -> str:
            return str(leaf)

    assert model.predict(OtherPath()).photo == str(leaf)
    assert [result.photo for result in model.predict_many([OtherPath()])] == [str(leaf)]


def test_an_address_is_shown_whole(model: Predictor) -> None:
    url = "https://example.org/leaf.jpg"
    with pytest.raises(PhotoError, match=f"^{url} is an address"):
        model.predict(url)
    (failed,) = model.predict_many([url])
    assert failed.to_dict()["error"].startswith(f"{url} is an address")


def test_predict_many_takes_an_archive(model: Predictor, leaf: Path, tmp_path: Path) -> None:
    path = tmp_path / "season.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(leaf, "a.jpg")

    (result,) = model.predict_many(path)

    assert isinstance(result, Prediction)
    assert result.photo == f"{path}/a.jpg"
    assert result.probabilities == model.predict(leaf).probabilities
    result.save(tmp_path / "diagnosis.jpg")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a", "PNG"), ("a.b/c", "PNG")],
)
def test_a_diagnosis_is_saved_in_the_format_of_its_name(
    model: Predictor, leaf: Path, tmp_path: Path, name: str, expected: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    diagnosis = model.predict(leaf)

    diagnosis.save(path)

    with Image.open(path) as picture:
        assert picture.format == expected
        assert picture.size == diagnosis.plot().size
    with pytest.raises(UsageError, match=r"saved as \.png or \.jpg, not as a\.gif"):
        diagnosis.save(tmp_path / "a.gif")


# Sources of several sizes, and evidence.


def test_photos_of_several_sizes_are_diagnosed_in_their_order(trained: Path, leaf: Path) -> None:
    network = OnnxNetwork(trained / "model.onnx")
    network.manifest = replace(network.manifest, max_source_size=256)
    predictor = Predictor(network)
    image = Image.open(leaf)
    photos = [image, image.resize((400, 300)), image.resize((150, 200)), image]

    batch = list(predictor.predict_many(photos))
    alone = [predictor.predict(photo) for photo in photos]

    for one, other in zip(batch, alone, strict=True):
        assert isinstance(one, Prediction)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    sides = [len(read_source(photo, predictor.source_sizes).pixels) for photo in photos]
    assert sides == [96, 256, 192, 96]


def test_a_size_is_for_all_photos(trained: Path, leaf: Path) -> None:
    network = OnnxNetwork(trained / "model.onnx")
    assert Predictor(network, source_size=200).predict(leaf).scales[0].box == (0, 0, 96, 96)
    with pytest.raises(UsageError, match="takes sources of 96 to 1024 pixels, not 95"):
        Predictor(network, source_size=95)


def test_evidence_sums_to_the_answers_logits(model: Predictor, leaf: Path) -> None:
    prediction = model.predict(leaf, maps=True)
    evidence = prediction.evidence
    assert evidence is not None
    for label, probability in prediction.probabilities.items():
        logit = np.log(probability / (1 - probability))
        assert evidence.logit(label) == pytest.approx(logit, abs=1e-3)

    # It goes into JSON and back, and nothing else changes.
    content = prediction.to_dict()
    assert Prediction.from_dict(content).to_dict() == content
    assert content["evidence"]["closest_box"] == list(evidence.closest_box or ())
    assert model.predict(leaf).evidence is None
    assert model.predict(leaf) == prediction


def test_a_picture_with_maps_has_a_row_for_each_likely_label(model: Predictor, leaf: Path) -> None:
    plain = model.predict(leaf).plot()
    prediction = model.predict(leaf, maps=True)
    picture = prediction.plot()
    rows = 1 + len(prediction.likely)
    assert picture.height == rows * plain.height
    assert picture.width > plain.width  # the closest look


def test_maps_of_an_older_model_are_refused(leaf: Path) -> None:
    older = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"
    with pytest.raises(ModelError, match=r"no evidence maps.*export it again"):
        leafzoom.load(older).predict(leaf, maps=True)
