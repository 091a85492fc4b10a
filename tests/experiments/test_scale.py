"""The programs that measure many photos, on few."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import many_photos, million, process_watch, ray_scale


def test_links_are_to_the_rendered_photos(leaves: Path, tmp_path: Path) -> None:
    folder = ray_scale.linked_photos(leaves, tmp_path / "many", 130)
    photos = sorted(folder.iterdir())
    assert len(photos) == 130
    assert photos[0].samefile(photos[60])
    assert not photos[0].samefile(photos[1])


def test_parts_of_a_diagnosis_are_measured(
    early_exit_run: Path, leaves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "million.json"
    words = [str(leaves), str(leaves), "--count", "4", "--model", str(early_exit_run)]
    million.main([*words, "--out", str(out)])

    entry = json.loads(out.read_text())["cpu"]
    first, second = entry["folders"]
    assert first["photos"] == second["photos"] == 4
    assert first["mean_megapixels"] == 0.01
    assert 0 < first["first_look_ms"] < first["all_looks_ms"]
    assert first["decode_ms"] > 0
    assert 0 <= entry["stop_share"] <= 1


def test_a_run_is_watched_and_killed(tmp_path: Path) -> None:
    run = process_watch.run_watched(["--help"], tmp_path / "help.txt")
    assert (run.exit_code, run.killed) == (0, False)
    assert "predict" in (tmp_path / "help.txt").read_text()

    run = process_watch.run_watched(["info"], tmp_path / "x", lambda: "driver")
    assert run.killed
    assert run.exit_code == -9
    assert run.peak_mb["driver"] > 0
    assert run.seconds > 0


@pytest.mark.slow
def test_kills_leave_the_results_of_one_run(trained: Path, tmp_path: Path) -> None:
    measured = many_photos.measure(tmp_path, 60, 2, str(trained))
    assert measured["exit_codes"] == [0, 0]
    assert measured["resumed_equals_whole"] is True
    assert measured["kills"] >= 1
    assert len(measured["memory_mb_at_tenths"]) >= 1


@pytest.mark.slow
def test_ray_is_measured_beside_the_local_engine(trained: Path, tmp_path: Path) -> None:
    measured = ray_scale.measure(tmp_path, 160, 96, str(trained))
    many = measured["sizes"]["many"]
    assert many["photos"] == 160
    assert many["exit_codes"] == [0, 0]
    assert many["throughput_ratio"] > 0
    killed = measured["killed_worker"]
    assert (killed["photos"], killed["rows"]) == (160, 160)
    assert (killed["lost"], killed["doubled"]) == (0, 0)
