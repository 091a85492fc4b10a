"""One class a photograph (`model.loss = "softmax"`), from the folders to every way of use."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from conftest import HEADS, SET_TINY, TINY, failure_line, run_command
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import SYNTHETIC_LABELS, write_class_folders
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, ModelError, UsageError
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.labels import LabelSet
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.serve.app import create_app
from leafzoom.serve.service import Service
from leafzoom.training.record import training_labels
from leafzoom.training.run import Settings, train
from network_helpers import model_digest, silent, training_losses

SOFTMAX = (*TINY, "model.loss=softmax")
SET_SOFTMAX = (*SET_TINY, "--set", "model.loss=softmax")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rendered leaves of one label each, a folder a class."""
    return write_class_folders(tmp_path_factory.mktemp("classes"), 60, size=96, seed=0)


@pytest.fixture(scope="module")
def class_cache(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_cache(read_table(folders), tmp_path_factory.mktemp("cache"), 96, workers=1)


@pytest.fixture(scope="module")
def class_split(class_cache: Cache) -> Split:
    return training_split(class_cache, "inner-train")


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made through the command line, exported at its end."""
    out = tmp_path_factory.mktemp("single") / "run"
    options = ("--layout", "folders", "--recipe", "default", "--out", out)
    result = run_command("train", "--data", folders, *options, *SET_SOFTMAX)
    assert result.exit_code == 0, result.output
    return out


def test_the_model_file_knows_its_classes(run: Path) -> None:
    manifest = load_checkpoint(run / "model.safetensors").manifest
    assert manifest.labels == LabelSet.of_classes(SYNTHETIC_LABELS)
    assert manifest.format_version == 2
    for decision in manifest.decisions.values():
        assert decision.thresholds == ()
        assert decision.interactions == ()

    scores = manifest.metrics["inner-select"]["fusion123"]
    assert scores["top1"] == scores["exact_match"]


def test_onnx_gives_the_checkpoints_softmax(run: Path, class_cache: Cache) -> None:
    sources = np.asarray(class_cache.sources[:6])
    exported = open_network(str(run))(sources).probabilities
    checkpoint = open_network(str(run), prefer="torch")(sources).probabilities
    assert set(exported) == set(HEADS) - {"backbone"}
    for head, probabilities in exported.items():
        np.testing.assert_allclose(probabilities, checkpoint[head], atol=1e-5)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(checkpoint["backbone"].sum(axis=1), 1, atol=1e-5)


def test_predict_names_one_class(run: Path, folders: Path) -> None:
    photo = next((folders / "healthy").iterdir())
    result = run_command(
        *("predict", photo, "--model", run, "--format", "json", "--coverage", "0.8")
    )
    assert result.exit_code == 0, result.output
    (prediction,) = json.loads(result.stdout)
    probabilities = prediction["probabilities"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction["likely"] == [max(probabilities, key=probabilities.__getitem__)]
    assert prediction["likely"] in prediction["possible"]
    assert all(len(labels) == 1 for labels in prediction["possible"])

    # A temperature changes the confidence alone.
    predictor = Predictor(open_network(str(run)))
    assert 1 / 3 <= predictor.predict(photo).confidence < 1


def test_thresholds_are_refused(run: Path) -> None:
    network = open_network(str(run))
    with pytest.raises(UsageError, match="the most probable class, which no threshold changes"):
        Predictor(network, thresholds={"healthy": 0.3})


def test_evaluate_reports_top_1_accuracy(run: Path, folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = run_command(*("evaluate", run, "--data", folders, "--layout", "folders", "--out", out))
    assert result.exit_code == 0, result.output
    assert "top-1" in result.stdout

    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["heads"]) == list(HEADS)
    for head, scores in metrics["heads_fitted"].items():
        confusion = np.array(scores["confusion"])
        assert confusion.sum() == 60
        assert confusion.sum(axis=1).tolist() == [
            scores["per_label"][label]["support"] for label in SYNTHETIC_LABELS
        ]
        assert scores["top1"] == pytest.approx(confusion.trace() / 60)
        assert scores["exact_match"] == scores["top1"]
        assert scores["threshold"] is None
        assert metrics["heads"][head] == scores  # the temperature changes no answer

    # The most probable class in predictions.csv is the answer.
    with (out / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            columns = {label: float(row[f"fusion123_{label}"]) for label in SYNTHETIC_LABELS}
            assert row["predicted_fusion123"] == max(columns, key=columns.__getitem__)

    page = (out / "index.html").read_text()
    assert "top-1 accuracy (" in page
    assert "threshold 0.5" not in page
    assert "Exact match" not in page


def test_other_tables_are_no_evaluation_of_it(run: Path, leaves: Path, tmp_path: Path) -> None:
    result = run_command("evaluate", run, "--data", leaves, "--out", tmp_path / "report")
    message = failure_line(result, 1)
    assert "train.csv row 5: 'leaf-00003.jpg' has 2 labels (ring_spot solid_spot)" in message


def test_compare_and_info_say_top_1(run: Path, tmp_path: Path) -> None:
    result = run_command("compare", run, run, "--out", tmp_path / "compared")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "compared" / "index.html").read_text()
    assert "Validation top-1 accuracy of scale 2 (figure 7)" in page
    assert "At threshold 0.5" not in page
    rows = json.loads((tmp_path / "compared" / "compare.json").read_text())["scores"]
    stored = load_checkpoint(run / "model.safetensors").manifest.metrics["inner-select"]
    for row in rows[: len(HEADS)]:
        assert row["top1"] == pytest.approx(stored[row["head"]]["top1"])

    lines = run_command("info", run).stdout
    assert "classes: healthy, ring_spot, solid_spot" in lines
    assert "the answer is the most probable class" in lines


def test_the_service_describes_and_answers(run: Path, folders: Path) -> None:
    service = Service(Predictor(open_network(str(run))))
    photo = next((folders / "ring_spot").iterdir()).read_bytes()
    with TestClient(create_app(service)) as client:
        model = client.get("/api/v1/model").json()
        answer = client.post("/api/v1/predictions", files={"photos": ("leaf.jpg", photo)}).json()
    assert model["labels"] == list(SYNTHETIC_LABELS)
    assert model["thresholds"] == {}
    assert sum(answer[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("epochs_before_stop", [2, 4])
def test_resume_with_the_softmax_equals_an_uninterrupted_run(
    run: Path, class_cache: Cache, class_split: Split, tmp_path: Path, epochs_before_stop: int
) -> None:
    """The epochs' log lines have their seconds in brackets."""

    class Stop(Exception):  # noqa: N818
        """Stands for a kill between two epochs."""

    recipe = load_recipe("default", SOFTMAX)
    epochs = 0

    def echo(line: str) -> None:
        nonlocal epochs
        epochs += "(" in line and " s)" in line
        if epochs == epochs_before_stop:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        train(class_cache, class_split, recipe, out, echo=echo)
    train(class_cache, class_split, recipe, out, resume=True, echo=silent)
    assert training_losses(out) == training_losses(run)
    assert model_digest(out) == model_digest(run)


def test_a_table_of_several_labels_is_refused_before_anything_is_written(
    leaves: Path, cache: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = run_command(
        *("train", "--data", leaves, "--recipe", "default", "--cache", cache.folder),
        *("--out", out, *SET_SOFTMAX),
    )
    message = failure_line(result, 1)
    assert "train.csv row 5: 'leaf-00003.jpg' has 2 labels (ring_spot solid_spot)" in message
    assert "give it one label or leave its row out" in message
    assert not out.exists()


def test_classes_without_photographs_are_answers_too(
    class_cache: Cache, class_split: Split
) -> None:
    names = (*SYNTHETIC_LABELS, "rust")
    recipe = load_recipe("default", [*SOFTMAX, f"data.labels={json.dumps(names)}"])
    labels = training_labels(class_cache, class_split, recipe)
    assert labels == LabelSet.of_classes(names)


def test_a_single_class_is_refused(class_cache: Cache, class_split: Split) -> None:
    table = class_cache.table
    healthy = tuple(row.image_name for row in table.rows if row.labels == ("healthy",))
    split = Split(class_split.name, healthy[:10], healthy[10:15], healthy[15:])
    with pytest.raises(
        DataError, match=r"has one class, healthy, and model\.loss softmax needs two"
    ):
        training_labels(class_cache, split, load_recipe("default", SOFTMAX))


def test_a_network_of_the_other_loss_starts_but_does_not_teach(
    trained: Path, class_cache: Cache, class_split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("default", [*SOFTMAX, "alternation.soft_labels=0.3"])
    settings = Settings(teachers=(str(trained),))
    with pytest.raises(ModelError, match="trained with softmax"):
        train(class_cache, class_split, recipe, tmp_path / "a", settings=settings, echo=silent)

    changes = [*SOFTMAX, "fine_tuning.epochs=0", "warm_up.epochs=1", "alternation.rounds=0"]
    train(
        *(class_cache, class_split, load_recipe("default", changes), tmp_path / "b"),
        init=str(trained / "model.safetensors"),
        echo=silent,
    )
    assert load_checkpoint(tmp_path / "b" / "model.safetensors").manifest.labels.single_label


AS_IT_IS = (
    "alternation.box_jitter=0.0",
    "alternation.attention_dropping=0.0",
    "alternation.frozen_stages=0",
    "alternation.frozen_scales=0",
)
VARIANTS = {
    "what changes targets": (
        "augmentation.mix=0.5",
        "alternation.label_smoothing=0.1",
        "data.class_weights=sqrt",
        "alternation.apn_objective=expected",
    ),
    "the failed training": ("alternation.objective=shared", *AS_IT_IS),
    "the finer scale's loss": (
        "alternation.apn_objective=classification",
        "warm_up.target=activation",
        "fusion.fit=sgd",
    ),
    "everything at once": ("alternation.objective=joint", *AS_IT_IS),
    "few photographs": (
        "few_photographs.below=1000",
        "fine_tuning.epochs=0",
        "warm_up.epochs=0",
        "alternation.rounds=0",
        "model.proposals=centre",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_recipe_adds_trains_with_classes(
    name: str, class_cache: Cache, class_split: Split, tmp_path: Path
) -> None:
    """Every loss is finite and every fitted head is a softmax's."""
    short = ("fine_tuning.epochs=1", "alternation.classifier_epochs=1")
    recipe: Recipe = load_recipe("default", [*SOFTMAX, *short, *VARIANTS[name]])
    path = train(class_cache, class_split, recipe, tmp_path / "run", echo=silent)
    if name != "few photographs":  # which have no epoch
        losses = training_losses(tmp_path / "run")
        assert losses
        assert all(np.isfinite(float(line.split()[1])) for line in losses)

    network = open_network(str(path))
    probabilities = network(np.asarray(class_cache.sources[:3])).probabilities
    for head in HEADS:
        np.testing.assert_allclose(probabilities[head].sum(axis=1), 1, atol=1e-5)
        assert network.manifest.decisions[head].thresholds == ()


def test_teachers_of_classes_teach(
    run: Path, class_cache: Cache, class_split: Split, tmp_path: Path
) -> None:
    """A network's softmax is part of the targets, which still sum to 1."""
    changes = ["alternation.soft_labels=0.4", "fine_tuning.epochs=1"]
    recipe = load_recipe("default", [*SOFTMAX, *changes])
    settings = Settings(teachers=(str(run),))
    train(class_cache, class_split, recipe, tmp_path / "run", settings=settings, echo=silent)
    (stored,) = (tmp_path / "run").glob("soft-labels-*.npy")
    np.testing.assert_allclose(np.load(stored).sum(axis=1), 1, atol=1e-5)
