"""The command line: the list of subcommands, and how errors end.

A subcommand NAME is the function NAME of `leafzoom.commands.NAME`. Its module is imported when the
command is called or its own help is shown, so that `leafzoom --help` starts at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from leafzoom import __version__
from leafzoom.errors import LeafzoomError
from leafzoom.storage import cache_root
from leafzoom.streams import flush_output, prepare_streams

__all__ = ["SUMMARIES", "cli", "main"]

SUMMARIES = {
    "compare": "Draw the paper's figures 7-12 over RUNS, with paired differences.",
    "demo": "Tour the system on rendered leaves, from training to answers.",
    "drift": "Compare a season's answers with those the model was judged by.",
    "evaluate": "Score every head of MODEL on labelled photographs.",
    "export": "Write RUN's network as one .onnx file, and compare the two.",
    "info": "Show what MODEL is: labels, thresholds, recipe, figures, licence.",
    "predict": "Diagnose photos, or all photos in folders.",
    "prepare": "Check every photograph, find duplicates, build the cache.",
    "push": "Upload MODEL with a model card to a hub.",
    "recipes": "List the recipes, or show every setting of the recipe NAME.",
    "review": "Rank suspect labels, and decide on them on a page.",
    "schema": "Print the JSON Schema of what predict writes as JSON.",
    "serve": "Open a page for people and an API for programs, on this machine.",
    "train": "Train all stages of a recipe, then export the model.",
    "tune": "Try values of a recipe, and keep the best.",
}
"""{subcommand: its line in `leafzoom --help`}, in the order of that list."""

_INTERRUPTED_EXIT_CODE = 130


class _LazyGroup(click.Group):
    """The subcommands of `SUMMARIES`; an expected error is one line and its exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        try:
            return super().main(*args, **options)
        except OSError as error:  # the help cannot be written
            _echo_system_error(error)
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUMMARIES:
            return None

        module = importlib.import_module(f"leafzoom.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LeafzoomError as error:
            click.echo(f"leafzoom: {error}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("leafzoom: interrupted", err=True)
            sys.exit(_INTERRUPTED_EXIT_CODE)
        except BrokenPipeError:
            # The reader has closed the pipe (`| head`): click ends without a message.
            raise
        except MemoryError:
            click.echo("leafzoom: out of memory: give it more, or close other programs", err=True)
            sys.exit(1)
        except OSError as error:
            _echo_system_error(error)
            sys.exit(1)


def _echo_system_error(error: OSError) -> None:
    """Print an error of the system in one line, with the file that it is about."""
    file_prefix = f"{error.filename}: " if error.filename else ""
    click.echo(f"leafzoom: {file_prefix}{error.strerror or error}", err=True)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__)
def cli() -> None:
    """Find diseases on apple leaves by looking closer.

    leafzoom looks at the whole photograph, proposes a region, looks at it enlarged, then again at
    a region of that, and fuses the predictions (a recurrent attention CNN).

    \b
    Example: leafzoom predict leaf.jpg --out diagnosis
    """


def main() -> None:
    """Run the command line: the console script `leafzoom`."""
    prepare_streams()
    _keep_fonts_in_our_cache()
    try:
        cli()
    except SystemExit as end:
        _flush_output(has_failed=bool(end.code))
        raise


def _flush_output(*, has_failed: bool) -> None:
    """Write what is left of the output; where that fails, the exit status tells of it."""
    reason = flush_output()
    if reason is None:
        return

    # A command that could not write has printed its error.
    if reason and not has_failed:
        click.echo(f"leafzoom: standard output cannot be written ({reason})", err=True)
    sys.exit(1)


def _keep_fonts_in_our_cache() -> None:
    """Keep matplotlib, which Lightning imports, from making folders of its own below HOME.

    The command line alone does so: as a library leafzoom leaves matplotlib to its user.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(cache_root() / "matplotlib"))


if __name__ == "__main__":
    main()
