"""Starting and stopping the service."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import numpy as np
import uvicorn

from leafzoom.errors import LeafzoomError, ModelError
from leafzoom.inference.model_file import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.serve.app import Service, create_app

__all__ = ["run_server"]

_DRAIN_S = 1.0  # between `not ready` and the closed door, so that who balances load has seen it
_FINISH_S = 8
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


class _Server(uvicorn.Server):
    """Told to stop, it first says that it is not ready, then finishes what is under way."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains, SIGINT finishes without waiting for anyone; a second signal stops at once."""
        if sig == signal.SIGINT or not self._service.ready:
            super().handle_exit(sig, frame)
            self.force_exit = self.force_exit or sig == signal.SIGTERM
            return
        self._service.ready = False
        asyncio.get_event_loop().call_later(_DRAIN_S, self._close)

    def _close(self) -> None:
        """Take nothing more, finish, and end with status 0 (uvicorn's own way ends by the signal)."""
        self.should_exit = True


def run_server(model: str, *, host: str = "127.0.0.1", port: int = 8000, say: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        model: see `open_network`.
        host: the address to listen on.
        port: 0 takes any that is free.
        say: prints a line for people.

    Raises:
        LeafzoomError: the address cannot be had, or the model cannot be read.
    """
    predictor = Predictor(open_network(model))
    size = predictor.network.manifest.source_size
    try:
        predictor.network(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:
        raise ModelError(f"the model {model} cannot be run ({str(error).splitlines()[0][:200]})") from error
    service = Service(predictor, hosts=_LOOPBACK if host in _LOOPBACK else None)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(128)
    except OSError as error:
        raise LeafzoomError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): choose another"
        ) from error
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_FINISH_S,
        timeout_keep_alive=15,
        limit_concurrency=256,
        h11_max_incomplete_event_size=64 * 1024,
        server_header=False,
        date_header=False,
    )
    shown = f"[{host}]" if ":" in host else host
    say(f"leafzoom listens on http://{shown}:{door.getsockname()[1]} (stop it with Ctrl+C)")
    _Server(config, service).run(sockets=[door])
