"""Serve the page of a review on loopback until Ctrl+C."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from leafzoom.serve.connections import TimedProtocol
from leafzoom.serve.server import listen

__all__ = ["serve_review"]

_HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 3


class _Server(uvicorn.Server):
    """Ends with status 0 on SIGINT and SIGTERM: both are the usual end of a review."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Accept nothing more; a second signal stops at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve_review(app: FastAPI, port: int, echo: Callable[[str], None]) -> None:
    """Serve an application on this machine alone.

    Args:
        app: of the review.
        port: 0 takes any free one.
        echo: prints the address.

    Raises:
        LeafzoomError: the port is taken.
    """
    listener = listen(_HOST, port)
    bound_port = listener.getsockname()[1]
    echo(f"leafzoom review is on http://{_HOST}:{bound_port} (stop it with Ctrl+C)")

    configuration = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        server_header=False,
        date_header=False,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _Server(configuration).run(sockets=[listener])
