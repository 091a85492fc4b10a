"""Starting and stopping."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
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
        run_server(str(trained), address=("127.0.0.1", service.port))


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


def test_a_token_stays_out_of_logs(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a terminal shows the address with it."""
    monkeypatch.setenv("LEAFZOOM_TOKEN", "in-the-orchard")
    process = ServiceProcess(trained)
    try:
        assert process.get("/api/v1/model").status_code == 401
        assert "in-the-orchard" not in process.first_lines
        process.get("/?token=in-the-orchard")
    finally:
        process.stop()

    assert process.process.stderr
    assert "in-the-orchard" not in process.process.stderr.read()


@pytest.mark.slow
def test_a_connection_on_which_nothing_comes_is_closed(service: ServiceProcess) -> None:
    """After half a minute; without it, receiving ends in an error here."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        assert connection.recv(1) == b""


def shown_at_a_terminal(trained: Path, *options: str, until: str) -> str:
    """What a service of the network prints at a terminal, until a pattern comes."""
    command = [sys.executable, "-m", "leafzoom", "serve", "--model", str(trained)]
    command += ["--host", "0.0.0.0", "--port", "0", *options]
    own_end, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(command, stdout=terminal, env=environment)
    os.close(terminal)

    content = b""
    try:
        while not re.search(until, content.decode(errors="replace")):
            content += os.read(own_end, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(own_end)
    return content.decode()


def test_a_terminal_shows_the_whole_address_and_its_qr_code(trained: Path) -> None:
    """With the prefix, where the page's cookie is for."""
    options = ("--token", "in-the-orchard", "--root-path", "leafzoom")
    shown = shown_at_a_terminal(trained, *options, until="▀\x1b\\[0m|may not reach this one")

    address = r"http://[\d.]+:\d+/leafzoom/\?token=in-the-orchard \(stop it"
    assert re.search(address, shown.splitlines()[0])
    assert "On this machine" not in shown or "█" in shown


def test_a_service_that_is_open_to_a_network_says_so(trained: Path) -> None:
    shown = shown_at_a_terminal(trained, until="--token.*\n")
    assert "Everyone who reaches this address may use it: --token SECRET" in shown


def test_a_short_token_is_warned_of(trained: Path) -> None:
    process = ServiceProcess(trained, "--token", "leaf")
    process.stop()
    assert "a token of 4 characters can be guessed" in process.first_lines


CONFINEMENT = """
mount -o remount,ro,bind / && mount -t tmpfs -o mode=1777,size=200m tmpfs /mnt || exit 99
exec setpriv --reuid=54321 --regid=54321 --clear-groups --no-new-privs \
    --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search \
    env -i "PATH=$PATH" "PYTHONPATH=$PYTHONPATH" TMPDIR=/mnt taskset -c "$0" "$@"
"""


def confined(cpu: int) -> list[str]:
    """The words before a command that run it as a container does.

    The root is read-only but for a temporary folder, the user has no name, no home and no right to
    write, and there is one CPU. Everything may be read, as Python may be in root's home.
    """
    return ["unshare", "--mount", "sh", "-c", CONFINEMENT, str(cpu)]


def test_a_read_only_root_an_unknown_user_no_home_and_one_cpu(
    trained: Path, photo_bytes: bytes
) -> None:
    prefix = confined(min(os.sched_getaffinity(0)))
    programs = ("unshare", "setpriv", "taskset")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs root, the right to mount, and util-linux's unshare, setpriv, taskset")

    process = ServiceProcess(trained, prefix=prefix)
    try:
        status = Path(f"/proc/{process.process.pid}/status").read_text()
        answer = process.post_photos(("a.jpg", photo_bytes + bytes(3 * 2**20)))
    finally:
        process.stop()

    assert "Uid:\t54321\t54321" in status
    assert answer.status_code == 200, answer.text
    assert process.process.returncode == 0
    assert process.process.stderr
    assert process.process.stderr.read() == ""
