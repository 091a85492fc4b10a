"""Which file of a folder is its table: any case, nothing that other programs leave there."""

from __future__ import annotations

from pathlib import Path

import pytest

from leafzoom.dataset.table_files import find_csv
from leafzoom.errors import DataError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train.csv", "labels.csv", "x.csv"), "train.csv"),
        (("Train.CSV", "labels.csv"), "Train.CSV"),
        (("LABELS.CSV", "x.csv"), "LABELS.CSV"),
        (("mine.CSV", ".mine.CSV", "._mine.CSV", ".~lock.mine.csv#"), "mine.CSV"),
        (("mine.csv", "Lesions.CSV"), "mine.csv"),
        (("mine.tsv",), "mine.tsv"),
        (("mine.csv", "mine.xlsx", "~$mine.xlsx"), "mine.csv"),
        (("mine.xlsx", "~$mine.xlsx", ".mine.xlsx"), "mine.xlsx"),
        (("train.csv", "TRAIN.csv"), "train.csv"),
    ],
)
def test_the_table_of_a_folder(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    assert find_csv(tmp_path) == tmp_path / expected


@pytest.mark.parametrize("names", [(), (".train.csv",), ("a.csv", "b.CSV"), ("lesions.csv",)])
def test_no_table_or_several(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="name it with --csv, or give each class a folder"):
        find_csv(tmp_path)
