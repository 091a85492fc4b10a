"""`leafzoom review`: the queue, its exports, resuming, kills, and a new table."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from conftest import failure_line, run_command
from leafzoom.dataset.table import read_table
from leafzoom.review import build
from leafzoom.review.decisions import read_decisions


def test_conflicting_copies_come_first_and_the_page_says_what_was_ranked(reviewed: Path) -> None:
    content = json.loads((reviewed / "review.json").read_text())
    names = [item["image_name"] for item in content["items"]]

    assert "copy.jpg" in names[:2]
    assert content["items"][0]["twin"] == names[1]
    assert content["photographs"] == 61
    assert "five folds" in content["ranked"]
    assert "trained on 4" in content["ranked"]
    assert sum("label" in item["kinds"] for item in content["items"]) == 8
    assert sum("unlabelled" in item["kinds"] for item in content["items"]) == 4


def test_the_same_review_is_not_made_again(
    trained: Path, mistaken: Path, reviewed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("the review is made again")

    monkeypatch.setattr(build, "build_review", fail)
    new = mistaken / "train_images" / "new"
    words = ("review", trained, "--data", mistaken, "--out", reviewed, "--no-page")

    result = run_command(*words, "--top", 8, "--unlabelled", new)
    assert result.exit_code == 0, result.output
    with pytest.raises(AssertionError, match="made again"):
        run_command(*words, "--top", 9, "--unlabelled", new)


def test_a_killed_page_has_lost_nothing(trained: Path, mistaken: Path, reviewed: Path) -> None:
    """SIGKILL after every few answers; what was answered is in the file, and the page goes on."""
    new = mistaken / "train_images" / "new"
    command = [sys.executable, "-m", "leafzoom", "review", str(trained), "--data", str(mistaken)]
    command += ["--out", str(reviewed), "--top", "8", "--unlabelled", str(new), "--port", "0"]

    saved: set[str] = set()
    for start in (0, 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert process.stdout
        address = None
        while address is None:
            line = process.stdout.readline()
            assert line, "the page did not start"
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
        url = address[0]
        items = httpx.get(f"{url}/api/review", timeout=60).json()["items"]
        for number in range(start, start + 3):
            answer = httpx.put(
                f"{url}/api/decisions/{number}", json={"choice": "unsure"}, timeout=60
            )
            assert answer.status_code == 200
            saved.add(items[number]["image_name"])
        process.send_signal(signal.SIGKILL)
        process.wait(60)

        rows = read_decisions(reviewed / "review.csv")
        assert {row.decision.image_name for row in rows} == saved
    (reviewed / "review.csv").unlink()


def test_two_reviews_do_not_write_one_file(trained: Path, mistaken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / "lock"):
        result = run_command("review", trained, "--data", mistaken, "--out", out, "--no-page")
    assert "another leafzoom review is open" in failure_line(result, 1)


def test_decisions_become_a_new_table(mistaken: Path, tmp_path: Path) -> None:
    before = (mistaken / "train.csv").read_bytes()
    row = read_table(mistaken).rows[-1]
    given = " ".join(row.labels)
    file = tmp_path / "review.csv"
    header = "image,decision,labels,given\n"
    file.write_text(f"{header}{row.image_name},leave_out,{given},{given}\n")

    result = run_command("review", "--data", mistaken, "--apply", file)

    assert result.exit_code == 0, result.output
    path = tmp_path / "train-reviewed.csv"
    assert f"{path}: 0 rows changed, 1 left out" in result.stdout
    names = read_table(mistaken, path).image_names
    assert row.image_name not in names
    assert len(names) == 60
    assert (mistaken / "train.csv").read_bytes() == before


def test_an_unknown_label_names_its_row_and_writes_nothing(mistaken: Path, tmp_path: Path) -> None:
    row = read_table(mistaken).rows[0]
    file = tmp_path / "review.csv"
    header = "image,decision,labels,given\n"
    file.write_text(f"{header}{row.image_name},change,ring_spott,{' '.join(row.labels)}\n")

    result = run_command("review", "--data", mistaken, "--apply", file)

    line = failure_line(result, 1)
    assert f"{file} row 2: {row.image_name!r} has the unknown label 'ring_spott'" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["review.csv"]


def test_what_is_missing_is_said(trained: Path, mistaken: Path, tmp_path: Path) -> None:
    assert "--out is missing" in failure_line(run_command("review", "--data", mistaken), 2)

    result = run_command(
        *("review", trained, "--data", mistaken, "--out", tmp_path, "--no-page"),
        *("--split", "inner-validation"),
    )
    assert "a ranking needs 20" in failure_line(result, 1)

    images = mistaken / "train_images"
    few = tmp_path / "few"
    few.mkdir()
    (few / "known.jpg").symlink_to(images / "copy.jpg")
    result = run_command(
        *("review", trained, "--data", mistaken, "--out", tmp_path, "--no-page"),
        *("--unlabelled", few),
    )
    assert "has no photo without a row" in failure_line(result, 1)
