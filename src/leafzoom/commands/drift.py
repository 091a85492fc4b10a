"""`leafzoom drift`: are a season's answers like those that the model was judged by?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leafzoom.commands.options import PATH, model_option
from leafzoom.errors import UsageError, needs_extra
from leafzoom.evaluation.drift import compare_with_reference
from leafzoom.evaluation.drift_text import drift_lines
from leafzoom.inference.loading import open_network
from leafzoom.inference.result_reader import read_answers
from leafzoom.storage import make_folder

__all__ = ["drift"]

_PICTURE_SUFFIXES = (".png", ".svg")


@click.command()
@click.argument("results", nargs=-1, required=True, type=PATH)
@model_option
@click.option("--out", type=PATH, help="A picture of the comparison, .png or .svg.")
@click.option(
    "--fail-on-drift",
    is_flag=True,
    help="Exit with 1 where the model is not to be trusted.",
)
def drift(results: tuple[Path, ...], model: str, out: Path | None, fail_on_drift: bool) -> None:
    """Compare a season's answers with those the model was judged by.

    Is the model to be trusted with these photos? RESULTS are files that `leafzoom predict` wrote
    (json, jsonl or csv) or folders of its --out. The exit status is 0 whatever the
    comparison says, except with --fail-on-drift.

    \b
    Example:
      leafzoom predict orchard/ --format jsonl > season.jsonl
      leafzoom drift season.jsonl --out drift.png
    """
    if out and out.suffix not in _PICTURE_SUFFIXES:
        raise UsageError(f"--out {out} has to be a file that ends in .png or .svg")

    manifest = open_network(model).manifest
    answers = read_answers(results, manifest)
    report = compare_with_reference(answers, manifest)
    for line in drift_lines(report, answers.failed, manifest.name):
        click.echo(line)

    if out:
        with needs_extra("train", "the picture of leafzoom drift"):
            from leafzoom.evaluation.drift_figure import draw_drift

        make_folder(out.parent)
        draw_drift(report, out)

    if fail_on_drift and report.judgement == "distrust":
        sys.exit(1)
