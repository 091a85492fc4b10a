"""Reading back what `leafzoom predict` wrote, in each of its forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import run_command
from leafzoom.errors import DataError
from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import Prediction, ScalePrediction
from leafzoom.inference.result_reader import read_answers
from leafzoom.model_file.manifest import Manifest


@pytest.fixture(scope="module")
def manifest(trained: Path) -> Manifest:
    return open_network(str(trained)).manifest


@pytest.fixture(scope="module")
def files(trained: Path, leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same answers in all forms, one photo broken."""
    folder = tmp_path_factory.mktemp("season")
    broken = folder / "broken.jpg"
    broken.write_bytes(b"no photo")
    photos = sorted((leaves / "train_images").iterdir())[:8]

    for form in ("json", "jsonl", "csv"):
        result = run_command("predict", *photos, broken, "--model", trained, "--format", form)
        (folder / f"season.{form}").write_text(result.stdout, encoding="utf-8")
    run_command("predict", *photos, broken, "--model", trained, "--out", folder / "out")
    return folder


@pytest.mark.parametrize("name", ["season.json", "season.jsonl", "season.csv", "out"])
def test_every_form_has_the_same_answers(files: Path, manifest: Manifest, name: str) -> None:
    lines = (files / "season.jsonl").read_text(encoding="utf-8").splitlines()
    contents = [json.loads(line) for line in lines[:-1]]

    answers = read_answers([files / name], manifest)

    assert answers.failed == 1
    assert answers.likely == tuple(tuple(content["likely"]) for content in contents)
    expected = [content["confidence"] for content in contents]
    np.testing.assert_allclose(answers.confidence, expected, atol=1e-4)
    assert answers.is_leaf.all()
    assert answers.ood_scores is None  # the tiny model has no detector


def test_several_files_are_one_season(files: Path, manifest: Manifest) -> None:
    answers = read_answers([files / "season.json", files / "out"], manifest)

    assert len(answers) == 16
    assert answers.failed == 2


def prediction(manifest: Manifest, score: float | None, verdict: str) -> Prediction:
    scales = tuple(ScalePrediction(scale, (0, 0, 1, 1), {}) for scale in (1, 2, 3))
    return Prediction(
        photo="x",
        labels=(),
        probabilities={},
        scales=scales,
        verdict=verdict,  # type: ignore[arg-type]
        likely=(manifest.labels.names[0],),
        confidence=0.5,
        ood_score=score,
        model=manifest.name,
    )


def write(path: Path, *predictions: Prediction) -> Path:
    path.write_text("".join(json.dumps(p.to_dict()) + "\n" for p in predictions))
    return path


def test_a_score_that_was_no_number_is_infinite(manifest: Manifest, tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        prediction(manifest, 0.5, "unsure"),
        prediction(manifest, None, "not_a_leaf"),
    )

    answers = read_answers([file], manifest)

    assert answers.ood_scores is not None
    assert answers.ood_scores.tolist() == [0.5, np.inf]
    assert answers.is_leaf.tolist() == [True, False]


def test_answers_of_another_kind_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    one = prediction(manifest, None, "unsure")

    other_model = write(tmp_path / "b.jsonl", one, replace(one, model="other"))
    with pytest.raises(DataError, match=r"b\.jsonl, answer 2 is of the model other and not of"):
        read_answers([other_model], manifest)

    early = write(tmp_path / "c.jsonl", replace(one, scales=one.scales[:1]))
    with pytest.raises(DataError, match=r"c\.jsonl, answer 1 was given after an early exit"):
        read_answers([early], manifest)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[{]", "is not what leafzoom predict writes"),
        ("a.jsonl", b"nothing", "is not what leafzoom predict writes"),
        ("a.jsonl", b"3\n", "answer 1 is no answer of leafzoom predict"),
        ("a.jsonl", b'{"photo": "x"}\n', "answer 1 is no answer of leafzoom predict"),
        ("a.jsonl", b"\xff\xfe\x00", "is no text"),
        ("a.csv", b"photo,verdict\n", "has no column 'confidence'"),
    ],
)
def test_other_files_are_named(
    manifest: Manifest, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_answers([tmp_path / name], manifest)


def test_a_csv_with_damaged_numbers_names_the_row(files: Path, manifest: Manifest) -> None:
    text = (files / "season.csv").read_text(encoding="utf-8")
    rows = text.splitlines()
    cells = rows[2].split(",")
    cells[-6] = "x"
    damaged = files / "damaged.csv"
    damaged.write_text("\n".join([*rows[:2], ",".join(cells)]), encoding="utf-8")

    with pytest.raises(DataError, match=r"damaged\.csv, row 3 is no answer"):
        read_answers([damaged], manifest)


def test_a_path_that_is_nothing_is_named(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.jsonl does not exist: name a file that leafzoom predict"
    ):
        read_answers([tmp_path / "none.jsonl"], manifest)
    with pytest.raises(DataError, match="nor a folder of its --out"):
        read_answers([tmp_path], manifest)
