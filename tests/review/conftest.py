"""Labels with known mistakes, and their review by a tiny model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from conftest import run_command
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.review.items import Review, read_review

COPY = "copy.jpg"
"""A photograph that is there twice, with other labels."""


def read_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="session")
def mistaken(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The leaves, one of them there again with other labels, and four without labels."""
    folder = tmp_path_factory.mktemp("mistaken") / "data"
    shutil.copytree(leaves, folder)
    rows = read_rows(folder / "train.csv")
    shutil.copy(folder / "train_images" / rows[1][0], folder / "train_images" / COPY)
    other = next(labels for _, labels in rows[1:] if labels != rows[1][1])
    rows.append([COPY, other])
    write_rows(folder / "train.csv", rows)

    new = write_leaves(folder.parent / "new", 4, size=96, seed=7)
    shutil.copytree(new / "train_images", folder / "train_images" / "new")
    return folder


@pytest.fixture(scope="session")
def reviewed(trained: Path, mistaken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a review of all of them, made through the command line."""
    out = tmp_path_factory.mktemp("reviewed") / "out"
    new = mistaken / "train_images" / "new"
    result = run_command(
        *("review", trained, "--data", mistaken, "--out", out, "--no-page"),
        *("--top", 8, "--unlabelled", new),
    )
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def queue(reviewed: Path) -> Review:
    """The review as the page gets it."""
    content = json.loads((reviewed / "review.json").read_text(encoding="utf-8"))
    return read_review(reviewed, content)
