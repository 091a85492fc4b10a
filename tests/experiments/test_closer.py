"""Source sizes and lesions held, measured on rendered leaves with the tiny network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments import closer, detail, publishing
from leafzoom.dataset.split import read_split
from tools.closer_tables import detail as detail_table
from tools.closer_tables import lesions_held, source_sizes


def test_sizes_and_lesions_are_measured_and_drawn(
    trained: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closer, "_SIDES", {"lesions640": (96, 640)})
    result = closer.measure_closer(str(trained), leaves, {"lesions640": leaves})

    entry = result["sets"]["lesions640"]
    assert entry["photographs"] == 60
    assert 0 < entry["unseen"] < 60
    # The copy is the same photograph, so it gets the same answer.
    rows = entry["all"]
    assert list(rows) == ["competition's copy", "96", "640"]
    assert rows["competition's copy"] == rows["96"]
    assert rows["640"]["less 96"]["interval"][0] <= rows["640"]["less 96"]["difference"]

    assert list(entry["lesions"]) == ["96", "640"]
    looks = entry["lesions"]["640"]["looks"]
    assert set(looks) == {"scale2", "scale3", "closest"}
    assert looks["closest"]["learned"]["area"] == pytest.approx(0.06, rel=0.01)

    # 3 rows of all photographs and of the unseen; 3 looks of 5 boxes.
    assert len(source_sizes(result)) == 2 + 6 + 2
    assert len(lesions_held(result)) == 2 + 15

    monkeypatch.setattr(publishing, "figure_path", lambda name: tmp_path / f"{name}.svg")
    assert closer.draw(result).read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_runs_are_measured_only_on_photographs_that_they_have_not_seen(
    trained: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arm's rows are means over its seeds; a run that has seen a photograph is refused."""
    with pytest.raises(ValueError, match="was trained on photographs of"):
        detail.measure_arm([trained], leaves, [leaves])

    # The test part alone, twice: the second set adds no photograph.
    test_part = read_split(trained / "split.json").test
    sharp = tmp_path / "sharp"
    shutil.copytree(leaves, sharp)
    header, *rows = (sharp / "train.csv").read_text().splitlines()
    kept = [row for row in rows if row.partition(",")[0] in test_part]
    (sharp / "train.csv").write_text("\n".join([header, *kept]))
    monkeypatch.setattr(detail, "_LARGEST_SIDES", (640, 384))

    arm = detail.measure_arm([trained, trained], leaves, [sharp, sharp])
    assert arm["photographs"] == len(test_part)
    assert arm["seeds"] == 2
    assert arm["by_seed"][0] == arm["by_seed"][1] == arm["exact_match"]
    # The copy is the same photograph, so it gets the same answer.
    assert arm["exact_match"]["competition's copy"] == arm["exact_match"]["256"]

    table = detail_table({"command": "python -m experiments.detail", "arms": {"arm": arm}})
    assert len(table) == 2 + 1 + 2
