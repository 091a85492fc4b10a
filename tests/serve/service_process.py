"""A service in a process of its own, as the tests use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

__all__ = ["ServiceProcess"]

_START_TIMEOUT_SECONDS = 60
_ANSWER_TIMEOUT_SECONDS = 120
_STOP_TIMEOUT_SECONDS = 60
_POLL_SECONDS = 0.05


class ServiceProcess:
    """`leafzoom serve` on a free port; ready when the constructor returns.

    Args:
        model: that it serves.
        options: of the command.
        prefix: words before the command, of programs that run it.
    """

    def __init__(self, model: Path, *options: str, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "leafzoom", "serve"]
        command += ["--port", "0", "--model", str(model), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stderr

        # A note may come before the address.
        self.first_lines = self.process.stdout.readline()
        if "http" not in self.first_lines:
            self.first_lines += self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)", self.first_lines)
        assert address, self.first_lines + self.process.stderr.read()
        self.url = address[0]
        self.port = int(address[1])
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.get("/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
        raise AssertionError("the service did not get ready")

    @property
    def predictions_url(self) -> str:
        """Where photos are posted."""
        return f"{self.url}/api/v1/predictions"

    def get(self, path: str, **options: object) -> httpx.Response:
        """The answer to GET."""
        return httpx.get(self.url + path, timeout=_ANSWER_TIMEOUT_SECONDS, **options)

    def post(self, **options: object) -> httpx.Response:
        """The answer to any POST to the predictions."""
        return httpx.post(self.predictions_url, timeout=_ANSWER_TIMEOUT_SECONDS, **options)

    def post_photos(self, *files: tuple[str, bytes], field: str = "photos") -> httpx.Response:
        """The answer to some files, (name, content), in one form."""
        return self.post(files=[(field, file) for file in files])

    def memory_mb(self) -> float:
        """The resident set, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        assert resident
        return int(resident[1]) / 1024

    def cpu_seconds(self) -> float:
        """The CPU time so far; other work on the machine does not count."""
        content = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = content.rpartition(")")[2].split()
        user_ticks = int(fields[11])
        system_ticks = int(fields[12])
        return (user_ticks + system_ticks) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End the process with SIGTERM, and wait until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_STOP_TIMEOUT_SECONDS)
