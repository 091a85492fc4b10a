"""Measure the service under load: python -m tools.load_test PHOTO [--seconds S] [--out FILE]

In one run and on the same photo: the bare predictor's throughput; the service's, kept busy by four
connections; its latency unloaded (one connection); then four times its throughput, offered at a
steady rate whatever comes back: how much is refused, and how long the accepted requests take. The
CPU time of the client is measured and deducted from the machine (throughput / (1 - client's
share)). Memory is the service's resident set. Linux only. Takes about four times --seconds, with
nothing else running. Writes results/load.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from leafzoom.model_file.paths import model_path
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine

__all__ = ["Load", "Request", "ServiceFigures", "main", "parser", "percentiles"]

_BOUNDARY = "leafzoom-load-test"
_CONNECTIONS = 4
_OVERLOAD = 4  # times the throughput
_WARM_UP_PHOTOS = 16
_START_SECONDS = 3.0
_WARM_UP_SECONDS = 2.0
_TIMEOUT_SECONDS = 30
_STOP_SECONDS = 15
_REFUSED = 0  # the status of a request without an answer


@dataclass(frozen=True)
class Request:
    """A request's HTTP status, and how long its answer took in seconds."""

    status: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """Requests made in some time, and the share of the machine's CPU that the client took."""

    requests: list[Request]
    client_share: float

    @property
    def accepted(self) -> list[float]:
        """The seconds of the requests that were answered with a diagnosis."""
        return [request.seconds for request in self.requests if request.status == 200]


@dataclass(frozen=True)
class ServiceFigures:
    """What was measured of the service.

    `throughput`: photos a second, the client's CPU time deducted. `memory_mb`: resident, before any
    load, after the busy connections, and after four times the throughput.
    """

    unloaded: Load
    busy: Load
    overloaded: Load
    throughput: float
    memory_mb: tuple[float, float, float]


