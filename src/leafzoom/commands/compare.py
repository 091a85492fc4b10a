"""`leafzoom compare`: several runs beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from leafzoom.commands.options import PATH
from leafzoom.errors import needs_extra

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for index.html and compare.json.")
def compare(runs: tuple[Path, ...], out: Path) -> None:
    """Draw the paper's figures 7-12 over RUNS, with paired differences.

    RUNS are folders that `leafzoom train` wrote. The page has the final scores too; the
    differences are to the first run.

    \b
    Example: leafzoom compare runs/paper runs/default --out comparison
    """
    with needs_extra("train", "leafzoom compare"):
        from leafzoom.evaluation.compare import compare_runs

    page = compare_runs(list(runs), out)
    click.echo(f"see {page}")
