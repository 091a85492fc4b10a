"""Forms: damaged, endless, with too many parts, with odd names."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from serve.service_process import ServiceProcess

MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
PART_HEADER = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'


def test_damaged_and_wrong_forms_are_refused(service: ServiceProcess, photo_bytes: bytes) -> None:
    leaf = ("a.jpg", photo_bytes)
    too_many = service.post_photos(*[leaf] * 7)
    assert too_many.status_code == 413
    assert "at most 6 photos" in too_many.json()["detail"]
    assert service.post_photos(leaf, field="file").status_code == 422
    assert service.post().status_code == 415

    without_boundary = {"content-type": "multipart/form-data"}
    assert service.post(content=b"--x--\r\n", headers=without_boundary).status_code == 400


def test_forms_of_many_parts_are_refused_before_they_cost_much(
    service: ServiceProcess, photo_bytes: bytes
) -> None:
    """Ten thousand parts cost the service less CPU time than the diagnoses of some photos."""
    # The machine's speed is measured with ordinary requests.
    service.post_photos(("a.jpg", photo_bytes))
    idle = service.cpu_seconds()
    for _ in range(20):
        assert service.post_photos(*[("a.jpg", photo_bytes)] * 6).status_code == 200
    ordinary_seconds = service.cpu_seconds() - idle

    memory_before = service.memory_mb()
    cpu_before = service.cpu_seconds()
    files = [(f"{number}.jpg", b"x") for number in range(10_000)]
    fields = {f"f{number}": (None, "x") for number in range(10_000)}
    assert service.post_photos(*files).status_code in (400, 413)
    assert service.post(files=fields).status_code in (400, 422)
    assert service.post(data=dict.fromkeys(fields, "x")).status_code == 415

    hostile_seconds = service.cpu_seconds() - cpu_before
    print(f"ordinary {ordinary_seconds:.2f} s, hostile {hostile_seconds:.2f} s")
    assert hostile_seconds < ordinary_seconds
    assert service.memory_mb() - memory_before < 50


@pytest.mark.parametrize("charset", ["punycode", "undefined", "nothing", "idna"])
def test_a_form_of_another_charset_is_refused(service: ServiceProcess, charset: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="photos"; filename="\xff.jpg"\r\n\r\n'
        b"x\r\n--b--\r\n"
    )
    headers = {"content-type": f"Multipart/Form-Data; boundary=b; charset={charset}"}
    answer = service.post(content=body, headers=headers)

    assert 400 <= answer.status_code < 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_large_concurrent_uploads_stay_on_disk(service: ServiceProcess) -> None:
    files = [(f"{number}.jpg", bytes(20 * 2**20)) for number in range(6)]
    threads = [threading.Thread(target=service.post_photos, args=files) for _ in range(3)]
    before = service.memory_mb()
    peak = before

    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, service.memory_mb())
        time.sleep(0.02)

    # 360 MB were sent.
    assert peak - before < 150


def test_a_photo_beyond_the_limit_is_refused(service: ServiceProcess) -> None:
    answer = service.post_photos(("a.jpg", bytes(101 * 2**20)))
    assert answer.status_code == 413
    limits = "too large: at most 6 photos of 100 MB each, 150 MB together"
    assert answer.json()["detail"] == limits


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(
    service: ServiceProcess,
) -> None:
    with socket.create_connection(("127.0.0.1", service.port), 60) as connection:
        connection.sendall(
            b"POST /api/v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 10000000000\r\n\r\n"
        )
        assert b" 413 " in connection.recv(200)


def test_a_body_without_a_length_ends_at_the_limit(service: ServiceProcess) -> None:
    def endless_body() -> Iterator[bytes]:
        yield PART_HEADER
        for _ in range(400):
            yield bytes(2**20)

    before = service.memory_mb()

    # The service may close the connection while the body is still sent.
    with contextlib.suppress(httpx.TransportError):
        answer = service.post(content=endless_body(), headers=MULTIPART)
        assert answer.status_code == 413

    assert service.memory_mb() - before < 50
    assert service.get("/live").status_code == 200


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a" * 1000 + ".jpg", "a" * 200),
    ],
)
def test_a_file_name_is_only_a_name(
    service: ServiceProcess, photo_bytes: bytes, name: str, expected: str
) -> None:
    (result,) = service.post_photos((name, photo_bytes)).json()
    assert result["photo"] == expected
