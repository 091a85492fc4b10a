"""`leafzoom serve`: the service."""

from __future__ import annotations

import click

from leafzoom.commands.options import model_option

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
def serve(host: str, port: int, model: str) -> None:
    """Open a page for people and an API for programs, on this machine alone.

    With --host, other machines reach the service too.

    \b
    Example: leafzoom serve --port 8000
    """
    # Imported late, so that other commands start without the web framework.
    from leafzoom.serve.server import run_server

    run_server(model, host=host, port=port, echo=click.echo)
