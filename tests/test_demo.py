"""The demo: every step of the tour, small."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import TINY
from leafzoom.demo import run_demo
from leafzoom.errors import TrainingError

RECORDED = Path(__file__).resolve().parents[1] / "results" / "demo.json"


def test_the_recorded_demos_prove_the_mechanism() -> None:
    """What scripts/record-demo measured, seed by seed: looking closer pays, and because of where it looks."""
    runs = json.loads(RECORDED.read_text(encoding="utf-8"))["runs"]
    assert len({run["seed"] for run in runs}) >= 3
    for run in runs:
        assert run["exact_match"]["fusion123"] >= run["exact_match"]["scale1"] + 0.10
        boxes = {kind: scores["fusion123"] for kind, scores in run["zoom_value"].items()}
        assert boxes["learned"] > max(boxes["centre"], boxes["random"])
        pointing = {kind: scores["scale3"] for kind, scores in run["pointing"].items()}
        assert pointing["learned"] >= 2 * pointing["random"]
        assert run["seconds"] < 480


def test_the_tour(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "demo"
    picture = run_demo(out, seed=1, say=said.append, photographs=60, changes=TINY)
    assert picture.is_file()
    assert re.search(r"diagnosis\.png: (unsure; perhaps \w|\w.* sure\)|not a sharp)", said[-1]), said[-1]
    assert [line[:3] for line in said if line[1:2] == "/"] == [f"{step}/6" for step in range(1, 7)]
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "Does it look at the lesions?" in page
    assert "How it learned where to look" in page
    figures = json.loads((out / "demo.json").read_text())
    assert figures["seed"] == 1
    assert figures["photographs"] == 6
    assert set(figures["exact_match"]) == {"backbone", "scale1", "scale2", "scale3", "fusion12", "fusion123"}
    assert set(figures["pointing"]["learned"]) == {"scale2", "scale3"}
    assert set(figures["zoom_value"]) == {"learned", "centre", "random", "response"}
    assert (out / "run" / "model.onnx").is_file()
    with pytest.raises(TrainingError, match="holds a demo already"):
        run_demo(out, seed=1, say=said.append, photographs=60, changes=TINY)
