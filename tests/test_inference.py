"""From a trained run to a diagnosis: export, predictor, command line, contracts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import leafzoom
from conftest import TINY, needs_shared
from leafzoom.bundled import bundled_model
from leafzoom.cli import cli
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, ModelError, PhotoError
from leafzoom.inference import export as export_module
from leafzoom.inference.export import export_onnx, parity, write_manifest
from leafzoom.inference.folder import diagnose_into
from leafzoom.inference.formats import write_records
from leafzoom.inference.model_file import open_network, run_folder
from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from leafzoom.inference.predictor import FailedPhoto, Prediction, Predictor, find_photos
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.labels import Decision, LabelSet, decide
from leafzoom.manifest import METADATA_KEY, Manifest
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.checkpoint import load_checkpoint, network_tensors, save_checkpoint
from leafzoom.model.fusion import FusedRACNN
from leafzoom.photo import read_source
from leafzoom.recipe import load_recipe, recipe_to_dict

SET_TINY = [part for change in TINY for part in ("--set", change)]
HEADS = ["backbone", "scale1", "scale2", "scale3", "fusion12", "fusion123"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def failure(result: Result, code: int) -> str:
    """The one line of an expected failure."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith(("leafzoom:", "Error:"))]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


def test_prepare(leaves: Path, tmp_path: Path) -> None:
    result = run(
        "prepare", "--data", leaves, "--source-size", 96, "--out", tmp_path / "report", "--cache", tmp_path / "c"
    )
    assert result.exit_code == 0, result.output
    assert "60 photographs" in result.output
    assert "0 pairs of near-duplicates" in result.output
    report = json.loads((tmp_path / "report" / "prepare.json").read_text())
    assert report["photographs"] == 60
    assert report["combinations"]["healthy"] == 15
    assert report["problems"] == report["near_duplicates"] == []
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count('<figure><img src="data:image/jpeg;base64,') == 24
    assert page.count("<b>ring spot + solid spot</b>") == 6  # the combinations in turn
    assert "45 known lesions on 45 photographs" in result.output
    assert "By combination of labels" in page
    assert "Rows that cannot be used" not in page


def test_prepare_shows_pairs_that_disagree(leaves: Path, tmp_path: Path) -> None:
    """Once the same picture twice with one label, once with two."""
    (tmp_path / "images").mkdir()
    rows = ["image,labels"]
    for number, (photo, label) in enumerate([(1, "a"), (1, "a"), (2, "a"), (2, "b<"), (3, "")]):
        name = f"{number}.jpg"
        shutil.copy(leaves / "train_images" / f"leaf-{photo:05d}.jpg", tmp_path / "images" / name)
        rows.append(f"{name},{label}")
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    result = run("prepare", "--data", tmp_path, "--out", tmp_path / "report")
    assert "2 pairs of near-duplicates, 1 of them with different labels" in result.output
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count('<span class="bad">') == 2
    assert page.count("labelled differently</b>") == 1
    first, second = page.index("row 4, 2.jpg"), page.index("row 2, 0.jpg")
    assert first < second  # those that disagree come first
    assert "b&lt;" in page
    assert "b<" not in page


def test_prepare_names_every_bad_row(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,labels\na.png,scab\nb.png,scab\nc.png,rust\n../d.png,rust\n")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "c.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:60])
    result = run("prepare", "--data", tmp_path, "--out", tmp_path / "report")
    assert result.exit_code == 1
    for row, image in ((3, "b.png"), (4, "c.png"), (5, "../d.png")):
        assert f"row {row}: {image!r}" in result.stderr
    assert "3 rows of" in result.stderr
    report = json.loads((tmp_path / "report" / "prepare.json").read_text())
    assert [problem["row"] for problem in report["problems"]] == [3, 4, 5]
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for row in (3, 4, 5):
        assert f"<tr><td>{row}</td>" in page
    (tmp_path / "a.png").unlink()
    nothing = run("prepare", "--data", tmp_path, "--out", tmp_path / "none")
    assert nothing.exit_code == 1
    for row in (2, 3, 4, 5):
        assert f"row {row}:" in nothing.stderr


def test_export_is_the_contract(trained: Path, cache: Cache) -> None:
    model = onnx.load(trained / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    (source,) = model.graph.input
    assert source.name == "source"
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in source.type.tensor_type.shape.dim][1:] == [96, 96, 3]
    assert [output.name for output in model.graph.output] == [
        *(f"probabilities_{head}" for head in HEADS[1:]), "box_scale1", "box_scale2", "box_scale3",
    ]  # fmt: skip
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    manifest = Manifest.from_json(metadata[METADATA_KEY], "model.onnx")
    assert manifest.labels.names == ("healthy", "ring_spot", "solid_spot")
    assert manifest.head == "fusion123"
    assert manifest == load_checkpoint(trained / "model.safetensors").manifest
    network, exported = (
        TorchNetwork(load_checkpoint(trained / "model.safetensors")),
        OnnxNetwork(trained / "model.onnx"),
    )
    for count in (1, 3, 16):
        found = parity(network, exported, np.asarray(cache.sources[:count]))
        assert found.probability < 1e-4
        assert found.box < 0.01


