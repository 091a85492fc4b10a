"""Results as a table, JSON, JSON lines and CSV."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from leafzoom.exif import Exif
from leafzoom.inference.formats import write_records
from leafzoom.inference.prediction import FailedPhoto, Prediction, ScalePrediction

FAILED = FailedPhoto("broken.jpg", "broken.jpg is no JPEG")
FUSED = {"healthy": 0.2, "ring_spot": 0.75}
SCALES = (
    ScalePrediction(1, (0.0, 0.0, 40.0, 30.0), {"healthy": 0.4, "ring_spot": 0.5}),
    ScalePrediction(2, (10.4, 5.0, 30.0, 25.6), {"healthy": 0.1, "ring_spot": 0.9}),
)
PREDICTION = Prediction(
    photo="leaf.jpg",
    labels=("ring_spot",),
    probabilities=FUSED,
    scales=SCALES,
    verdict="diagnosis",
    likely=("ring_spot",),
    confidence=0.8,
    ood_score=0.5,
    model="run",
)


def written(output_format: str, *results: Prediction | FailedPhoto) -> str:
    out = io.StringIO()
    write_records(iter(results), output_format, out, ["healthy", "ring_spot"])
    return out.getvalue()


def test_a_table() -> None:
    assert written("table", PREDICTION, FAILED).splitlines() == [
        "leaf.jpg",
        "  ring spot (80% sure)",
        "                             fused  scale 1  scale 2",
        "  ring spot                  75.0%    50.0%    90.0%",
        "  healthy                    20.0%    40.0%    10.0%",
        "  scale 2 looked at x 10-30, y 5-26",
        "broken.jpg",
        "  could not be read",
    ]


def test_a_table_of_an_early_exit() -> None:
    first_look = replace(PREDICTION, scales=SCALES[:1], probabilities=SCALES[0].probabilities)

    assert written("table", first_look).splitlines() == [
        "leaf.jpg",
        "  ring spot (80% sure)",
        "  the first look was sure: no closer one",
        "                           scale 1",
        "  ring spot                  50.0%",
        "  healthy                    40.0%",
    ]


def test_csv() -> None:
    assert written("csv", PREDICTION, FAILED).splitlines() == [
        "photo,verdict,labels,confidence,healthy,ring_spot,error,taken,latitude,longitude,camera",
        "leaf.jpg,diagnosis,ring_spot,0.800000,0.200000,0.750000,,,,,",
        "broken.jpg,,,,,,broken.jpg is no JPEG,,,,",
    ]
    exif = Exif("2026-06-01T10:15:00", 50.5, -7.25, "=1+1")
    row = written("csv", replace(PREDICTION, exif=exif)).splitlines()[1]
    assert row.endswith(",0.750000,,2026-06-01T10:15:00,50.500000,-7.250000,'=1+1")


def test_csv_neutralises_formulas() -> None:
    text = written("csv", FailedPhoto("=cmd|' /C calc'!A0", "@sum"))

    assert text.splitlines()[1] == "'=cmd|' /C calc'!A0,,,,,,'@sum,,,,"


def test_json_is_a_list_also_of_nothing() -> None:
    results = json.loads(written("json", PREDICTION, FAILED))

    assert results == [PREDICTION.to_dict(), FAILED.to_dict()]
    assert json.loads(written("json")) == []


def test_json_lines() -> None:
    lines = written("jsonl", PREDICTION, FAILED).splitlines()

    assert [json.loads(line) for line in lines] == [PREDICTION.to_dict(), FAILED.to_dict()]


@pytest.mark.parametrize("encoding", ["ascii", "cp1250", "utf-8"])
@pytest.mark.parametrize("output_format", ["json", "jsonl"])
def test_json_is_json_in_any_encoding(encoding: str, output_format: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    failed = FailedPhoto("\xf1\U0001f343.jpg", "\xe9")

    write_records(iter([failed]), output_format, out, [])
    out.flush()

    text = out.buffer.getvalue().decode(encoding)
    content = json.loads(text)
    first = content[0] if output_format == "json" else content
    assert first == {"photo": "\xf1\U0001f343.jpg", "error": "\xe9"}
    assert ("\U0001f343" in text) == (encoding == "utf-8")
