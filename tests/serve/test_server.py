"""Starting and stopping."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from leafzoom.errors import LeafzoomError
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.serve import server
from leafzoom.serve.app import create_app
from leafzoom.serve.server import run_server
from leafzoom.serve.service import Service
from serve.service_process import ServiceProcess

TIMEOUT_SECONDS = 60


def test_a_taken_address_is_one_line(service: ServiceProcess, trained: Path) -> None:
    message = f"cannot listen on 127.0.0.1 port {service.port}"
    with pytest.raises(LeafzoomError, match=message):
        run_server(str(trained), port=service.port)


def test_a_service_that_stops_is_alive_and_not_ready(trained: Path) -> None:
    service = Service(Predictor(open_network(str(trained))))
    with TestClient(create_app(service)) as client:
        assert client.get("/ready").status_code == 200

        service.ready = False
        assert client.get("/ready").status_code == 503
        assert client.get("/live").status_code == 200


def test_sigterm_drains_before_the_server_closes(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Predictor(open_network(str(trained))))
    service.ready = True
    draining_server = server._DrainingServer(uvicorn.Config(create_app(service)), service)
    delays: list[float] = []

    class Loop:
        def call_later(self, delay: float, call: object) -> None:
            delays.append(delay)

    monkeypatch.setattr(server.asyncio, "get_event_loop", Loop)
    draining_server.handle_exit(signal.SIGTERM, None)
    assert not service.ready
    assert not draining_server.should_exit

    # Ten seconds are what most supervisors wait before they kill.
    assert delays == [server._DRAIN_SECONDS]
    assert server._DRAIN_SECONDS + server._SHUTDOWN_SECONDS < 10


def test_a_request_in_progress_is_answered_after_sigterm(trained: Path, photo_bytes: bytes) -> None:
    service = ServiceProcess(trained)
    part_header = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
    body = part_header + photo_bytes + b"\r\n--b--\r\n"
    headers = (
        "POST /api/v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()

    with socket.create_connection(("127.0.0.1", service.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(headers + body[:1000])
        service.process.send_signal(signal.SIGTERM)
        _wait_until_not_ready(service)
        connection.sendall(body[1000:])
        assert b" 200 " in connection.recv(200)

    assert service.process.wait(TIMEOUT_SECONDS) == 0
    assert service.process.stderr
    assert "Traceback" not in service.process.stderr.read()


def _wait_until_not_ready(service: ServiceProcess) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            if service.get("/ready").status_code == 503:
                return
        except httpx.TransportError:
            return
        time.sleep(0.02)
    raise AssertionError("the service stays ready after SIGTERM")