def test_export_refuses_a_model_that_differs(
    trained: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxNetwork.__call__

    def wrong(self: OnnxNetwork, sources: np.ndarray) -> NetworkArrays:
        arrays = real(self, sources)
        arrays.probabilities["scale2"][0, 0] += 0.01
        return arrays

    monkeypatch.setattr(export_module.OnnxNetwork, "__call__", wrong)
    with pytest.raises(ModelError, match=r"differs from the checkpoint by 1\.0e-02 in probability"):
        export_onnx(
            load_checkpoint(trained / "model.safetensors"), tmp_path / "m.onnx", np.asarray(cache.sources[:4])
        )
    assert list(tmp_path.iterdir()) == []


def test_evaluate_writes_the_contract(trained: Path, leaves: Path, tmp_path: Path) -> None:
    result = run("evaluate", trained, "--data", leaves, "--split", "inner-report", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    contract = {"dataset", "model", "heads", "heads_fitted"}
    assert set(metrics) == contract | {"verdicts", "intervals", "differences", "zoom_value"}
    assert sum(said["photographs"] for said in metrics["verdicts"].values()) == metrics["dataset"]["photographs"]
    assert list(metrics["heads"]) == list(metrics["heads_fitted"]) == HEADS
    fused = metrics["heads"]["fusion123"]
    assert fused["threshold"] == 0.5
    assert set(fused) == {"threshold", "per_label", "micro", "macro", "weighted", "samples", "exact_match", "map"}
    assert set(fused["per_label"]["healthy"]) == {"precision", "recall", "f1", "support"}
    stored = json.loads((trained / "split.json").read_text())
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == set(stored["report"])
    for head in HEADS:
        assert f"{head}_ring_spot" in rows[0]
    # The table of figures follows from the table of predictions.
    names = ("healthy", "ring_spot", "solid_spot")
    p = np.array([[float(row[f"fusion123_{name}"]) for name in names] for row in rows])
    targets = np.array([[int(name in row["labels"].split()) for name in names] for row in rows])
    assert fused["exact_match"] == pytest.approx(((p > 0.5) == targets).all(axis=1).mean())
    decision = OnnxNetwork(trained / "model.onnx").manifest.decisions["fusion123"]
    answers = decide(p, decision, OnnxNetwork(trained / "model.onnx").manifest.labels)
    assert metrics["heads_fitted"]["fusion123"]["exact_match"] == pytest.approx(
        (answers == targets).all(axis=1).mean()
    )
    said = [[int(name in row["predicted_fusion123"].split()) for name in names] for row in rows]
    assert said == answers.tolist()


def test_evaluate_one_head_of_an_onnx_model(trained: Path, leaves: Path, tmp_path: Path) -> None:
    model = trained / "model.onnx"
    result = run("evaluate", model, "--data", leaves, "--head", "scale2", "--head", "fusion12", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["heads"]) == ["scale2", "fusion12"]
    assert metrics["dataset"]["photographs"] == 60
    nothing = run("evaluate", model, "--data", leaves, "--head", "scale9", "--out", tmp_path / "no")
    assert "no head 'scale9': the model has scale1" in failure(nothing, 2)


def turned_leaf(leaves: Path, tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(leaves / "train_images" / "leaf-00003.jpg") as image:
        image.resize((300, 200)).save(tmp_path / "turned.jpg", exif=exif)
    return tmp_path / "turned.jpg"


def test_predict_json_is_the_contract(trained: Path, leaves: Path, tmp_path: Path) -> None:
    photo, broken = turned_leaf(leaves, tmp_path), tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    result = run(
        "predict", photo, broken, leaves / "train_images" / "leaf-00001.jpg", "--model", trained, "--format", "json"
    )
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [entry["photo"] for entry in found][:2] == [str(photo), str(broken)]
    assert set(found[1]) == {"photo", "error"}
    assert "is no JPEG" in found[1]["error"]
    first = found[0]
    assert set(first) >= {"photo", "labels", "probabilities", "scales", "verdict", "model"}
    assert set(first["likely"]) <= set(first["probabilities"]) == {"healthy", "ring_spot", "solid_spot"}
    assert first["likely"]
    for entry in (first, found[2]):
        assert entry["labels"] == (entry["likely"] if entry["verdict"] == "diagnosis" else [])
    assert [scale["scale"] for scale in first["scales"]] == [1, 2, 3]
    assert first["scales"][0]["box"] == [0, 0, 200, 300]  # upright
    outer = first["scales"][0]["box"]
    for scale in first["scales"][1:]:
        x0, y0, x1, y1 = scale["box"]
        assert outer[0] - 0.1 <= x0 < x1 <= outer[2] + 0.1
        assert outer[1] - 0.1 <= y0 < y1 <= outer[3] + 0.1
        assert (y1 - y0) / (x1 - x0) == pytest.approx(1.5, rel=0.01)  # a square of the source
        outer = scale["box"]


def test_all_models_of_a_run_say_the_same(trained: Path, leaves: Path) -> None:
    photos = find_photos([leaves / "train_images"])[:5]
    by_onnx = list(Predictor(open_network(str(trained)))(photos))
    by_torch = list(Predictor(open_network(str(trained / "model.safetensors")))(photos))
    assert len(by_onnx) == 5
    for a, b in zip(by_onnx, by_torch, strict=True):
        assert isinstance(a, Prediction)
        assert isinstance(b, Prediction)
        assert a.labels == b.labels
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-4)


def test_predictor_streams_in_order_and_survives_bad_photos(trained: Path, leaves: Path, tmp_path: Path) -> None:
    good = find_photos([leaves])[:20]
    paths = [*good[:3], tmp_path / "none.jpg", *good[3:]]
    results = list(Predictor(OnnxNetwork(trained / "model.onnx"))(iter(paths)))
    assert [result.photo for result in results] == [str(path) for path in paths]
    assert isinstance(results[3], FailedPhoto)
    alone = next(Predictor(OnnxNetwork(trained / "model.onnx"))([good[10]]))
    assert isinstance(alone, Prediction)
    batched = results[11]
    assert isinstance(batched, Prediction)
    assert batched.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


class Listening:
    """A network that keeps what it was given."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.manifest = network, network.manifest
        self.given: list[np.ndarray] = []

    def __call__(self, sources: np.ndarray) -> NetworkArrays:
        self.given += list(sources.copy())
        return self.network(sources)


def test_training_and_prediction_see_the_same_pixels(trained: Path, cache: Cache, tmp_path: Path) -> None:
    """By hashes: what the cache gives to a training is what the predictor gives to the network."""
    images = cache.table.images[:12]
    photos = [row.path for row in cache.table.rows[:12]]
    listening = Listening(OnnxNetwork(trained / "model.onnx"))
    predictor = Predictor(listening)
    for kind in (photos, [photo.read_bytes() for photo in photos], [Image.open(photo) for photo in photos]):
        listening.given.clear()
        assert len(list(predictor(kind))) == len(images)
        hashes = [hashlib.sha256(source.tobytes()).hexdigest() for source in listening.given]
        assert hashes == [hashlib.sha256(source.tobytes()).hexdigest() for source in cache.sources[:12]]
    assert len(set(hashes)) == 12

    turned = turned_leaf(cache.table.csv.parent, tmp_path)  # a large photo, on its side
    (tmp_path / "train.csv").write_text("image,labels\nturned.jpg,healthy\n")
    listening.given.clear()
    predictor(turned)
    one = build_cache(read_table(tmp_path), tmp_path / "cache", 96, workers=1)
    assert (one.sources[0] == listening.given[0]).all()


def test_predict_table_csv_jsonl_and_pictures(trained: Path, leaves: Path, tmp_path: Path) -> None:
    photo = leaves / "train_images" / "leaf-00001.jpg"
    table = run("predict", photo, "--model", trained, "--out", tmp_path / "pictures")
    assert table.exit_code == 0
    assert "scale 2 looked at x" in table.stdout
    with Image.open(tmp_path / "pictures" / "leaf-00001-diagnosis.png") as sheet:
        assert sheet.width > 3 * 400
    lines = run("predict", leaves / "train_images", "--model", trained, "--format", "jsonl").stdout.splitlines()
    assert len(lines) == 60
    assert json.loads(lines[0])["photo"].endswith("leaf-00000.jpg")
    rows = list(csv.DictReader(io.StringIO(run("predict", photo, "--model", trained, "--format", "csv").stdout)))
    assert rows[0]["verdict"] in ("diagnosis", "unsure")
    assert set(rows[0]) == {"photo", "verdict", "labels", "confidence", "healthy", "ring_spot", "solid_spot", "error"}


def test_pictures_never_overwrite_photos_or_each_other(trained: Path, leaves: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a-diagnosis.png", "b/a.jpg", "b/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.open(leaves / "train_images" / "leaf-00001.jpg").save(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for _ in range(2):  # the second time, the pictures are among the photos
        assert run("predict", tmp_path, "--model", trained, "--out", tmp_path).exit_code == 0
        assert {path: path.read_bytes() for path in before} == before
        assert len(list(tmp_path.glob("*.png"))) == 2 + 4
        assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 4
    below = tmp_path / "b" / "results"
    for _ in range(2):
        assert (
            len(
                json.loads(
                    run("predict", tmp_path / "b", "--model", trained, "--out", below, "--format", "json").stdout
                )
            )
            == 2
        )


def test_names_and_shapes_that_are_too_long(trained: Path, leaves: Path, tmp_path: Path) -> None:
    """One such photo does not stop the others: a picture's name is cut, a picture's picture no wider than four."""
    leaf = leaves / "train_images" / "leaf-00001.jpg"
    for name in ("\u82f9\u679c" * 40 + ".jpg", "\u82f9\u679c" * 40 + ".jpeg", "a" * 250 + ".jpg"):
        shutil.copy(leaf, tmp_path / name)
    Image.new("RGB", (3000, 2), (10, 120, 30)).save(tmp_path / "line.png")
    out = tmp_path / "out"
    assert run("predict", tmp_path, "--model", trained, "--out", out).exit_code == 0
    assert len((out / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 5
    pictures = sorted(out.glob("*.png"))
    assert len(pictures) == 4
    assert all(len(os.fsencode(path.name)) < 200 for path in pictures)
    with Image.open(out / "line-diagnosis.png") as sheet:
        assert sheet.width < 3 * 4 * sheet.height
    (tmp_path / "names.csv").write_text("image,labels\nline.png,healthy\nleaf.jpg,healthy\n")
    shutil.copy(leaf, tmp_path / "leaf.jpg")
    said = run("evaluate", trained, "--data", tmp_path, "--csv", tmp_path / "names.csv", "--split", "all", "--out",
               out / "report")  # fmt: skip
    assert said.exit_code == 0, said.output
    assert (out / "report" / "index.html").is_file()


@pytest.mark.parametrize("encoding", ["ascii", "cp1250", "utf-8"])
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_json_in_any_encoding(encoding: str, form: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    write_records(iter([{"photo": "\xf1\U0001f343.jpg", "error": "\xe9"}]), form, out, [])
    out.flush()
    text = out.buffer.getvalue().decode(encoding)
    found = json.loads(text)
    assert (found[0] if form == "json" else found) == {"photo": "\xf1\U0001f343.jpg", "error": "\xe9"}
    assert ("\U0001f343" in text) == (encoding == "utf-8")


def test_a_folder_of_results(trained: Path, leaves: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(5):
        shutil.copy(leaves / "train_images" / f"leaf-{number:05d}.jpg", photos / f"={number}<b>.jpg")
    (photos / "broken.jpg").write_bytes(b"no photo")
    (photos / os.fsdecode(b"\xff.jpg")).write_bytes((photos / "=0<b>.jpg").read_bytes())
    first = run("predict", photos, "--model", trained, "--out", out, "--format", "json")
    assert first.exit_code == 1
    said = json.loads(first.stdout)
    assert len(said) == 7
    assert sum("error" in one for one in said) == 1
    rows = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8")))
    assert [row["labels"] for row in rows] == [" ".join(one.get("labels", ())) for one in said]
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("probabilities") for line in lines] == [one.get("probabilities") for one in said]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<tr><td") == 7
    assert "7 photos, model run" in page
    assert "=1&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    for picture in re.findall(r'img loading="lazy" src="([^"]+)"', page):
        assert (out / unquote(picture)).is_file()
    assert len(list(out.glob("*-diagnosis.png"))) == 6


def test_an_interrupted_folder_goes_on(
    trained: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after seven photos; a changed photo and another model are diagnosed anew, the rest is not."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(leaves / "train_images", photos)
    for path in sorted(photos.iterdir())[12:]:
        path.unlink()
    network = open_network(str(trained))
    asked: list[int] = []

    class Counting:
        manifest = network.manifest

        def __call__(self, sources: np.ndarray) -> NetworkArrays:
            if sum(asked) >= 6:
                raise KeyboardInterrupt
            asked.append(len(sources))
            return network(sources)

    predictor = Predictor(Counting(), batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        diagnose_into(out, find_photos([photos]), predictor, model="a")
    assert len(list(out.glob("*.png"))) == 6
    assert not (out / "index.html").exists()
    asked.clear()
    monkeypatch.setattr(Counting, "__call__", lambda self, sources: asked.append(len(sources)) or network(sources))
    counted: list[int] = []
    diagnose_into(out, find_photos([photos]), predictor, model="a", progress=counted.append).close()
    assert sum(asked) == 6
    assert sum(counted) == 12
    whole = (out / "predictions.jsonl").read_text()
    assert [json.loads(line)["photo"] for line in whole.splitlines()] == list(map(str, find_photos([photos])))
    asked.clear()
    diagnose_into(out, find_photos([photos]), predictor, model="a").close()
    assert asked == []
    assert (out / "predictions.jsonl").read_text() == whole
    os.utime(find_photos([photos])[4], (1, 1))
    journal = diagnose_into(out, find_photos([photos])[:8], predictor, model="a")
    assert sum(asked) == 1
    assert journal.count() == len((out / "predictions.jsonl").read_text().splitlines()) == 8
    journal.close()
    asked.clear()
    diagnose_into(out, find_photos([photos]), predictor, model="b").close()
    assert sum(asked) == 12
    assert len(list(out.glob("*.png"))) == 12


def test_a_photo_that_could_not_be_read_is_tried_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEIC before and after its extra is installed: the file is the same."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.new("RGB", (96, 64), "green")).save(tmp_path / "a.heic")
    command = ("predict", tmp_path / "a.heic", "--model", trained, "--out", tmp_path / "out", "--format", "json")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        assert "leafzoom[heic]" in json.loads(run(*command).stdout)[0]["error"]
    assert "error" not in json.loads(run(*command).stdout)[0]


def test_a_journal_that_is_none(trained: Path, leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.db").write_bytes(b"garbage" * 100)
    photo = leaves / "train_images" / "leaf-00001.jpg"
    result = run("predict", photo, "--model", trained, "--out", tmp_path)
    assert result.exit_code == 1
    assert "predictions.db cannot be used" in result.stderr


def test_thresholds_can_be_set(trained: Path, leaves: Path) -> None:
    photo = leaves / "train_images" / "leaf-00001.jpg"

    def said(*thresholds: str) -> list[str]:
        options = [part for text in thresholds for part in ("--threshold", text)]
        result = run("predict", photo, "--model", trained, "--format", "json", *options)
        assert result.exit_code == 0, result.stderr
        return list(json.loads(result.stdout)[0]["likely"])

    assert said("0.999999", "healthy=0.000001") == ["healthy"]
    assert said("0.999999", "solid_spot=0.000001") == ["solid_spot"]
    assert said("0.000001", "healthy=0.999999") == ["ring_spot", "solid_spot"]  # a combination that occurs
    for text, says in (
        ("scab=0.5", "no label 'scab' to set a threshold for: the model has healthy, ring_spot, solid_spot"),
        ("1", "has to lie between 0 and 1, not at 1"),
        ("nan", "has to lie between 0 and 1"),
        ("healthy=x", "--threshold takes X or LABEL=X"),
    ):
        result = run("predict", photo, "--model", trained, "--threshold", text)
        assert result.exit_code == 2
        assert says in result.stderr


def test_damaged_runs(trained: Path, leaves: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    again = ("train", "--data", leaves, "--recipe", "default", "--out", copy, *SET_TINY, "--resume")
    for content in ("[]", "5", '{"recipe": 5}', '{"status": "training", "recipe": {"foo": 1}}', "garbage"):
        (copy / "run.json").write_text(content)
        assert "run.json cannot be read" in failure(run(*again), 1)
    report = ("evaluate", copy, "--data", leaves, "--split", "inner-report", "--out", tmp_path / "report")
    (copy / "split.json").write_text("garbage")
    assert "split.json is no JSON" in failure(run(*report), 1)
    (copy / "split.json").write_text("{}")
    assert "split.json has to be" in failure(run(*report), 1)


def test_evaluation_says_what_was_trained_on(trained: Path, leaves: Path, tmp_path: Path) -> None:
    result = run("evaluate", trained, "--data", leaves, "--out", tmp_path / "all")
    metrics = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert metrics["dataset"]["trained_on"] == 48
    assert "48 of these photographs were trained on" in result.stderr
    # Away from its run, a model whose split is another one is not scored on an inner part.
    own = {"train": [f"leaf-{i:05d}.jpg" for i in range(50)], "select": [f"leaf-{i:05d}.jpg" for i in range(50, 60)]}
    (tmp_path / "own.json").write_text(json.dumps(own))
    moved = tmp_path / "moved.onnx"
    shutil.copy(trained / "model.onnx", moved)
    manifest = OnnxNetwork(moved).manifest
    digest = Split.from_dict(own, tmp_path).digest()
    write_manifest(moved, replace(manifest, data={**manifest.data, "split_digest": digest}))
    line = failure(run("evaluate", moved, "--data", leaves, "--split", "inner-report", "--out", tmp_path / "x"), 1)
    assert "trained with another split" in line


def test_evaluation_says_what_chose_the_model(trained: Path, leaves: Path, tmp_path: Path) -> None:
    """Also of a model file away from its run, where this table's split is the one it was trained with."""
    away = tmp_path / "away.onnx"
    shutil.copy(trained / "model.onnx", away)
    for model in (trained, away):
        result = run("evaluate", model, "--data", leaves, "--split", "inner-select", "--out", tmp_path / "out")
        dataset = json.loads((tmp_path / "out" / "metrics.json").read_text())["dataset"]
        assert dataset["trained_on"] == 0
        assert dataset["selected_on"] == dataset["photographs"] == 6
        assert "6 of these photographs chose the epoch" in result.stderr
        assert "6 of these photographs chose the epoch" in (tmp_path / "out" / "index.html").read_text()
    result = run("evaluate", away, "--data", leaves, "--split", "inner-report", "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["dataset"]["selected_on"] == 0
    assert "chose the epoch" not in result.stderr + (tmp_path / "out" / "index.html").read_text()
    rows = (leaves / "train.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(rows[:5]) + "\n")
    few = ("--csv", tmp_path / "few.csv", "--split", "all")
    run("evaluate", away, "--data", leaves, *few, "--out", tmp_path / "out")
    dataset = json.loads((tmp_path / "out" / "metrics.json").read_text())["dataset"]
    assert (dataset["photographs"], dataset["trained_on"], dataset["selected_on"]) == (4, None, None)


def test_the_shipped_model_belongs_to_no_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    assert run_folder("bundled") is None
    assert run_folder("model.onnx") == Path()


def test_export_refuses_a_table_with_photographs_that_cannot_be_read(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "train.csv").write_text("image,labels\na.jpg,healthy\n")
    line = failure(run("export", trained, "--data", tmp_path, "--out", tmp_path / "m.onnx"), 1)
    assert "row 2: 'a.jpg' is no JPEG" in line
    assert not (tmp_path / "m.onnx").exists()


def test_compare_draws_curves_and_pairs_differences(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("states"))
    rows = list(csv.reader((trained / "selection.csv").open()))
    place = rows[0].index("fusion123_healthy")
    for row in rows[1:4]:  # three answers of one head turned round
        row[place] = str(-float(row[place]))
    with (other / "selection.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    account = json.loads((other / "run.json").read_text())  # the same labels in another order are the same labels
    (other / "run.json").write_text(json.dumps({**account, "labels": account["labels"][::-1]}))
    assert run("compare", trained, other, "--out", tmp_path / "out").exit_code == 0
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    scores = {(row["run"], row["head"]): row for row in found["scores"]}
    assert found["runs"] == ["run", "other"]
    stored = json.loads((trained / "run.json").read_text())["metrics"]["inner-select"]
    for head in HEADS:
        assert scores["run", head]["exact_match"] == pytest.approx(stored[head]["exact_match"])
        assert scores["run", head]["micro_f1"] == pytest.approx(stored[head]["micro_f1"])
        assert "difference" not in scores["run", head]
    assert scores["other", "scale1"]["difference"] == 0
    assert scores["other", "scale1"]["difference_interval"] == [0, 0]
    changed = scores["other", "fusion123"]
    assert changed["difference"] == pytest.approx(changed["exact_match"] - scores["run", "fusion123"]["exact_match"])
    assert changed["micro_f1"] != scores["run", "fusion123"]["micro_f1"]
    page = (tmp_path / "out" / "index.html").read_text()
    for part in ("scale 2 (figure 7)", "scale 3 (figure 8)", "figures 9 and 10", "figure 11", "figure 12", "other"):
        assert part in page
    assert not re.search(r'<script|<link|src="(?!data:)', page)
    fewer = tmp_path / "fewer"  # labels that another run does not have: no difference is taken
    shutil.copytree(other, fewer)
    (fewer / "run.json").write_text(json.dumps({**account, "labels": account["labels"][:2]}))
    assert run("compare", trained, fewer, "--out", tmp_path / "out").exit_code == 0
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["scores"]
    assert not any("difference" in row for row in rows)
    # An unfinished run has curves alone; what is no run says so.
    (other / "selection.csv").unlink()
    assert run("compare", other, "--out", tmp_path / "alone").exit_code == 0
    assert "No run has finished yet" in (tmp_path / "alone" / "index.html").read_text()
    assert "run.json is missing" in failure(run("compare", tmp_path, "--out", tmp_path / "x"), 1)
    (other / "selection.csv").write_text("image,labels,scale1_healthy\na.jpg,healthy,many\n")
    assert "selection.csv cannot be read" in failure(run("compare", other, "--out", tmp_path / "x"), 1)
    (other / "selection.csv").write_text("image,labels,scale1_other\na.jpg,healthy,1\n")
    assert "selection.csv cannot be read" in failure(run("compare", other, "--out", tmp_path / "x"), 1)
    (other / "log.csv").write_text("epoch,key,value\n1,nothing,1\n")
    assert "the run is damaged" in failure(run("compare", other, "--out", tmp_path / "x"), 1)


def test_odd_evaluations(trained: Path, leaves: Path, tmp_path: Path) -> None:
    twice = ("--head", "scale1", "--head", "scale1", "--split", "inner-report")
    assert run("evaluate", trained, "--data", leaves, *twice, "--out", tmp_path / "a").exit_code == 0
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes("b\xe9.jpg".encode("latin-1"))
    for name, says in (("none.txt", "names no photograph"), ("latin.txt", "cannot be read as UTF-8")):
        out = tmp_path / "b"
        assert says in failure(
            run("evaluate", trained, "--data", leaves, "--split", tmp_path / name, "--out", out), 1
        )


def test_bad_paths_are_records(trained: Path, leaves: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    photo = leaves / "train_images" / "leaf-00001.jpg"
    paths = ("x" * 300 + ".jpg", tmp_path / "pipe.jpg", photo)
    result = run("predict", *paths, "--model", trained, "--format", "json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert ["error" in entry for entry in found] == [True, True, False]
    assert "no regular file" in found[1]["error"]


NOTHING_TRAINED = ("--set", "fine_tuning.epochs=0", "--set", "warm_up.epochs=0", "--set", "alternation.rounds=0",
                   "--set", "alternation.classifier_epochs=0")  # fmt: skip


def test_a_half_precision_model_is_smaller_and_starts_a_training(
    trained: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half.onnx"
    assert run("export", trained, "--out", half, "--half").exit_code == 0
    assert half.stat().st_size < 0.7 * (trained / "model.onnx").stat().st_size
    large = [i for i in onnx.load(half).graph.initializer if np.prod(i.dims) >= 256 and i.data_type != 7]
    assert large
    assert all(initializer.data_type == onnx.TensorProto.FLOAT16 for initializer in large)
    whole = load_checkpoint(trained / "model.safetensors").in_half_precision()
    stored = load_checkpoint(half)
    assert stored.manifest == whole.manifest
    assert {name for name in whole.tensors if not name.startswith("backbone.")} == set(stored.tensors)
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in stored.tensors.items())
    # As the shipped model, it is where `--init bundled` starts: every scale and APN, to the bit.
    monkeypatch.setattr("leafzoom.model.build.bundled_model", lambda: half)
    out = tmp_path / "on"
    result = run("train", "--data", leaves, "--recipe", "default", "--out", out, "--init", "bundled", *SET_TINY,
                 *NOTHING_TRAINED)  # fmt: skip
    assert result.exit_code == 0, result.output
    onward = load_checkpoint(out / "model.safetensors")
    for name, tensor in stored.tensors.items():
        if name.startswith(("scale", "apn")):
            assert torch.equal(tensor, onward.tensors[name]), name
    name = "network.conv_head.weight"
    assert torch.equal(onward.tensors[f"backbone.{name}"], stored.tensors[f"scale1.{name}"])


def test_a_model_whose_export_changed_its_weights_starts_no_training(cache: Cache, tmp_path: Path) -> None:
    recipe = load_recipe("default", TINY)
    racnn = build_racnn(recipe, 3)  # with batch norms, which the exporter folds
    network = FusedRACNN(racnn, build_fusions(recipe.fusion, racnn))
    decisions = {head: Decision((0.5, 0.5, 0.5)) for head in HEADS[1:]}
    manifest = Manifest(
        LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0))), 96, 64, 3, decisions, recipe_to_dict(recipe)
    )
    save_checkpoint(tmp_path / "x.safetensors", network_tensors(network), manifest)
    export_onnx(load_checkpoint(tmp_path / "x.safetensors"), tmp_path / "x.onnx", cache.sources[:4])
    assert open_network(str(tmp_path / "x.onnx")).manifest == manifest
    with pytest.raises(ModelError, match=r"x\.onnx holds weights that the export has changed"):
        load_checkpoint(tmp_path / "x.onnx")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "x.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cut\.onnx is no ONNX model or is damaged"):
        load_checkpoint(tmp_path / "cut.onnx")


def test_load_gives_a_callable_on_any_photo(trained: Path, leaves: Path, tmp_path: Path) -> None:
    model = leafzoom.load(trained)
    path = leaves / "train_images" / "leaf-00003.jpg"
    image = Image.open(path)
    expected = model(path)
    assert isinstance(expected, Prediction)
    for photo in (str(path), path.read_bytes(), bytearray(path.read_bytes()), image, np.asarray(image)):
        found = model(photo)
        assert (found.labels, found.probabilities, found.scales) == (
            expected.labels, expected.probabilities, expected.scales
        )  # fmt: skip
    assert model(path.read_bytes()).photo == "photo 1"
    assert expected.to_dict()["photo"] == str(path)
    assert expected == model(path)
    expected.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(model(np.asarray(image)).plot()))
    folder = list(model(leaves / "train_images"))
    assert [Path(found.photo).name for found in folder] == [f"leaf-{place:05d}.jpg" for place in range(60)]
    assert folder[3] == expected
    with pytest.raises(PhotoError, match=r"nothing\.jpg does not exist"):
        model("nothing.jpg")
    with pytest.raises(PhotoError, match=r"uint8 \[H, W, 3\].*not float64 \(4, 4\)"):
        model(np.zeros((4, 4)))
    (failed,) = model([5])  # type: ignore[list-item]
    assert isinstance(failed, FailedPhoto)
    assert "not int" in failed.error
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="has no photo"):
        model(tmp_path / "none")


def test_a_stream_reads_only_a_little_ahead_and_can_be_left(trained: Path, leaves: Path) -> None:
    path, taken = leaves / "train_images" / "leaf-00003.jpg", []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(1)
            yield path

    stream = leafzoom.load(trained, batch_size=4, workers=2)(endless())
    first = next(stream)
    assert isinstance(first, Prediction)
    assert len(taken) <= 4 + 4 + 2 * 2
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("leafzoom-decode")]


