"""`leafzoom drift`: real answers to leaves as they are, and to darkened and noisy ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from conftest import failure_line, run_command
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.fitting.reference import fit_reference
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.result_reader import read_answers
from leafzoom.model_file.onnx_writer import write_manifest

COUNT = 60


def write_photos(folder: Path, seed: int, shift: str = "") -> Path:
    """Rendered leaves, perhaps all darkened or noisy."""
    folder.mkdir()
    for index, leaf in enumerate(render_leaves(COUNT, size=96, seed=seed)):
        image = Image.fromarray(leaf.pixels)
        if shift == "dark":
            image = ImageEnhance.Brightness(image).enhance(0.25)
        elif shift == "noisy":
            noise = np.random.default_rng(index).normal(0, 60, leaf.pixels.shape)
            image = Image.fromarray(np.clip(leaf.pixels + noise, 0, 255).astype(np.uint8))
        image.save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def model(early_exit_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a detector; its reference is of 60 leaves that it has not seen."""
    folder = tmp_path_factory.mktemp("drift-model")
    path = folder / "model.onnx"
    path.write_bytes((early_exit_run / "model.onnx").read_bytes())
    network = OnnxNetwork(path)

    # A barely trained network's answers, counted as a training counts them.
    photos = write_photos(folder / "photos", seed=21)
    result = run_command("predict", photos, "--model", path, "--format", "jsonl")
    (folder / "answers.jsonl").write_text(result.stdout)
    season = read_answers([folder / "answers.jsonl"], network.manifest)
    labels = network.manifest.labels
    names = [tuple(labels.decode(np.array(row))) for row in labels.combinations]
    column = np.array([names.index(likely) for likely in season.likely])
    probabilities = np.zeros((COUNT, len(names)))
    probabilities[np.arange(COUNT), column] = season.confidence

    answers = OutOfFoldAnswers(probabilities, column)
    reference = fit_reference(answers, season.ood_scores, labels)
    write_manifest(path, replace(network.manifest, reference=reference))
    return path


def season_of(model: Path, folder: Path, seed: int, shift: str = "", form: str = "jsonl") -> Path:
    photos = write_photos(folder / "photos", seed, shift)
    result = run_command("predict", photos, "--model", model, "--format", form)
    assert result.exit_code == 0
    path = folder / f"season.{form}"
    path.write_text(result.stdout, encoding="utf-8")
    return path


def test_other_leaves_of_the_same_kind_are_trusted(model: Path, tmp_path: Path) -> None:
    season = season_of(model, tmp_path, seed=33)

    result = run_command("drift", season, "--model", model, "--fail-on-drift")

    assert result.exit_code == 0
    assert result.stdout.startswith("60 answers, beside 60 photographs that the model")
    assert "Nothing speaks against trusting the model" in result.stdout


@pytest.mark.parametrize("shift", ["dark", "noisy"])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_darkened_and_noisy_leaves_are_not(
    model: Path, tmp_path: Path, shift: str, form: str
) -> None:
    season = season_of(model, tmp_path, 33, shift, form)
    picture = tmp_path / "new" / "drift.png"

    result = run_command("drift", season, "--model", model, "--out", picture)
    assert result.exit_code == 0
    assert "Do not trust the model on these photos: more of the pictures" in result.stdout
    with Image.open(picture) as image:
        assert image.width > 1000

    assert run_command("drift", season, "--model", model, "--fail-on-drift").exit_code == 1


def test_few_answers_are_no_season(model: Path, leaves: Path, tmp_path: Path) -> None:
    photo = leaves / "train_images" / "leaf-00001.jpg"
    run_command("predict", photo, "--model", model, "--out", tmp_path / "out")

    result = run_command("drift", tmp_path / "out", "--model", model, "--fail-on-drift")

    assert result.exit_code == 0
    assert "Too few answers to judge by: 1, and it takes 30" in result.stdout


def test_what_cannot_be_compared_is_one_line(model: Path, tmp_path: Path) -> None:
    line = failure_line(run_command("drift", tmp_path / "x.jsonl", "--model", model), 1)
    assert "x.jsonl does not exist: name a file that leafzoom predict wrote" in line
    line = failure_line(run_command("drift", tmp_path, "--model", model), 1)
    assert "is neither a file that leafzoom predict wrote nor a folder" in line

    other = run_command("drift", tmp_path, "--model", model, "--out", tmp_path / "drift.gif")
    assert "has to be a file that ends in .png or .svg" in failure_line(other, 2)


def test_a_model_without_a_reference_is_named(tmp_path: Path) -> None:
    older = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"
    names = OnnxNetwork(older).manifest.labels.names
    season = tmp_path / "a.csv"
    season.write_text(f"photo,verdict,labels,confidence,{','.join(names)},error\n")

    result = run_command("drift", season, "--model", older)

    assert "has no reference to compare answers with" in failure_line(result, 1)


def test_the_metrics_of_a_service_have_the_same_edges(model: Path, leaves: Path) -> None:
    from leafzoom.serve.monitoring import Monitoring

    network = OnnxNetwork(model)
    reference = network.manifest.reference
    assert reference is not None
    monitoring = Monitoring(lambda: 0, network.manifest)
    photos = sorted((leaves / "train_images").iterdir())[:4]
    results = list(Predictor(network).predict_many(photos))

    monitoring.observe_predictions(results, 0.1)

    text = monitoring.exposition().decode()
    buckets = [line for line in text.splitlines() if line.startswith("leafzoom_ood_score_bucket")]
    assert len(buckets) == len(reference.ood_edges) + 1
    assert buckets[-1].endswith('{le="+Inf"} 4.0')
