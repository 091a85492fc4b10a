"""README.md: what it shows is what the program does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import needs_shared, run_command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photo of the README, straight from a camera."""
    shutil.copy(needs_shared("photos", "c7b03e718489f3ca.jpg"), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photo.jpg"


def shown_output(command: str) -> str:
    """What the README shows below a command."""
    match = re.search(rf"```console\n\$ {re.escape(command)}\n(.*?)```", README, re.DOTALL)
    assert match
    return match[1]


def without_last_digits(output: str) -> list[str]:
    """Lines with their numbers rounded, since processors differ in the last digits."""
    return [
        re.sub(r"\d+(\.\d+)?", lambda match: f"{float(match[0]) / 3:.0f}", line)
        for line in output.splitlines()
    ]


def test_its_output_is_that_of_the_command(photo: Path) -> None:
    shown = shown_output("leafzoom predict photo.jpg")
    printed = run_command("predict", photo.name).stdout
    assert without_last_digits(printed) == without_last_digits(shown)


def test_its_lines_of_python_run(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert "diagnosis ('frog_eye_leaf_spot',)" in capsys.readouterr().out
    assert Path("diagnosis.png").is_file()


def test_each_way_to_set_up_is_one_line() -> None:
    """CI runs the one of the tests, word for word."""
    lines = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    install, demo, check = lines
    assert install.endswith("pip install .")
    assert demo.endswith("leafzoom demo")
    assert check.endswith("tools/check")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -m 1 'tools/check$' README.md" in ci


def test_its_picture_stands_in_the_first_screen() -> None:
    lines = README.splitlines()
    (first, *_) = [number for number, line in enumerate(lines) if line.startswith("![")]
    assert first < 8
