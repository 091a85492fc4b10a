"""The data set of leaves on other grounds: which photographs from elsewhere are held out."""

from __future__ import annotations

import csv
from pathlib import Path

from tools.varied_data import hold_out, write_labelled_folder


def labelled_folder(folder: Path, names: dict[str, str]) -> Path:
    """A folder of files that hold their own names, with labels.csv."""
    (folder / "images").mkdir(parents=True)
    for name in names:
        (folder / "images" / name).write_text(name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *names.items()])
    return folder


def test_the_last_quarter_of_every_label_is_held_out_by_camera_number(tmp_path: Path) -> None:
    names = {f"x__{code}__CAM_{number}.JPG": "scab" for number, code in enumerate("hgfedcba")}
    names |= {f"y__CAM_{number}.JPG": "rust" for number in (11, 9, 100, 2)}
    folder = labelled_folder(tmp_path / "elsewhere", names)

    trained, held_out = hold_out(folder)

    assert set(held_out) == {
        ("x__b__CAM_6.JPG", "scab"),
        ("x__a__CAM_7.JPG", "scab"),
        ("y__CAM_100.JPG", "rust"),
    }
    assert sorted(trained + held_out) == sorted(names.items())


def test_a_labelled_folder_of_some_photographs(tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "elsewhere", {"1.jpg": "rust scab", "2.jpg": "healthy"})

    write_labelled_folder(folder, [("1.jpg", "rust scab")], tmp_path / "out")

    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["1.jpg"]
    assert (tmp_path / "out" / "images" / "1.jpg").read_text() == "1.jpg"
    assert (tmp_path / "out" / "labels.csv").read_text().split() == [
        "image,labels",
        "1.jpg,rust",
        "scab",
    ]