def main() -> None:
    """Start the service, measure, write."""
    arguments = parser().parse_args()
    content = arguments.photo.read_bytes()
    seconds = arguments.seconds

    # Before and after the service, so that a machine that slows down shows.
    bare_before = bare_throughput(content, seconds / 2)
    with running_service() as service:
        figures = measure_service(service, form_of(content), seconds)
    bare_after = bare_throughput(content, seconds / 2)

    result = {
        "name": "load",
        "command": f"python -m tools.load_test PHOTO --seconds {seconds:g}",
        "commit": commit(),
        "leafzoom": metadata.version("leafzoom"),
        "model_digest": model_digest(model_path("bundled")),
        "machine": machine(),
        "photo_bytes": len(content),
        **summary([bare_before, bare_after], figures),
    }
    text = json.dumps(result, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.load_test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("photo", type=Path)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--out", type=Path, default=ROOT / "results" / "load.json")

    return options


# What is measured.


def bare_throughput(content: bytes, seconds: float) -> float:
    """Photos a second of the predictor in this process."""
    import leafzoom

    model = leafzoom.load()

    # The first batches are slower.
    for _ in model.predict_many([content] * _WARM_UP_PHOTOS):
        pass

    started = time.monotonic()

    def photos() -> Iterator[bytes]:
        while time.monotonic() - started < seconds:
            yield content

    predictions = sum(1 for _ in model.predict_many(photos()))
    return predictions / (time.monotonic() - started)


@dataclass(frozen=True)
class Service:
    """A running `leafzoom serve`."""

    port: int
    pid: int

    def resident_mb(self) -> float:
        """Its resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return round(_number_after(r"VmRSS:\s+(\d+)", status) / 1024, 1)


@contextmanager
def running_service() -> Iterator[Service]:
    """A service at a free port, stopped in the end."""
    command = [sys.executable, "-m", "leafzoom", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    try:
        # The first line names the port. Give the threads time to start.
        assert process.stdout
        greeting = process.stdout.readline()
        time.sleep(_START_SECONDS)
        yield Service(_number_after(r":(\d+) ", greeting), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_SECONDS)


def measure_service(service: Service, form: bytes, seconds: float) -> ServiceFigures:
    """The service unloaded, busy and overloaded, each for some seconds."""
    closed_loop(service.port, form, 1, _WARM_UP_SECONDS)
    memory_before = service.resident_mb()

    # One connection alone, then enough to keep the service busy.
    unloaded = closed_loop(service.port, form, 1, seconds)
    busy = closed_loop(service.port, form, _CONNECTIONS, seconds)
    throughput = len(busy.accepted) / seconds / (1 - busy.client_share)
    memory_busy = service.resident_mb()

    # More than it can do.
    overloaded = open_loop(service.port, form, _OVERLOAD * throughput, seconds)
    memory_overloaded = service.resident_mb()

    memory_mb = (memory_before, memory_busy, memory_overloaded)
    return ServiceFigures(unloaded, busy, overloaded, throughput, memory_mb)


def summary(bare: list[float], figures: ServiceFigures) -> dict[str, Any]:
    """The figures of results/load.json.

    Args:
        bare: photos a second of the bare predictor, before and after.
        figures: of the service.
    """
    throughput = figures.throughput
    unloaded = percentiles(figures.unloaded.accepted)
    overloaded = percentiles(figures.overloaded.accepted)
    statuses = Counter(str(request.status) for request in figures.overloaded.requests)
    memory_before, memory_busy, memory_overloaded = figures.memory_mb

    return {
        "bare_photos_a_second": [round(value, 2) for value in bare],
        "service_photos_a_second": round(throughput, 2),
        "client_share_of_cpu": round(figures.busy.client_share, 3),
        "service_over_bare": round(throughput / float(np.mean(bare)), 3),
        "unloaded_ms": unloaded,
        "offered_a_second": round(_OVERLOAD * throughput, 2),
        "statuses_at_four_times": dict(statuses),
        "client_share_of_cpu_at_four_times": round(figures.overloaded.client_share, 3),
        "accepted_ms_at_four_times": overloaded,
        "p99_over_unloaded": round(overloaded["p99"] / unloaded["p99"], 2),
        "memory_mb": {
            "before": memory_before,
            "busy": memory_busy,
            "at four times": memory_overloaded,
        },
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in ms, and the number of requests."""
    p50, p99 = (1000 * float(value) for value in np.percentile(seconds, (50, 99)))
    return {"p50": round(p50, 1), "p99": round(p99, 1), "requests": len(seconds)}


# The client.


def form_of(content: bytes) -> bytes:
    """The body of a multipart form with one photo."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
    )
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def closed_loop(port: int, form: bytes, connections: int, seconds: float) -> Load:
    """Several connections, each of which sends the next request when the last is answered."""
    requests: list[Request] = []
    cpu_before = _cpu_seconds()
    started = time.monotonic()

    def ask() -> None:
        connection = _connection(port)
        while time.monotonic() < started + seconds:
            requests.append(_timed_request(connection, form))

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    return Load(requests, _client_share(cpu_before, started))


def open_loop(port: int, form: bytes, rate: float, seconds: float) -> Load:
    """Requests at a steady rate, each on its own connection, whatever comes back.

    Args:
        port: of the service.
        form: the body of each request.
        rate: requests a second.
        seconds: for how long.
    """
    requests: list[Request] = []
    cpu_before = _cpu_seconds()
    started = time.monotonic()

    def ask() -> None:
        begun = time.monotonic()
        try:
            connection = _connection(port)
            request = _timed_request(connection, form)
            connection.close()
        except OSError:
            request = Request(_REFUSED, time.monotonic() - begun)
        requests.append(request)

    # Each request starts when it is due, however late the answers are.
    threads = []
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        thread = threading.Thread(target=ask)
        thread.start()
        threads.append(thread)

    for thread in threads:
        thread.join()

    return Load(requests, _client_share(cpu_before, started))


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)


def _timed_request(connection: http.client.HTTPConnection, form: bytes) -> Request:
    """Send the photo and read the whole answer."""
    started = time.monotonic()
    content_type = f"multipart/form-data; boundary={_BOUNDARY}"
    connection.request("POST", "/api/v1/predictions", form, {"Content-Type": content_type})

    answer = connection.getresponse()
    answer.read()
    return Request(answer.status, time.monotonic() - started)


def _client_share(cpu_before: float, started: float) -> float:
    """This process's share of the machine's CPU time since a moment."""
    cpu_time = _cpu_seconds() - cpu_before
    return cpu_time / (time.monotonic() - started) / (os.cpu_count() or 1)


def _cpu_seconds() -> float:
    """CPU time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _number_after(pattern: str, text: str) -> int:
    """The number in a pattern's group; RuntimeError if the text has none."""
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"expected {pattern} in {text!r}: did `leafzoom serve` fail?")
    return int(match[1])


if __name__ == "__main__":
    main()
