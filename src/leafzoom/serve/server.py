"""Starting and stopping the service."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import urlencode

import numpy as np
import uvicorn

from leafzoom.errors import LeafzoomError, ModelError, UsageError
from leafzoom.inference.devices import AUTO, idle_gpu_note
from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction_sets import coverage_note
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.outputs import FRAMEWORK_TITLES
from leafzoom.serve.access import Access, is_loopback
from leafzoom.serve.addresses import can_show_qr_code, listening_lines
from leafzoom.serve.app import create_app
from leafzoom.serve.connections import TimedProtocol
from leafzoom.serve.middleware import ForwardedHeadersMiddleware
from leafzoom.serve.proxy import ProxySettings
from leafzoom.serve.service import Service
from leafzoom.web.folder import FILE_LIST

__all__ = ["listen", "run_server"]

# Load balancers see `not ready` for so long before the service accepts no more connections.
_DRAIN_SECONDS = 1.0

_SHUTDOWN_SECONDS = 8
_KEEP_ALIVE_SECONDS = 15
_MAX_CONNECTIONS = 256
_MAX_PENDING_CONNECTIONS = 128
_MAX_HEADER_BYTES = 64 * 1024
_MAX_ERROR_CHARACTERS = 200
_GUESSED_TOKEN_LENGTH = 8


def run_server(
    model: str,
    *,
    address: tuple[str, int] = ("127.0.0.1", 8000),
    coverage: float | None = None,
    token: str | None = None,
    device: str = AUTO,
    proxy: ProxySettings | None = None,
    web: Path | None = None,
    echo: Callable[[str], None] = print,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        model: see `open_network`.
        address: the host's address to listen on, and the port; 0 takes any free one.
        coverage: of the possible answers (see `Predictor.predict`), where a request names none.
        token: what requests have to show; None where nothing is needed.
        device: where the model is computed, one of `devices.DEVICES`.
        proxy: how requests come from a reverse proxy.
        web: the folder of an app, which goes on without this service; None for the page alone.
        echo: prints a line for people.

    Raises:
        UsageError: the coverage is out of range, the token is empty or no header's text, or the
            folder holds no app.
        DeviceError: the device is missing.
        ModelError: the model cannot be read or run, or has no calibration for a coverage.
        LeafzoomError: the address cannot be listened on.
    """
    host, port = address
    proxy = proxy or ProxySettings()
    if web is not None and not (web / FILE_LIST).is_file():
        raise UsageError(
            f"--web {web} holds no app: write one with leafzoom export MODEL --web DIR"
        )
    if token is not None:
        _check_token(token, echo)

    # The model is tried and the address taken before anything is announced.
    predictor = _tested_predictor(model, device)
    idle_note = idle_gpu_note(device, predictor.network.device_name)
    if idle_note:
        echo(f"leafzoom: {idle_note}")
    note = None if coverage is None else coverage_note(predictor.network.manifest, coverage)
    if note:
        echo(f"leafzoom: {note}")

    # A service of the network knows its names only if they are given.
    access = Access(
        any_host=not is_loopback(host) and not proxy.allowed_hosts,
        allowed_hosts=proxy.allowed_hosts,
        token=token,
    )
    service = Service(predictor, access=access, coverage=coverage)
    server = _DrainingServer(_configuration(service, proxy, web), service)
    listener = listen(host, port)

    # A token is shown to the person at the terminal, and kept out of logs.
    is_terminal = sys.stdout.isatty()
    path = _page_path(proxy.root_path, token if is_terminal else None)
    scannable = is_terminal and can_show_qr_code(sys.stdout.encoding)
    bound_port = listener.getsockname()[1]
    for line in listening_lines(host, bound_port, path=path, scannable=scannable):
        echo(line)
    if token is None and not is_loopback(host):
        echo("Everyone who reaches this address may use it: --token SECRET asks for a secret.")

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


def _tested_predictor(model: str, device: str) -> Predictor:
    """The predictor of a model, after one prediction of a black picture.

    Raises:
        DeviceError: the device is missing.
        ModelError: the model cannot be read or run, or is no RA-CNN.
    """
    predictor = Predictor(open_network(model, device=device))
    manifest = predictor.network.manifest
    if manifest.framework != "ra-cnn":
        title = FRAMEWORK_TITLES[manifest.framework]
        raise ModelError(
            f"the model {model} is {title}, and the page that leafzoom serve shows is of zooms: "
            "use leafzoom predict, or serve a model of an RA-CNN"
        )

    size = manifest.source_size
    try:
        predictor.network(np.zeros((1, size, size, 3), np.uint8))
    except Exception as error:
        reason = str(error).splitlines()[0][:_MAX_ERROR_CHARACTERS]
        raise ModelError(f"the model {model} cannot be run ({reason})") from error
    return predictor


def listen(host: str, port: int) -> socket.socket:
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


def _page_path(root_path: str, token: str | None) -> str:
    """The page's path in the printed address, with the token where it is shown.

    The page is below the prefix without a proxy too, and its cookie is for the prefix.
    """
    page = f"{root_path}/" if root_path or token else ""
    return f"{page}?{urlencode({'token': token})}" if token else page


def _check_token(token: str, echo: Callable[[str], None]) -> None:
    """Refuse a token that no header can hold, and warn of a short one.

    Raises:
        UsageError: it is empty, or has other characters than visible ones of ASCII.
    """
    if not re.fullmatch("[!-~]+", token):
        raise UsageError(
            "--token has to be letters, digits and signs of ASCII, without spaces"
            if token
            else "--token or LEAFZOOM_TOKEN is empty: give a secret, or leave it out"
        )
    if len(token) < _GUESSED_TOKEN_LENGTH:
        echo(f"leafzoom: a token of {len(token)} characters can be guessed: take a longer one")


def _configuration(service: Service, proxy: ProxySettings, web: Path | None) -> uvicorn.Config:
    app = create_app(service, root_path=proxy.root_path, web=web)
    return uvicorn.Config(
        ForwardedHeadersMiddleware(app, proxy.forwarded_allow_ips),
        http=TimedProtocol,
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        server_header=False,
        date_header=False,
    )
