"""What `tools.browser_check` makes of what a browser saw, and the whole check in Chromium."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

import pytest

from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from tools.browser_check import BROWSERS, Browser, compared, watched

REPORT = {"agent": "a browser", "kept_pictures": 2, "offline_kept": 2, "offline_pictures": 3}


@pytest.fixture(scope="module")
def photos(leaves: Path) -> list[Path]:
    return sorted((leaves / "train_images").iterdir())[:3]


@pytest.fixture(scope="module")
def predictor(early_exit_run: Path) -> Predictor:
    return Predictor(open_network(str(early_exit_run / "model.onnx")))


def test_other_answers_and_photos_that_were_not_read_are_counted(
    photos: list[Path], predictor: Predictor
) -> None:
    expected = [predictor.predict(path.read_bytes()) for path in photos]
    answers = deepcopy([prediction.to_dict() for prediction in expected])
    figures = compared({**REPORT, "answers": answers}, expected)
    assert figures["same_answer"] == figures["photos"] == 3
    assert figures["greatest_probability_difference"] == 0
    assert figures["problem"] is None

    label, probability = next(iter(answers[0]["probabilities"].items()))
    answers[0]["probabilities"][label] = probability + 0.25
    answers[0]["verdict"] = "other"
    answers[1] = {"photo": "x", "error": "unreadable"}
    figures = compared({**REPORT, "answers": answers}, expected)
    assert figures["same_answer"] == 1
    assert figures["photos"] == 2
    assert figures["greatest_probability_difference"] == pytest.approx(0.25)
    assert figures["problem"] == "photos that were not read: 1"


@pytest.mark.app
@pytest.mark.parametrize("browser", BROWSERS, ids=lambda browser: browser.name)
def test_the_app_works_in_a_browser(
    browser: Browser, app_folder: Path, photos: list[Path], predictor: Predictor, tmp_path: Path
) -> None:
    program = browser.program()
    if program is None:
        pytest.skip(f"{browser.name} is not installed")
    app = tmp_path / "app"
    shutil.copytree(app_folder, app)
    report = watched(browser, program, app, photos, timeout_s=300)

    figures = compared(report, [predictor.predict(path.read_bytes()) for path in photos])
    assert figures["problem"] is None
    assert figures["same_answer"] == 3
    assert figures["greatest_probability_difference"] < 1e-3
    assert figures["kept_pictures"] == 2
    assert figures["starts_offline"]
    assert figures["pictures_offline"] == 3
