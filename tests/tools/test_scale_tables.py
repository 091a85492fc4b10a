"""The tables of docs/scale.md: their arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from tools import scale_tables

FOLDER = {
    "photos": 10,
    "mean_bytes": 1_000_000,
    "mean_megapixels": 12.0,
    "decode_ms": 32.0,
    "all_looks_ms": 40.0,
    "first_look_ms": 10.0,
}
CPU = {"folders": [FOLDER], "stop_share": 0.75, "command": "python -m experiments.million X"}


def cells(line: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_hours_are_milliseconds_of_the_parts_by_cores() -> None:
    lines = scale_tables.million({"name": "million", "cpu": CPU})

    # 72 ms a photo: 20 h of one core; 8 ms for a megabyte at 125 MB/s: 2.2 h.
    assert cells(lines[2])[2:] == ["72.0", "20.0 h", "1.2 h", "0.3 h", "2.2 h, from 9 cores on"]
    # 32 + 10 + a quarter of 40.
    assert cells(lines[3])[1:4] == ["`--early-exit`", "52.0", "14.4 h"]
    assert "A GPU was not measured" in lines[-1]
    assert "take at least 0.6 h" in lines[-1]  # decoding on 16 cores: 2 ms
    assert "the 25% of the photos" in lines[-1]


@pytest.mark.parametrize(("looks_ms", "hours"), [(1.0, "0.6 h"), (9.0, "2.5 h")])
def test_a_gpu_waits_for_decoding_or_decoding_for_it(looks_ms: float, hours: str) -> None:
    gpu: dict[str, Any] = {"folders": [{**FOLDER, "all_looks_ms": looks_ms}]}
    lines = scale_tables.million({"name": "million", "cpu": CPU, "cuda": gpu})
    assert f"take {hours}." in lines[-1]


def test_a_model_without_an_early_exit_has_one_row_a_folder() -> None:
    cpu = {"folders": [FOLDER], "command": "x"}
    lines = scale_tables.million({"name": "million", "cpu": cpu})
    assert len([line for line in lines if line.startswith("| 12.0")]) == 1


def test_ray_has_a_row_a_size_and_the_killed_worker() -> None:
    size = {
        "photos": 2000,
        "throughput_ratio": 0.914,
        "local_mb": 500,
        "ray_driver_mb": 420,
        "ray_worker_mb": 380,
    }
    killed = {"rows": 2000, "photos": 2000, "lost": 0, "doubled": 0}
    lines = scale_tables.ray(
        {
            "command": "python -m experiments.ray_scale",
            "sizes": {"few": size, "many": {**size, "photos": 20_000}},
            "further_photos_ratio": 0.97,
            "killed_worker": killed,
            "photo_px": 640,
            "machine": {"cores": 2},
        }
    )
    assert cells(lines[3]) == ["20,000", "0.91", "500 MB", "420 MB", "380 MB"]
    assert "at 0.97 of the local engine's rate" in lines[-1]
    assert "0 lost, 0 doubled" in lines[-1]
