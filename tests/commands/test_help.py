"""The help of every command: summaries, options, arguments and examples, walked from the tree."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import click
import pytest

from conftest import run_command
from leafzoom.cli import SUMMARIES, cli

TERMINAL_COLUMNS = 80
EXAMPLE_START = "leafzoom "


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def example_lines(help_text: str) -> list[str]:
    """The lines after `Example:` or `Examples:` up to an empty one."""
    words, _, rest = help_text.partition("Example")
    assert rest, f"no example in {words!r}"
    block = rest.removeprefix("s").removeprefix(":").split("\n\n")[0]
    return [line.strip() for line in block.splitlines() if line.strip()]


def command_words(line: str) -> list[str]:
    """The words after `leafzoom` of an example, without the shell's pipes and redirections."""
    called = line[line.index(EXAMPLE_START) :]
    words = shlex.split(called)[1:]
    ends = [words.index(sign) for sign in (">", "|") if sign in words]
    return words[: min(ends, default=len(words))]


def test_every_summary_fits_its_line_and_is_the_commands_own() -> None:
    environment = {**os.environ, "COLUMNS": str(TERMINAL_COLUMNS)}
    words = [sys.executable, "-m", "leafzoom", "--help"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)

    lines = [line.split() for line in done.stdout.splitlines()]
    for name, summary in SUMMARIES.items():
        assert [name, *summary.split()] in lines, name
        assert str(command_of(name).help).splitlines()[0] == summary
    assert example_lines(done.stdout)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_option_and_argument_is_explained(name: str) -> None:
    command = command_of(name)
    text = str(command.help)

    for parameter in command.params:
        if isinstance(parameter, click.Option):
            help_text = parameter.help or ""
            assert help_text.endswith("."), parameter.opts
            repeats = "may be repeated" in help_text
            assert repeats == parameter.multiple, parameter.opts
        else:
            assert str(parameter.name).upper() in text, parameter.name


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_has_examples_that_its_parser_takes(name: str) -> None:
    lines = example_lines(str(command_of(name).help))

    own = [command_words(line) for line in lines if f"{EXAMPLE_START}{name}" in line]
    assert own
    for words in (command_words(line) for line in lines):
        command = command_of(words[0])
        command.make_context(words[0], words[1:]).close()


@pytest.mark.parametrize("name", SUMMARIES)
def test_no_line_of_help_is_wider_than_a_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(TERMINAL_COLUMNS))

    result = run_command(name, "--help")

    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if len(line) > TERMINAL_COLUMNS] == []
    assert result.stdout.isascii()
