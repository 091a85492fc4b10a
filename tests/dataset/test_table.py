"""Tables of labels: every row is read in one way, or reported with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import save_photo, write_data_folder
from leafzoom.dataset.table import Table, read_table
from leafzoom.errors import DataError

MAX_MESSAGE_CHARACTERS = 800


def check_message(message: str) -> None:
    """A message is one short line that a terminal can show."""
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < MAX_MESSAGE_CHARACTERS


def reasons_by_line(table: Table) -> dict[int, str]:
    """Why each row of a table cannot be used, with a check of the messages."""
    for problem in table.problems:
        message = str(problem)
        assert message.startswith(f"{table.csv} row {problem.line}: ")
        check_message(message)

    first_line = min(problem.line for problem in table.problems)
    with pytest.raises(DataError, match=rf"train\.csv row {first_line}: "):
        table.require_clean()
    return {problem.line: problem.reason for problem in table.problems}


def refusal(folder: Path, content: bytes) -> str:
    """The message with which a whole table is refused."""
    write_data_folder(folder, content)
    with pytest.raises(DataError) as error:
        read_table(folder).require_clean()

    message = str(error.value)
    assert str(folder / "train.csv") in message
    check_message(message)
    return message


# Whole tables


def test_own_csv_and_folder(tmp_path: Path) -> None:
    content = "\ufeffimage,labels\r\na.png,scab rust\r\nsub/b.png,\r\n"
    (tmp_path / "mine.csv").write_bytes(content.encode())
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "images" / "sub" / "b.png")

    table = read_table(tmp_path).require_clean()
    assert [(row.line, row.image_name, row.labels) for row in table.rows] == [
        (2, "a.png", ("scab", "rust")),
        (3, "sub/b.png", ()),
    ]

    labels = table.label_set()
    assert labels.names == ("rust", "scab")
    assert labels.combinations == ((0, 0), (1, 1))
    assert table.targets(labels).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"image,kind\na.png,scab\n",
            "columns image and labels and has image, kind: labels missing",
        ),
        (b"", "has no columns"),
        (b"image,labels\n", "has no photographs"),
    ],
)
def test_tables_without_labelled_photographs(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path, content)


def test_folders_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has to hold train\.csv or one CSV .* and has none"):
        read_table(tmp_path)

    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").touch()
    with pytest.raises(DataError, match="has 2 of them: name it with --csv"):
        read_table(tmp_path)

    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nowhere")


def test_lesions_are_not_taken_for_the_table_of_labels(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png")
    (tmp_path / "my-leaves.csv").write_text("image,labels\na.png,scab\n")
    (tmp_path / "lesions.csv").write_text("image,x0,y0,x1,y1\na.png,1,2,3,4\n")
    assert read_table(tmp_path).image_names == ("a.png",)


def test_unknown_label_where_the_recipe_fixes_them(leaves: Path) -> None:
    message = r"train.csv row 3: unknown label 'ring_spot': the labels are healthy, rust"
    with pytest.raises(DataError, match=message):
        read_table(leaves).label_set(("healthy", "rust"))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_bom_and_any_line_end_are_read(tmp_path: Path, bom: bytes, end: bytes) -> None:
    lines = [b"image,labels", "blätter/ä.png,scab rust".encode(), b"b.png,", b""]
    data = write_data_folder(tmp_path, bom + end.join(lines), "blätter/ä.png", "b.png")

    table = read_table(data).require_clean()
    assert [(row.image_name, row.labels) for row in table.rows] == [
        ("blätter/ä.png", ("scab", "rust")),
        ("b.png", ()),
    ]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("latin-1", "row 3: cannot be read as UTF-8 text"),
        ("cp1252", "row 3: cannot be read as UTF-8 text"),
        ("shift-jis", "row 3: cannot be read as UTF-8 text"),
        ("utf-16-le", "row 1: has NUL"),
        ("utf-32-be", "row 1: has NUL"),
    ],
)
def test_other_encodings_are_refused_with_the_row(
    tmp_path: Path, encoding: str, message: str
) -> None:
    words = {"shift-jis": "リンゴ", "utf-16-le": "leaf", "utf-32-be": "leaf"}
    word = words.get(encoding, "blätter")
    content = f"image,labels\na.png,scab\n{word}.png,scab\n"
    assert message in refusal(tmp_path, content.encode(encoding))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"image,labels\na.png," + b"x" * 10_000_000,
            "row 2: a line of 10000006 characters",
            id="labels",
        ),
        pytest.param(
            b"image,labels\na.png,scab\n" + b"y" * 10_000_000 + b"\nb.png,scab\n",
            "row 3: a line of 10000000 characters",
            id="name",
        ),
        pytest.param(b"x" * 10_000_000, "row 1: a line of 10000000 characters", id="header"),
        pytest.param(
            b'image,labels\na.png,"' + b"word\n" * 2_000_000,
            "field larger than field limit",
            id="quoted",
        ),
        pytest.param(
            b'"ima\nge",labels\na.png,scab\n', "'ima\\nge', labels: image missing", id="line-end"
        ),
        pytest.param(
            b",".join(b"column%d" % number for number in range(5000)) + b"\n",
            "and 4990 more: image and labels missing",
            id="columns",
        ),
        pytest.param(b"\0\0\0\0", "row 1: has NUL", id="nul"),
    ],
)
def test_monsters_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path, content)


# Rows


def test_problems_name_the_row(tmp_path: Path) -> None:
    outside = save_photo(tmp_path / "other" / "secret.png")
    content = (
        "image,labels\nok.png,scab\ngone.png,scab\n../x.png,scab\n/etc/passwd,scab\nok.png,rust\n"
        ",scab\nlink.png,rust\na\\b.png,rust\n~/x.png,rust\n"
    )
    data = write_data_folder(tmp_path / "data", content, "ok.png")
    (data / "images" / "link.png").symlink_to(outside)

    table = read_table(data)
    assert table.image_names == ("ok.png",)

    expected_reasons = {
        3: "does not exist",
        4: "outside the data folder",
        5: "outside the data folder",
        6: "is in row 2 already",
        7: "names no photograph",
        8: "link out of the data folder",
        9: "backslash",
        10: "outside",
    }
    reasons = {problem.line: problem.reason for problem in table.problems}
    assert set(reasons) == set(expected_reasons)
    for line, expected in expected_reasons.items():
        assert expected in reasons[line].split(":")[0]

    message = r"train.csv row 3: 'gone.png' does not exist .*\(7 more: `leafzoom prepare`"
    with pytest.raises(DataError, match=message):
        table.require_clean()


def test_rows_with_lost_labels_or_a_second_name_are_reported(tmp_path: Path) -> None:
    content = 'image,labels\na.png,scab\n./a.png,rust\nb.png\nc.png,"scab,rust"\n'
    data = write_data_folder(tmp_path, content, "a.png", "b.png", "c.png")
    reasons = reasons_by_line(read_table(data))
    assert "is the photograph of row 2" in reasons[3]
    assert "has no labels column" in reasons[4]
    assert "separate labels by spaces" in reasons[5]

    (data / "train.csv").write_text("image,labels,labels\na.png,scab,rust\n")
    with pytest.raises(DataError, match="has a column twice"):
        read_table(data)


def test_duplicates_name_the_first_row_and_a_conflict_its_labels(tmp_path: Path) -> None:
    content = (
        "image,labels\na.png,scab\na.png,scab\na.png,rust\n./a.png,rust scab\n"
        "b.png,rust\nimages/b.png,rust\n"
    )
    data = write_data_folder(tmp_path, content, "a.png", "b.png")
    assert reasons_by_line(read_table(data)) == {
        3: "is in row 2 already: keep one of them",
        4: "is in row 2 already, with other labels (scab): keep the one that is right",
        5: "is the photograph of row 2, with other labels (scab): keep the one that is right",
        7: "is the photograph of row 6: keep one of them",
    }


def test_no_label_is_silently_dropped_or_changed(tmp_path: Path) -> None:
    content = (
        'image,labels\na.png,scab,rust\nb.png,scab,\nc.png,"scab,\nrust"\nd.png,ru\u200bst\n'
        "e.png,scab\0\n"
    )
    image_names = [f"{letter}.png" for letter in "abcde"]
    reasons = reasons_by_line(read_table(write_data_folder(tmp_path, content, *image_names)))
    assert list(reasons) == [2, 5, 6, 7]

    more_cells = "has more cells than the table has columns ('rust'): separate labels by spaces"
    assert more_cells in reasons[2]
    assert "labels with a comma ('scab,\\nrust')" in reasons[5]
    assert "a label with a character that cannot be seen ('ru\\u200bst')" in reasons[6]
    assert "a label with a character that cannot be seen ('scab\\x00')" in reasons[7]


def test_a_quote_that_is_not_closed_hides_no_rows(tmp_path: Path) -> None:
    content = 'image,labels\na.png,scab\nb.png,"scab\nc.png,rust\nd.png,rust\n'
    image_names = [f"{letter}.png" for letter in "abcd"]
    reasons = reasons_by_line(read_table(write_data_folder(tmp_path, content, *image_names)))
    assert list(reasons) == [5]
    assert "c.png" in reasons[5]


def test_the_first_row_without_exactly_one_label_is_named(tmp_path: Path) -> None:
    """First in the file, whatever the order in which the rows are taken."""
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    text = "image,labels\na.jpg,rust\nb.jpg,rust scab\nc.jpg,\nd.jpg,scab\n"
    table = read_table(write_data_folder(tmp_path, text, *names))

    with pytest.raises(DataError) as error:
        table.take(["d.jpg", "c.jpg", "b.jpg"]).require_one_label()
    message = str(error.value)
    assert "train.csv row 3: 'b.jpg' has 2 labels (rust scab)" in message
    assert "(one of 2 such rows)" in message
    assert "train with model.loss sigmoid" in message

    with pytest.raises(DataError, match=r"row 4: 'c\.jpg' has no label"):
        table.take(["c.jpg"]).require_one_label()
    assert len(table.take(["a.jpg", "d.jpg"]).require_one_label()) == 2
