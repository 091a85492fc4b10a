"""The report: one page that holds everything, beside the files for programs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_lesions
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.report import write_report_files
from leafzoom.evaluation.result_files import (
    DatasetDescription,
    FurtherMeasurements,
    ModelDescription,
)
from leafzoom.evaluation.zoom_value import measure_zoom_value
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.torch_network import TorchNetwork

DATASET = DatasetDescription(
    csv="<b>leaves</b>", split="inner-train", photographs=20, trained_on=20
)
MODEL = ModelDescription(name="x", recipe="default", trained_on=48, leafzoom="0.1.0")


@pytest.fixture(scope="module")
def report_folder(
    network: TorchNetwork,
    evaluation: Evaluation,
    leaves: Path,
    cache: Cache,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The report of an untrained network, with all of its parts."""
    folder = tmp_path_factory.mktemp("report")
    film = folder / "film.gif"
    film.write_bytes(b"GIF89a")

    lesions = read_lesions(leaves, cache)
    zoom_value = measure_zoom_value(
        network.network, evaluation, cache, photographs=8, lesions=lesions
    )
    write_report_files(
        folder,
        evaluation,
        cache.table,
        dataset=DATASET,
        model=replace(MODEL, film=film),
        further=FurtherMeasurements(zoom_value=zoom_value),
        predictor=Predictor(network),
    )
    return folder


@pytest.fixture(scope="module")
def page(report_folder: Path) -> str:
    return (report_folder / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "part",
    [
        "What each look says",
        "Zoom value",
        "on 8 of these photographs",
        "By label",
        "samples average",
        "Precision and recall",
        "Confusion matrix",
        "Calibration",
        "Suspect labels",
        "Does it look at the lesions?",
        "data:image/gif;base64,R0lGODlh",
        "20 of these photographs were trained on",
        "ring spot",
        "&lt;b&gt;leaves",
    ],
)
def test_the_page_holds_every_part(page: str, part: str) -> None:
    assert part in page


def test_the_page_loads_no_other_file(page: str) -> None:
    assert not re.search(r"<script|<link|@import|src=\"(?!data:)|url\((?!#)", page)


def test_the_page_has_its_figures_and_pictures(page: str) -> None:
    assert page.count("<svg ") == 4
    assert page.count("data:image/jpeg;base64,") >= 3 * 8

    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_has_no_undefined_number(page: str) -> None:
    text = re.sub(r"base64,[^\"]+|<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert "nan" not in text.lower()


def test_the_files_for_programs_hold_the_same_evaluation(
    report_folder: Path, evaluation: Evaluation
) -> None:
    metrics = json.loads((report_folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["dataset"] == DATASET.to_dict()
    assert metrics["model"] == MODEL.to_dict()
    assert metrics["zoom_value"]["photographs"] == 8
    for head, scores in metrics["heads_fitted"].items():
        assert scores == evaluation.heads_fitted[head].to_dict()

    lines = (report_folder / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == list(evaluation.image_names)


def test_zoom_value_and_film_are_left_out_where_there_are_none(
    evaluation: Evaluation, cache: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    model = replace(MODEL, film=tmp_path / "missing.gif")
    write_report_files(out, evaluation, cache.table, dataset=DATASET, model=model)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Zoom value" not in page
    assert "image/gif" not in page
    assert "zoom_value" not in json.loads((out / "metrics.json").read_text(encoding="utf-8"))
