"""Every program of tools/ and benchmarks/ explains itself."""

from __future__ import annotations

import importlib
import sys

import pytest

from tools.provenance import ROOT


def program_names() -> list[str]:
    """The modules with a command line."""
    paths = [*(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    return [
        f"{path.parent.name}.{path.stem}"
        for path in sorted(paths)
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


def test_programs_are_found() -> None:
    assert {"tools.tables", "tools.ship", "benchmarks.run"} <= set(program_names())


@pytest.mark.parametrize("name", program_names())
def test_help_says_what_the_program_answers(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "tools.load_test" and sys.platform != "linux":
        pytest.skip("the load test reads /proc")
    program = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as error:
        program.main()
    assert error.value.code == 0

    first_line = program.__doc__.splitlines()[0]
    assert first_line in capsys.readouterr().out
    assert f"python -m {name}" in program.__doc__


@pytest.mark.parametrize("folder", ["tools", "benchmarks"])
def test_the_folders_page_names_every_program(folder: str) -> None:
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for name in program_names():
        if name.startswith(folder):
            assert f"python -m {name}" in page
