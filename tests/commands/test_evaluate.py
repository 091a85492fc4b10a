"""`leafzoom evaluate`: the files that it writes, and what it says about the photographs."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import HEADS, failure_line, run_command
from leafzoom.dataset.split import Split
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import decide
from leafzoom.model_file.onnx_writer import write_manifest

LABELS = ("healthy", "ring_spot", "solid_spot")
NO_ZOOMS = ("--zooms", 0)  # quicker where zoom value does not matter


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def read_predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(trained: Path, leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the test part of the trained run's own split."""
    out = tmp_path_factory.mktemp("evaluate")
    arguments = ("--data", leaves, "--split", "inner-report", "--out", out)
    result = run_command("evaluate", trained, *arguments)
    assert result.exit_code == 0, result.output
    return out


def test_the_keys_of_metrics_json(report: Path) -> None:
    metrics = read_metrics(report)

    assert set(metrics) == {
        "dataset", "model", "heads", "heads_fitted", "verdicts", "intervals", "differences",
        "zoom_value", "lesions",
    }  # fmt: skip
    assert set(metrics["lesions"]["looks"]) == {"scale2", "scale3", "closest"}
    assert list(metrics["heads"]) == list(metrics["heads_fitted"]) == list(HEADS)

    fused = metrics["heads"]["fusion123"]
    assert fused["threshold"] == 0.5
    assert set(fused) == {
        "threshold", "per_label", "micro", "macro", "weighted", "samples", "exact_match", "map",
    }  # fmt: skip
    assert set(fused["per_label"]["healthy"]) == {"precision", "recall", "f1", "support"}


def test_every_photograph_has_one_verdict(report: Path) -> None:
    metrics = read_metrics(report)

    by_verdict = [share["photographs"] for share in metrics["verdicts"].values()]
    assert sum(by_verdict) == metrics["dataset"]["photographs"]


def test_predictions_have_a_row_a_photograph_and_columns_for_every_head(
    trained: Path, report: Path
) -> None:
    split = json.loads((trained / "split.json").read_text())

    rows = read_predictions(report)

    assert {row["image"] for row in rows} == set(split["report"])
    assert all(f"{head}_ring_spot" in rows[0] for head in HEADS)


def test_the_figures_follow_from_the_table_of_predictions(trained: Path, report: Path) -> None:
    metrics = read_metrics(report)
    rows = read_predictions(report)
    probabilities = np.zeros((len(rows), len(LABELS)))
    targets = np.zeros((len(rows), len(LABELS)), int)
    predicted = np.zeros((len(rows), len(LABELS)), int)
    for index, row in enumerate(rows):
        probabilities[index] = [float(row[f"fusion123_{label}"]) for label in LABELS]
        targets[index] = [label in row["labels"].split() for label in LABELS]
        predicted[index] = [label in row["predicted_fusion123"].split() for label in LABELS]

    exact_match = ((probabilities > 0.5) == targets).all(axis=1).mean()
    assert metrics["heads"]["fusion123"]["exact_match"] == pytest.approx(exact_match)

    manifest = OnnxNetwork(trained / "model.onnx").manifest
    answers = decide(probabilities, manifest.decisions["fusion123"], manifest.labels)
    fitted_exact_match = (answers == targets).all(axis=1).mean()
    assert metrics["heads_fitted"]["fusion123"]["exact_match"] == pytest.approx(fitted_exact_match)
    assert predicted.tolist() == answers.tolist()


def test_some_heads_of_an_onnx_model(trained: Path, leaves: Path, tmp_path: Path) -> None:
    heads = ("--head", "scale2", "--head", "fusion12")

    result = run_command(
        "evaluate", trained / "model.onnx", "--data", leaves, *heads, *NO_ZOOMS, "--out", tmp_path
    )

    assert result.exit_code == 0, result.output
    metrics = read_metrics(tmp_path)
    assert list(metrics["heads"]) == ["scale2", "fusion12"]
    assert metrics["dataset"]["photographs"] == 60


def test_an_unknown_head_is_refused(trained: Path, leaves: Path, tmp_path: Path) -> None:
    arguments = ("--data", leaves, "--head", "scale9", "--out", tmp_path)

    result = run_command("evaluate", trained / "model.onnx", *arguments)

    assert "no head 'scale9': the model has scale1" in failure_line(result, 2)


