"""`leafzoom prepare`: counts, pairs and rows that cannot be used, as text, JSON and page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image

from conftest import run_command


def read_report(folder: Path) -> tuple[dict[str, object], str]:
    """`prepare.json` and the page."""
    report = json.loads((folder / "prepare.json").read_text())
    page = (folder / "index.html").read_text(encoding="utf-8")
    return report, page


def test_prepare_reports_counts_and_known_lesions(leaves: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    folders = ("--out", out, "--cache", tmp_path / "cache")
    result = run_command("prepare", "--data", leaves, "--source-size", 96, *folders)
    assert result.exit_code == 0, result.output
    assert "60 photographs" in result.output
    assert "0 pairs of near-duplicates" in result.output
    assert "45 known lesions on 45 photographs" in result.output

    report, page = read_report(out)
    assert report["photographs"] == 60
    assert report["combinations"]["healthy"] == 15
    assert report["problems"] == report["near_duplicates"] == []

    # The combinations take turns.
    assert page.count('<figure><img src="data:image/jpeg;base64,') == 24
    assert page.count("<b>ring spot + solid spot</b>") == 6
    assert "By combination of labels" in page
    assert "Rows that cannot be used" not in page


def test_prepare_shows_pairs_with_different_labels_first(leaves: Path, tmp_path: Path) -> None:
    """One picture twice with the same label, one twice with different labels."""
    (tmp_path / "images").mkdir()
    rows = ["image,labels"]
    photographs = [(1, "a"), (1, "a"), (2, "a"), (2, "b<"), (3, "")]
    for number, (leaf, label) in enumerate(photographs):
        source = leaves / "train_images" / f"leaf-{leaf:05d}.jpg"
        shutil.copy(source, tmp_path / "images" / f"{number}.jpg")
        rows.append(f"{number}.jpg,{label}")
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")

    result = run_command("prepare", "--data", tmp_path, "--out", tmp_path / "report")
    assert "2 pairs of near-duplicates, 1 of them with different labels" in result.output

    _, page = read_report(tmp_path / "report")
    assert page.count('<span class="bad">') == 2
    assert page.count("labelled differently</b>") == 1
    assert page.index("row 4, 2.jpg") < page.index("row 2, 0.jpg")

    # Labels are escaped.
    assert "b&lt;" in page
    assert "b<" not in page


def test_prepare_names_every_bad_row(tmp_path: Path) -> None:
    rows = "a.png,scab\nb.png,scab\nc.png,rust\n../d.png,rust\n"
    (tmp_path / "train.csv").write_text("image,labels\n" + rows)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "c.png")
    truncated = (tmp_path / "c.png").read_bytes()[:60]
    (tmp_path / "c.png").write_bytes(truncated)

    result = run_command("prepare", "--data", tmp_path, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "3 rows of" in result.stderr
    for row, image_name in ((3, "b.png"), (4, "c.png"), (5, "../d.png")):
        assert f"row {row}: {image_name!r}" in result.stderr

    report, page = read_report(tmp_path / "report")
    assert [problem["row"] for problem in report["problems"]] == [3, 4, 5]
    for row in (3, 4, 5):
        assert f"<tr><td>{row}</td>" in page

    # No row can be used.
    (tmp_path / "a.png").unlink()
    result = run_command("prepare", "--data", tmp_path, "--out", tmp_path / "none")
    assert result.exit_code == 1
    for row in (2, 3, 4, 5):
        assert f"row {row}:" in result.stderr
