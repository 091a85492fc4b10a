"""`leafzoom serve`: the service."""

from __future__ import annotations

import os
from pathlib import Path

import click

from leafzoom.commands.options import PATH, device_option, model_option
from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE

__all__ = ["serve"]

_TOKEN_VARIABLE = "LEAFZOOM_TOKEN"


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
@device_option
@click.option(
    "--coverage",
    type=click.FloatRange(MIN_COVERAGE, MAX_COVERAGE),
    metavar="C",
    help="Show all answers that are possible with this coverage.",
)
@click.option(
    "--token",
    envvar=_TOKEN_VARIABLE,
    metavar="TOKEN",
    help="Ask for this secret. Better in the variable LEAFZOOM_TOKEN, which others cannot list.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A host name that a proxy sends; *.NAME: all below it (may be repeated).",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="The prefix of all paths behind a proxy, such as /leafzoom.",
)
@click.option(
    "--proxy-headers/--no-proxy-headers",
    default=True,
    show_default=True,
    help="Believe X-Forwarded-For, -Proto and -Host of the proxies below.",
)
@click.option(
    "--forwarded-allow-ips",
    envvar="FORWARDED_ALLOW_IPS",
    default="127.0.0.1,::1",
    show_default=True,
    metavar="LIST",
    help="Addresses and networks of proxies, separated by commas; * for any.",
)
@click.option(
    "--web",
    type=PATH,
    metavar="DIR",
    help="Show the app of this folder (leafzoom export --web), which goes on without a network.",
)
def serve(
    host: str,
    port: int,
    model: str,
    device: str,
    coverage: float | None,
    token: str | None,
    allowed_hosts: tuple[str, ...],
    root_path: str,
    proxy_headers: bool,
    forwarded_allow_ips: str,
    web: Path | None,
) -> None:
    """Open a page for people and an API for programs, on this machine.

    With --host 0.0.0.0, other machines reach the service too (without, this one
    alone); give it a --token then.

    \b
    Example: leafzoom serve --port 8000 --coverage 0.95
             leafzoom serve --host 0.0.0.0 --token apples-and-leaves
             leafzoom serve --root-path /leafzoom --allowed-host leaves.example
    """
    # Imported late, so that other commands start without the web framework.
    from leafzoom.serve.proxy import ProxySettings, parse_allowed_host, parse_root_path
    from leafzoom.serve.server import run_server

    # click takes an empty variable for none, which would open the service.
    if token is None and os.environ.get(_TOKEN_VARIABLE) == "":
        token = ""

    proxy = ProxySettings(
        allowed_hosts=tuple(parse_allowed_host(name) for name in allowed_hosts),
        root_path=parse_root_path(root_path),
        forwarded_allow_ips=forwarded_allow_ips if proxy_headers else None,
    )
    run_server(
        model,
        device=device,
        address=(host, port),
        coverage=coverage,
        token=token,
        proxy=proxy,
        web=web,
        echo=click.echo,
    )
