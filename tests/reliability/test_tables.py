"""Tables that somebody brings: what cannot be meant is refused or reported by row, and nothing is dropped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError


def folder_with(tmp_path: Path, content: bytes, *images: str) -> Path:
    """A data folder with a table and some photographs."""
    data = tmp_path / "data"
    for image in images:
        (data / "images" / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(data / "images" / image)
    data.mkdir(exist_ok=True)
    (data / "train.csv").write_bytes(content)
    return data


def reported(tmp_path: Path, rows: str, *images: str) -> dict[int, str]:
    """{row: what is wrong with it}, each one line that names table and row."""
    table = read_table(folder_with(tmp_path, b"image,labels\n" + rows.encode(), *images))
    for problem in table.problems:
        line = str(problem)
        assert line.startswith(f"{table.csv} row {problem.line}: ")
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert len(line) < 800
    with pytest.raises(DataError, match=rf"train\.csv row {min(p.line for p in table.problems)}: "):
        table.require_clean()
    return {problem.line: problem.what for problem in table.problems}


def refusal(tmp_path: Path, content: bytes) -> str:
    """The one line with which a whole table is refused."""
    data = folder_with(tmp_path, content)
    with pytest.raises(DataError) as error:
        read_table(data).require_clean()
    line = str(error.value)
    assert str(data / "train.csv") in line
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert len(line) < 800
    return line


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/etc/hostname", "points outside the data folder"),
        ("../outside.png", "points outside the data folder"),
        ("a/../../outside.png", "points outside the data folder"),
        ("~/outside.png", "points outside the data folder"),
        ("~root/outside.png", "points outside the data folder"),
        ("//server/share/a.png", "points outside the data folder"),
        ("\\\\server\\share\\a.png", "backslash"),
        ("C:\\leaves\\a.png", "backslash"),
        ("a.png\0.png", "NUL"),
        ("\0", "NUL"),
        ("x" * 90_000, "File name too long|does not exist"),
        ("images", "does not exist"),
        ("", "names no photograph"),
        ("a\nb.png", "does not exist"),
        ("gone.png", "does not exist"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_name_that_leads_nowhere_or_out_is_reported_by_its_row(tmp_path: Path, name: str, says: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    end = 3 + name.count("\n")
    found = reported(tmp_path, f'a.png,scab\n"{name}",rust\nb.png,rust\n', "a.png", "b.png")
    assert list(found) == [end]
    assert re.search(says, found[end])


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not_a_second_photograph(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (8, 8)).save(secret / "s.png")
    data = folder_with(tmp_path, b"", "a.png", "sub/c.png")
    (data / "images" / "file.png").symlink_to(secret / "s.png")
    (data / "images" / "folder").symlink_to(secret)
    (data / "images" / "chain.png").symlink_to("file.png")
    (data / "images" / "loop.png").symlink_to("loop.png")
    (data / "images" / "same.png").symlink_to("a.png")
    (data / "images" / "within.png").symlink_to("sub/c.png")
    names = ("a.png", "file.png", "folder/s.png", "chain.png", "loop.png", "same.png", "within.png")
    text = "image,labels\n" + "".join(f"{name},scab\n" for name in names)
    (data / "train.csv").write_text(text)
    table = read_table(data)
    assert table.images == ("a.png", "within.png")
    found = {problem.image: problem.what for problem in table.problems}
    for name in ("file.png", "folder/s.png", "chain.png"):
        assert "is a link out of the data folder" in found[name]
    assert "does not exist" in found["loop.png"] or "cannot be looked up" in found["loop.png"]
    assert "is the photograph of row 2" in found["same.png"]


def test_duplicates_name_the_first_row_and_a_conflict_its_labels(tmp_path: Path) -> None:
    rows = "a.png,scab\na.png,scab\na.png,rust\n./a.png,rust scab\nb.png,rust\nimages/b.png,rust\n"
    found = reported(tmp_path, rows, "a.png", "b.png")
    assert list(found) == [3, 4, 5, 7]
    assert found[3] == "is in row 2 already: keep one of them"
    assert found[4] == "is in row 2 already, with other labels (scab): keep the one that is right"
    assert found[5] == "is the photograph of row 2, with other labels (scab): keep the one that is right"
    assert found[7] == "is the photograph of row 6: keep one of them"


def test_no_label_is_dropped_or_changed_without_a_word(tmp_path: Path) -> None:
    rows = 'a.png,scab,rust\nb.png,scab,\nc.png,"scab,\nrust"\nd.png,ru\u200bst\ne.png,scab\0\n'
    found = reported(tmp_path, rows, "a.png", "b.png", "c.png", "d.png", "e.png")
    assert list(found) == [2, 5, 6, 7]
    assert "has more cells than the table has columns ('rust'): separate labels by spaces" in found[2]
    assert "labels with a comma ('scab,\\nrust')" in found[5]
    assert "a label with a character that cannot be seen ('ru\\u200bst')" in found[6]
    assert "a label with a character that cannot be seen ('scab\\x00')" in found[7]


def test_a_quote_that_is_not_closed_hides_no_rows(tmp_path: Path) -> None:
    found = reported(
        tmp_path, 'a.png,scab\nb.png,"scab\nc.png,rust\nd.png,rust\n', "a.png", "b.png", "c.png", "d.png"
    )
    assert list(found) == [5]
    assert "c.png" in found[5]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_bom_and_any_line_end_are_read(tmp_path: Path, bom: bytes, end: bytes) -> None:
    content = bom + end.join([b"image,labels", "blätter/ä.png,scab rust".encode(), b"b.png,", b""])
    table = read_table(folder_with(tmp_path, content, "blätter/ä.png", "b.png")).require_clean()
    assert [(row.image, row.labels) for row in table.rows] == [("blätter/ä.png", ("scab", "rust")), ("b.png", ())]


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("latin-1", "row 3: cannot be read as UTF-8 text"),
        ("cp1252", "row 3: cannot be read as UTF-8 text"),
        ("shift-jis", "row 3: cannot be read as UTF-8 text"),
        ("utf-16", "row 1: cannot be read as UTF-8 text"),
        ("utf-16-le", "missing"),
        ("utf-32-be", "missing"),
    ],
)
def test_other_encodings_are_refused_with_the_row(tmp_path: Path, encoding: str, says: str) -> None:
    word = {"shift-jis": "リンゴ", "utf-16-le": "leaf", "utf-32-be": "leaf"}.get(encoding, "blätter")
    assert says in refusal(tmp_path, f"image,labels\na.png,scab\n{word}.png,scab\n".encode(encoding))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image,labels\na.png," + b"x" * 10_000_000, "row 2: a line of 10000006 characters"),
        (
            b"image,labels\na.png,scab\n" + b"y" * 10_000_000 + b"\nb.png,scab\n",
            "row 3: a line of 10000000 characters",
        ),
        (b"x" * 10_000_000, "row 1: a line of 10000000 characters"),
        (b'image,labels\na.png,"' + b"word\n" * 2_000_000, "field larger than field limit"),
        (b"\xef\xbb\xbf\xef\xbb\xbfimage,labels\na.png,scab\n", "'\\ufeffimage', labels: image missing"),
        (b'"ima\nge",labels\na.png,scab\n', "'ima\\nge', labels: image missing"),
        (b",".join(b"column%d" % n for n in range(5000)) + b"\n", "and 4990 more: image and labels missing"),
        (b"\0\0\0\0", "missing"),
    ],
    ids=["labels", "name", "header", "quoted", "bom", "line-end", "columns", "nul"],
)
def test_monsters_are_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(tmp_path, content)
