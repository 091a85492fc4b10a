"""`leafzoom serve`: the service."""

from __future__ import annotations

import click

from leafzoom.commands.options import model_option
from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0: any free one.",
)
@model_option
@click.option(
    "--coverage",
    type=click.FloatRange(MIN_COVERAGE, MAX_COVERAGE),
    metavar="C",
    help="Show all answers that are possible with this coverage.",
)
def serve(host: str, port: int, model: str, coverage: float | None) -> None:
    """Open a page for people and an API for programs, on this machine.

    With --host, other machines reach the service too; without, this one alone.

    \b
    Example: leafzoom serve --port 8000 --coverage 0.95
    """
    # Imported late, so that other commands start without the web framework.
    from leafzoom.serve.server import run_server

    run_server(model, host=host, port=port, coverage=coverage, echo=click.echo)
