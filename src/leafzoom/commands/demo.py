"""`leafzoom demo`: the tour on rendered leaves."""

from __future__ import annotations

from pathlib import Path

import click

from leafzoom.commands.options import PATH

__all__ = ["demo"]


@click.command()
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="A new folder.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of leaves and training.",
)
def demo(out: Path, seed: int) -> None:
    """Tour the system on rendered leaves, from training to answers.

    \b
    Example: leafzoom demo --out demo
    """
    # Imported late, so that other commands start without PyTorch.
    from leafzoom.demo import run_demo

    run_demo(out, seed=seed, echo=click.echo)