def test_a_head_that_is_named_twice_is_scored_once(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    heads = ("--head", "scale1", "--head", "scale1")
    arguments = ("--data", leaves, *heads, "--split", "inner-report", "--out", tmp_path)

    assert run_command("evaluate", trained, *arguments).exit_code == 0

    assert list(read_metrics(tmp_path)["heads"]) == ["scale1"]


def test_a_photograph_of_one_line_is_evaluated(trained: Path, leaves: Path, tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2), (10, 120, 30)).save(tmp_path / "line.png")
    shutil.copy(leaves / "train_images" / "leaf-00001.jpg", tmp_path / "leaf.jpg")
    table = tmp_path / "names.csv"
    table.write_text("image,labels\nline.png,healthy\nleaf.jpg,healthy\n")
    arguments = ("--data", tmp_path, "--csv", table, "--split", "all", "--out", tmp_path / "out")

    result = run_command("evaluate", trained, *arguments)

    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n", "names no photograph"), (b"b\xe9.jpg", "cannot be read as UTF-8")],
)
def test_a_split_file_without_names_is_refused(
    trained: Path, leaves: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(content)
    arguments = ("--data", leaves, "--split", names, "--out", tmp_path / "out")

    assert message in failure_line(run_command("evaluate", trained, *arguments), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [("garbage", "split.json is no JSON"), ("{}", "split.json has to be")],
)
def test_a_runs_damaged_split_is_refused(
    trained: Path, leaves: Path, tmp_path: Path, content: str, message: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "split.json").write_text(content)
    arguments = ("--data", leaves, "--split", "inner-report", "--out", tmp_path / "report")

    assert message in failure_line(run_command("evaluate", run, *arguments), 1)


# Photographs that the model knows already.


def test_photographs_that_were_trained_on_are_counted(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    arguments = ("--data", leaves, "--out", tmp_path)

    result = run_command("evaluate", trained, *arguments, *NO_ZOOMS)

    assert read_metrics(tmp_path)["dataset"]["trained_on"] == 48
    assert "48 of these photographs were trained on" in result.stderr


def test_a_model_away_from_its_run_is_not_scored_on_another_splits_part(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    other_split = {
        "train": [f"leaf-{number:05d}.jpg" for number in range(50)],
        "select": [f"leaf-{number:05d}.jpg" for number in range(50, 60)],
    }
    digest = Split.from_dict(other_split, tmp_path).digest()
    model = tmp_path / "moved.onnx"
    shutil.copy(trained / "model.onnx", model)
    manifest = OnnxNetwork(model).manifest
    write_manifest(model, replace(manifest, data={**manifest.data, "split_digest": digest}))
    arguments = ("--data", leaves, "--split", "inner-report", "--out", tmp_path / "out")

    result = run_command("evaluate", model, *arguments, *NO_ZOOMS)

    assert "trained with another split" in failure_line(result, 1)


@pytest.mark.parametrize("is_away", [False, True], ids=["run", "away from its run"])
def test_photographs_that_chose_the_model_are_counted(
    trained: Path, leaves: Path, tmp_path: Path, is_away: bool
) -> None:
    """Also away from its run, where this table's split is the one it was trained with."""
    model = shutil.copy(trained / "model.onnx", tmp_path / "away.onnx") if is_away else trained
    arguments = ("--data", leaves, "--split", "inner-select", "--out", tmp_path / "out")

    result = run_command("evaluate", model, *arguments, *NO_ZOOMS)

    dataset = read_metrics(tmp_path / "out")["dataset"]
    assert dataset["trained_on"] == 0
    assert dataset["selected_on"] == dataset["photographs"] == 6
    warning = "6 of these photographs chose the epoch"
    assert warning in result.stderr
    assert warning in (tmp_path / "out" / "index.html").read_text()


def test_photographs_of_the_test_part_chose_nothing(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    model = shutil.copy(trained / "model.onnx", tmp_path / "away.onnx")
    arguments = ("--data", leaves, "--split", "inner-report", "--out", tmp_path / "out")

    result = run_command("evaluate", model, *arguments, *NO_ZOOMS)

    assert read_metrics(tmp_path / "out")["dataset"]["selected_on"] == 0
    assert "chose the epoch" not in result.stderr
    assert "chose the epoch" not in (tmp_path / "out" / "index.html").read_text()


def test_with_another_table_it_is_unknown_what_was_trained_on(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    model = shutil.copy(trained / "model.onnx", tmp_path / "away.onnx")
    rows = (leaves / "train.csv").read_text().splitlines()
    table = tmp_path / "few.csv"
    table.write_text("\n".join(rows[:5]) + "\n")
    arguments = ("--data", leaves, "--csv", table, "--split", "all", "--out", tmp_path / "out")

    run_command("evaluate", model, *arguments, *NO_ZOOMS)

    dataset = read_metrics(tmp_path / "out")["dataset"]
    assert dataset["photographs"] == 4
    assert dataset["trained_on"] is None
    assert dataset["selected_on"] is None


def test_other_pictures_are_reported_by_kind(trained: Path, leaves: Path, tmp_path: Path) -> None:
    """A rendered leaf passes for one, and the page shows it; a damaged file is counted apart."""
    others = tmp_path / "others"
    for kind in ("leaves", "noise"):
        (others / kind).mkdir(parents=True)
    for path in sorted((leaves / "train_images").glob("*.jpg"))[:4]:
        shutil.copy(path, others / "leaves")
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(others / "noise" / f"{number}.png")
    (others / "noise" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")

    out = tmp_path / "report"
    arguments = ("--data", leaves, *NO_ZOOMS, "--others", others, "--out", out)
    result = run_command("evaluate", trained, *arguments)
    assert result.exit_code == 0, result.output

    kinds = read_metrics(out)["other_pictures"]
    assert [kinds[kind]["pictures"] for kind in ("leaves", "noise")] == [4, 3]
    assert [kinds[kind]["unreadable"] for kind in ("leaves", "noise")] == [0, 1]
    for counts in kinds.values():
        verdicts = counts["not_a_leaf"] + counts["unsure"] + counts["diagnosed"]
        assert verdicts == counts["pictures"]
    assert kinds["leaves"]["diagnosed"] > 0

    page = (out / "index.html").read_text()
    assert page.count('alt="a picture of the kind leaves"') == kinds["leaves"]["diagnosed"]
    assert page.count('alt="a picture of the kind noise"') == kinds["noise"]["diagnosed"]


def test_other_pictures_have_to_be_in_a_folder(trained: Path, leaves: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    arguments = ("--data", leaves, "--others", missing, "--out", tmp_path / "report")

    result = run_command("evaluate", trained, *arguments)

    assert f"--others {missing} is no folder" in failure_line(result, 2)
