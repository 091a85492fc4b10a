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
from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction_sets import coverage_note
from leafzoom.inference.predictor import Predictor
from leafzoom.serve.app import create_app
from leafzoom.serve.service import Service

__all__ = ["run_server"]

# Load balancers see `not ready` for so long before the service accepts no more connections.
_DRAIN_SECONDS = 1.0

_SHUTDOWN_SECONDS = 8
_KEEP_ALIVE_SECONDS = 15
_MAX_CONNECTIONS = 256
_MAX_PENDING_CONNECTIONS = 128
_MAX_HEADER_BYTES = 64 * 1024
_MAX_ERROR_CHARACTERS = 200
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


def run_server(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    coverage: float | None = None,
    echo: Callable[[str], None] = print,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        model: see `open_network`.
        host: the address to listen on.
        port: 0 takes any free one.
        coverage: of the possible answers (see `Predictor.predict`), where a request names none.
        echo: prints a line for people.

    Raises:
        UsageError: the coverage is out of range.
        ModelError: the model cannot be read or run, or has no calibration for a coverage.
        LeafzoomError: the address cannot be listened on.
    """
    # The model is tried and the address taken before anything is announced.
    predictor = _tested_predictor(model)
    note = None if coverage is None else coverage_note(predictor.network.manifest, coverage)
    if note:
        echo(f"leafzoom: {note}")
    hosts = _LOOPBACK_HOSTS if host in _LOOPBACK_HOSTS else None
    service = Service(predictor, hosts=hosts, coverage=coverage)
    server = _DrainingServer(_configuration(service), service)
    listener = _listen(host, port)

    # An IPv6 address is written in brackets.
    url_host = f"[{host}]" if ":" in host else host
    bound_port = listener.getsockname()[1]
    echo(f"leafzoom listens on http://{url_host}:{bound_port} (stop it with Ctrl+C)")

    # uvicorn would log the start and the end; the line above is enough.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server.run(sockets=[listener])


class _DrainingServer(uvicorn.Server):
    """On SIGTERM: not ready at once, then the end of what is in progress, with status 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains, SIGINT closes without draining; a second signal stops at once."""
        if sig == signal.SIGINT or not self._service.ready:
            super().handle_exit(sig, frame)
            self.force_exit = self.force_exit or sig == signal.SIGTERM
            return

        # From now on /ready answers 503, so that a load balancer sends its requests elsewhere.
        self._service.ready = False
        asyncio.get_event_loop().call_later(_DRAIN_SECONDS, self._close)

    def _close(self) -> None:
        """Accept nothing more and finish; uvicorn's own handler would end by the signal."""
        self.should_exit = True


def _tested_predictor(model: str) -> Predictor:
    """The predictor of a model, after one prediction of a black picture.

    Raises:
        ModelError: the model cannot be read or run.
    """
    predictor = Predictor(open_network(model))
    size = predictor.network.manifest.source_size
    try:
        predictor.network(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:
        reason = str(error).splitlines()[0][:_MAX_ERROR_CHARACTERS]
        raise ModelError(f"the model {model} cannot be run ({reason})") from error
    return predictor


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        LeafzoomError: the address is taken, or not of this machine.
    """
    # Bound here, so that a taken address is an error before anything starts.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_MAX_PENDING_CONNECTIONS)
    except OSError as error:
        raise LeafzoomError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): choose another"
        ) from error

    return listener


def _configuration(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        server_header=False,
        date_header=False,
    )