def test_threads_share_a_predictor(trained: Path, leaves: Path) -> None:
    model = leafzoom.load(trained)
    paths = sorted((leaves / "train_images").iterdir())[:12]
    expected = [model(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(model, paths * 3)) == expected * 3


def test_turned_images_are_turned_back(trained: Path, leaves: Path) -> None:
    """A Pillow image with an orientation in its EXIF is the photo that it shows."""
    path = leaves / "train_images" / "leaf-00003.jpg"
    upright = Image.open(path)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    model = leafzoom.load(trained)
    assert model(turned).scales == model(np.asarray(upright)).scales


def test_csv_neutralises_formulas() -> None:
    text = io.StringIO()
    write_records([FailedPhoto("=cmd|' /C calc'!A0", "@sum").to_dict()], "csv", text, ["a"])
    assert text.getvalue().splitlines()[1] == "'=cmd|' /C calc'!A0,,,,,'@sum"


def test_info(trained: Path) -> None:
    result = run("info", trained)
    assert result.exit_code == 0
    for part in ("ring_spot", "fusion123", "Apache-2.0", '"seed": 0', "inner-select scale1"):
        assert part in result.stdout


# What goes wrong ends in one line and the right exit code.


def test_the_shipped_model(leaves: Path, tmp_path: Path) -> None:
    """In the package, small, quick to load, says what it is, diagnoses, and its figures are those of results/."""
    path = bundled_model()
    assert path.stat().st_size <= 30e6
    started = time.perf_counter()
    network = open_network("bundled")
    assert time.perf_counter() - started < 5  # under a second on a quiet machine; see the model card
    manifest = network.manifest
    assert manifest.labels.names == (
        "complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab"
    )  # fmt: skip
    assert len(manifest.labels.combinations) == 12
    assert manifest.head == "fusion123"
    result = run("info")
    assert result.exit_code == 0
    key = scored_as(manifest)
    for part in ("apple-leaves: format 1", "powdery_mildew", f"{key} fusion123", "non-commercial"):
        assert part in result.stdout
    recorded = json.loads((Path(__file__).parents[1] / "results" / "shipped.json").read_text())
    stored = manifest.metrics[key]["fusion123"]
    assert stored["exact_match"] == recorded["metrics"]["heads_fitted"]["fusion123"]["exact_match"]
    photo = leaves / "train_images" / "leaf-00001.jpg"
    found = json.loads(run("predict", photo, "--format", "json").stdout)[0]
    assert found["model"] == "apple-leaves"
    assert set(found["probabilities"]) == set(manifest.labels.names)


def scored_as(manifest: Manifest) -> str:
    """The name of the figures that are of the decision that `predict` makes."""
    (key,) = (name for name in manifest.metrics if name.endswith("(fitted)"))
    return key


def test_the_shipped_model_on_real_photographs() -> None:
    """On 200 of them, most of which it was trained on: as right as its metadata says, within sampling error."""
    data = needs_shared("plant-pathology-2021")
    network = open_network("bundled")
    manifest = network.manifest
    sources, targets = packed_photographs(data, manifest, 200)
    decision = manifest.decisions["fusion123"]
    arrays = [network(sources[start : start + 20]) for start in range(0, 200, 20)]
    fused = np.concatenate([part.probabilities["fusion123"] for part in arrays])
    exact = (decide(fused, decision, manifest.labels) == targets).all(axis=1).mean()
    expected = manifest.metrics[scored_as(manifest)]["fusion123"]["exact_match"]
    assert exact > expected - 0.08  # three standard errors of 200 photographs


def packed_photographs(data: Path, manifest: Manifest, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets of some photographs of the packed data, read from its tar files without unpacking them."""
    rows = {row["image"]: row["labels"] for row in csv.DictReader((data / "train.csv").open(encoding="utf-8"))}
    sources, targets = [], []
    with tarfile.open(sorted(data.glob("*.tar"))[0]) as archive:
        for member in archive:
            if not member.name.endswith(".jpg") or len(sources) == count:
                continue
            file = archive.extractfile(member)
            assert file is not None
            sources.append(read_source(file.read(), manifest.source_size).pixels)
            targets.append(manifest.labels.encode(rows[Path(member.name).name].split()))
    return np.stack(sources), np.stack(targets)


def test_an_installation_without_the_model_says_so(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leafzoom.bundled._FILE", "gone.onnx")
    photo = leaves / "train_images" / "leaf-00001.jpg"
    for command in (("predict", photo), ("info",)):
        assert "is not in this installation" in failure(run(*command), 1)
    train = ("train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "run", "--init", "bundled")
    assert "is not in this installation" in failure(run(*train, *SET_TINY), 1)


def test_models_that_are_none(trained: Path, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (40, 40)).save(photo)
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.safetensors").write_text("no model")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04.")
    (tmp_path / "empty").mkdir()
    foreign = onnx.load(trained / "model.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    newer = onnx.load(trained / "model.onnx")
    for entry in newer.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = entry.value.replace('"format_version": 1', '"format_version": 99')
    onnx.save(newer, tmp_path / "newer.onnx")
    for name, says in (
        ("none.onnx", "does not exist"),
        ("text.onnx", "is no ONNX model"),
        ("text.safetensors", "is no safetensors file or is damaged"),
        ("pickle.pth", "is no run folder, .onnx or .safetensors file"),
        ("empty", "has neither model.onnx nor model.safetensors"),
        ("foreign.onnx", "was not exported by leafzoom"),
        ("newer.onnx", "has model format 99 and this leafzoom reads up to 1"),
    ):
        line = failure(run("predict", photo, "--model", tmp_path / name), 1)
        assert says in line
        assert name in line
    content = (trained / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    assert "cut.safetensors" in failure(run("predict", photo, "--model", tmp_path / "cut.safetensors"), 1)
    assert "is no checkpoint" in failure(run("export", tmp_path / "empty", "--out", tmp_path / "x.onnx"), 1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--recipe", "nothing"], 2, "no recipe 'nothing'"),
        (["--recipe", "default", "--set", "model.zoom=1"], 2, "unknown key model.zoom"),
        (["--recipe", "default", "--set", "model.zoom_bounds=[0.9,0.2]"], 2, "0 < least <= greatest <= 1"),
        (["--recipe", "default", "--split", "nothing", *SET_TINY], 2, "no split 'nothing'"),
        (["--recipe", "default", "--init", "bundled", *SET_TINY], 1,
         "scale1 (trained with tf_efficientnet_lite0)"),
        (["--recipe", "default", "--split", "paper-train", *SET_TINY], 1, "18632 rows"),
        (["--recipe", "default", "--set", "data.labels=['healthy', 'rust']", *SET_TINY], 1,
         "row 3: unknown label 'ring_spot'"),
    ],
)  # fmt: skip
def test_train_refuses(leaves: Path, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    line = failure(run("train", "--data", leaves, "--out", tmp_path / "run", *arguments), code)
    assert says in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_folders_that_do_not_serve(leaves: Path, tmp_path: Path) -> None:
    assert "has to hold train.csv" in failure(
        run("train", "--data", tmp_path, "--recipe", "default", "--out", tmp_path / "run"), 1
    )
    (tmp_path / "file").touch()
    assert "cannot write to the folder" in failure(
        run("train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "file", *SET_TINY), 1
    )
    (tmp_path / "nothing").mkdir()
    assert "has no photo" in failure(run("predict", tmp_path / "nothing", "--model", tmp_path), 1)


def test_full_disk_while_a_run_is_written(leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    line = failure(run("train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "run", *SET_TINY), 1)
    assert "No space left on device" in line
    assert not list((tmp_path / "run").glob("*.json"))


# What the package promises to whoever imports it.


def test_public_names() -> None:
    assert leafzoom.__all__ == ["__version__", "load"]


def test_prediction_needs_no_torch(trained: Path, leaves: Path) -> None:
    """predict, info and --help import nothing of the training extra."""
    script = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "timm", "lightning", "kornia", "sklearn", "pydantic", "safetensors",
                                  "onnx", "scipy", "filelock", "torchvision"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Forbidden())
from leafzoom.cli import main
main()
"""
    photo = str(leaves / "train_images" / "leaf-00001.jpg")

    def without(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)

    predicted = without("predict", photo, "--model", str(trained), "--format", "json")
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)[0]["likely"]
    assert without("info", str(trained / "model.onnx")).returncode == 0
    assert without("train", "--help").returncode == 0
    refused = without("train", "--data", str(leaves), "--recipe", "default", "--out", "x")
    assert refused.returncode == 1
    assert 'pip install "leafzoom[train]"' in refused.stderr
    refused = without("predict", photo, "--model", str(trained / "model.safetensors"))
    assert 'pip install "leafzoom[train]"' in refused.stderr


def test_a_reader_that_stops_early_is_no_error(trained: Path) -> None:
    command = f"{sys.executable} -m leafzoom.cli info {trained} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("run: format 1")
    assert done.stderr == ""


def test_help_has_an_example() -> None:
    for name, command in cli.commands.items():
        result = run(name, "--help")
        assert result.exit_code == 0
        assert "leafzoom " + name in result.output.replace("Usage: ", ""), name
        assert "Example" in (command.help or ""), name


def test_camera_photographs(trained: Path, tmp_path: Path) -> None:
    """Full-size photos: boxes in their own pixels, pictures of the zooms."""
    photos = needs_shared("photos")
    result = run("predict", photos, "--model", trained, "--format", "json", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found) == 3
    for entry in found:
        with Image.open(entry["photo"]) as image:
            assert entry["scales"][0]["box"] == [0, 0, image.width, image.height]
        assert (tmp_path / f"{Path(entry['photo']).stem}-diagnosis.png").is_file()
