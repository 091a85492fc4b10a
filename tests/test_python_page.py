"""docs/python.md: its examples run, and its tables are complete."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

import leafzoom
from conftest import run_command
from leafzoom.model_file.bundled import bundled_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
OWN_NAME = re.compile(r"leafzoom\[([a-z,]+)\]")


def rows_below(heading: str) -> list[str]:
    """The first cells of the table in a section."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_its_examples_run(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """One after the other, as a reader types them, with the shipped model."""
    photos = sorted((leaves / "train_images").iterdir())[:4]
    (tmp_path / "orchard").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "orchard")
    shutil.copy(photos[0], tmp_path / "leaf.jpg")
    monkeypatch.chdir(tmp_path)

    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)

    assert (tmp_path / "diagnosis.png").is_file()
    shown = capsys.readouterr().out
    assert "(4, 3840)" in shown
    assert "probability_scab" in shown
    assert callable(names["write_lines"])


def test_every_extra_has_its_row_and_all_has_every_extra() -> None:
    assert rows_below("Installing") == list(EXTRAS)
    (own,) = EXTRAS["all"]
    match = OWN_NAME.fullmatch(own)
    assert match
    assert match[1].split(",") == [name for name in EXTRAS if name not in ("all", "docs", "dev")]
    assert "leafzoom[all,docs]" in EXTRAS["dev"]


def test_every_variable_that_is_read_has_its_row() -> None:
    named = rows_below("Environment variables")
    read = set()
    for path in (ROOT / "src").rglob("*.py"):
        read |= set(re.findall(r'"(LEAFZOOM_[A-Z]+)"', path.read_text(encoding="utf-8")))
    assert {"LEAFZOOM_MODEL", "LEAFZOOM_CACHE"} <= read <= set(named)


def test_a_variable_names_the_model(leaves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of commands and of Python; what is named otherwise comes first, and empty is none."""
    golden = ROOT / "tests" / "golden" / "model-format-1.onnx"
    shipped = run_command("info", "bundled").stdout
    monkeypatch.setenv("LEAFZOOM_MODEL", str(golden))
    assert run_command("info").stdout == run_command("info", golden).stdout != shipped
    assert run_command("info", "bundled").stdout == shipped
    assert leafzoom.load().network.manifest.name == "golden"
    assert leafzoom.load("bundled").network.manifest.name == "apple-leaves"

    photo = leaves / "train_images" / "leaf-00000.jpg"
    named = run_command("predict", photo, "--format", "csv", "--model", bundled_model()).stdout
    assert run_command("predict", photo, "--format", "csv").stdout != named

    monkeypatch.setenv("LEAFZOOM_MODEL", "")
    assert run_command("info").stdout == shipped
    assert leafzoom.load().network.manifest.name == "apple-leaves"
