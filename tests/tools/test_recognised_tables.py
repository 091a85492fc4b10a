"""The table of what the shipped file recognises, against counts made one by one."""

from __future__ import annotations

import json

import numpy as np

from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.onnx_reader import read_onnx
from tools.provenance import ROOT
from tools.recognised_tables import label_row, recognised, shipped_file


def test_shares_of_a_label() -> None:
    """Three combinations: none, the label, the label with another; 10 of 14 answers are right."""
    counts = np.array([[5, 3, 0, 1, 0], [1, 6, 1, 2, 0], [0, 2, 1, 1, 1]])
    has_label = np.array([False, True, True])
    assert label_row(counts, has_label) == ["77 %", "20 %"]


def test_the_table_has_every_label_and_the_total() -> None:
    result = json.loads((ROOT / "results" / "shipped.json").read_text())
    _, manifest = read_onnx(bundled_model())
    lines = recognised(result)
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(manifest.labels.names) + 1

    right = answered = unsure = 0
    for true, answer, photographs in manifest.confusion.counts:
        is_answer = answer < manifest.confusion.combinations
        right += photographs * (true == answer)
        answered += photographs * is_answer
        unsure += photographs * (answer == manifest.confusion.combinations)
    total = manifest.confusion.photographs
    assert rows[
        -1
    ] == f"| **all leaves** | {right / answered:.0%} | {unsure / total:.0%} |".replace("%", " %")
    assert f"{total:,} photographs" in lines[-1]


def test_the_shipped_file_is_described_by_its_metadata() -> None:
    result = json.loads((ROOT / "results" / "shipped.json").read_text())
    text = "\n".join(shipped_file(result))
    assert "15,091" in text
    assert "`frog_eye_leaf_spot`" in text
