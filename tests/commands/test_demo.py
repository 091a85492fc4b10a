"""The demo: every step of the tour, small, and what its recorded runs show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import HEADS, TINY, failure_line, run_command
from leafzoom.demo import run_demo

RECORDED = Path(__file__).resolve().parents[2] / "results" / "demo.json"

MAX_SECONDS = 480  # eight minutes, as the README promises


def test_the_recorded_demos_prove_the_mechanism() -> None:
    """Zooming pays in every run of `python -m tools.record_demo`, and because of where it zooms."""
    runs = json.loads(RECORDED.read_text(encoding="utf-8"))["runs"]
    assert len({run["seed"] for run in runs}) >= 3

    for run in runs:
        assert run["exact_match"]["fusion123"] >= run["exact_match"]["scale1"] + 0.10
        assert run["seconds"] < MAX_SECONDS

        exact_match = {kind: scores["fusion123"] for kind, scores in run["zoom_value"].items()}
        assert exact_match["learned"] > max(exact_match["centre"], exact_match["random"])

        hit_rates = {kind: scores["scale3"] for kind, scores in run["pointing"].items()}
        assert hit_rates["learned"] >= 2 * hit_rates["random"]


@pytest.mark.slow
def test_the_tour(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    lines: list[str] = []
    picture = run_demo(out, seed=1, echo=lines.append, photographs=60, changes=TINY)

    # The lines for people.
    steps = [line[:3] for line in lines if line[1:2] == "/"]
    assert steps == [f"{step}/6" for step in range(1, 7)]
    summary = r"diagnosis\.png: (unsure; perhaps \w|\w.* sure\)|not a sharp)"
    assert re.search(summary, lines[-1]), lines[-1]

    # The files.
    assert picture.is_file()
    assert (out / "run" / "model.onnx").is_file()
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "Does it look at the lesions?" in page
    assert "How it learned where to look" in page

    figures = json.loads((out / "demo.json").read_text())
    assert figures["seed"] == 1
    assert figures["photographs"] == 6
    assert set(figures["exact_match"]) == set(HEADS)
    assert set(figures["pointing"]["learned"]) == {"scale2", "scale3"}
    assert set(figures["zoom_value"]) == {"learned", "centre", "random", "response"}


def test_a_folder_with_a_demo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")

    line = failure_line(run_command("demo", "--out", tmp_path), 1)
    assert f"{tmp_path} holds a demo already" in line
    assert "--out" in line
