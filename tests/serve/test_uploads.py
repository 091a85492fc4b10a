"""Forms: damaged, endless, with too many parts, with odd names."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import Request

from leafzoom.serve.limits import BodyTimeout, Limits, NoSpaceError
from leafzoom.serve.uploads import discard_body, read_form, uploaded_photos
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


# Names of files, as programs send them.


def post_part(service: ServiceProcess, disposition: str, content: bytes) -> httpx.Response:
    """The answer to a form of one part."""
    header = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    return service.post(content=header + content + b"\r\n--b--\r\n", headers=MULTIPART)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("", "photo"),
        ('; filename=""', "photo"),
        ("; filename=leaf.jpg", "leaf.jpg"),
        ('; filename="Blätter 叶.jpg"', "Blätter 叶.jpg"),
        ("; filename*=UTF-8''Bl%C3%A4tter%20%E5%8F%B6.jpg", "Blätter 叶.jpg"),
        ("; filename*=utf-8'en'leaf.jpg", "leaf.jpg"),
        ("; filename*=ISO-8859-1''Bl%E4tter.jpg", "Blätter.jpg"),
        ("; filename=plain.jpg; filename*=UTF-8''b%C3%A4.jpg", "bä.jpg"),
        ("; filename*=UTF-8''b%C3%A4.jpg; filename=plain.jpg", "bä.jpg"),
        ("; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("; filename*=nothing''a.jpg", "a.jpg"),
    ],
)
def test_a_name_is_optional_and_may_be_encoded(
    service: ServiceProcess, photo_bytes: bytes, parameters: str, name: str
) -> None:
    answer = post_part(service, f'name="photos"{parameters}', photo_bytes)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()
    assert result["photo"] == name


def test_a_large_photo_without_a_name_is_read(service: ServiceProcess, photo_bytes: bytes) -> None:
    """A part that is no file may have 1 MB only."""
    answer = post_part(service, 'name="photos"', photo_bytes + bytes(3 * 2**20))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna"])
def test_a_name_that_cannot_be_decoded_is_refused(
    service: ServiceProcess, photo_bytes: bytes, charset: str
) -> None:
    answer = post_part(service, f"name=photos; filename*={charset}''%ff..", photo_bytes)
    assert answer.status_code == 400


def test_another_field_stays_another_field(service: ServiceProcess, photo_bytes: bytes) -> None:
    answer = post_part(service, "name=file; filename*=UTF-8''a.jpg", photo_bytes)
    assert answer.status_code == 422
    assert "`photos`" in answer.json()["detail"]


# Slow connections.

LIMITS = Limits(upload_stall_s=0.4, upload_bytes_per_s=1000)


def request_in_parts(parts: list[bytes], seconds: float) -> Request:
    """A request whose body comes in parts, with so many seconds before each."""
    pending = list(parts)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(seconds)
        body = pending.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pending)}

    headers = [(name.encode(), text.encode()) for name, text in MULTIPART.items()]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def test_a_slow_body_is_read_to_its_end() -> None:
    """It takes five times as long as it may stop."""
    parts = [PART_HEADER, *[bytes(200)] * 20, b"\r\n--b--\r\n"]
    started = time.monotonic()

    form = asyncio.run(read_form(request_in_parts(parts, 0.1), LIMITS))

    assert time.monotonic() - started > 5 * LIMITS.upload_stall_s
    (photo,) = uploaded_photos(form)
    assert photo.size == 4000


@pytest.mark.parametrize("read", [read_form, discard_body])
def test_a_body_that_stops_is_ended(read: object) -> None:
    request = request_in_parts([PART_HEADER, bytes(10)], 5.0)
    with pytest.raises(TimeoutError):
        asyncio.run(read(request, LIMITS))  # type: ignore[operator]


def test_a_body_of_a_byte_now_and_then_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep its place for ever; the clock is the test's."""
    now = 0.0
    monkeypatch.setattr("leafzoom.serve.limits.time.monotonic", lambda: now)

    async def receive() -> dict[str, object]:
        nonlocal now
        now += 20
        return {"type": "http.request", "body": b"x", "more_body": True}

    timed = BodyTimeout(receive, stall_s=30, bytes_per_s=1000)  # type: ignore[arg-type]

    async def read_on() -> None:
        while now < 1000:
            await timed()

    with pytest.raises(TimeoutError):
        asyncio.run(read_on())
    assert now == 40


def test_a_fast_start_does_not_earn_a_place_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MB at once, then a byte now and then."""
    now = 0.0
    monkeypatch.setattr("leafzoom.serve.limits.time.monotonic", lambda: now)
    parts = [bytes(100 * 2**20)]

    async def receive() -> dict[str, object]:
        nonlocal now
        now += 20
        return {"type": "http.request", "body": parts.pop() if parts else b"x", "more_body": True}

    timed = BodyTimeout(receive, stall_s=30, bytes_per_s=1000)  # type: ignore[arg-type]

    async def read_on() -> None:
        while now < 1000:
            await timed()

    with pytest.raises(TimeoutError):
        asyncio.run(read_on())
    assert now == 60


@pytest.mark.parametrize("failure_at", [1, 2])
def test_a_disk_that_fills_up_with_the_last_bytes_is_said_too(
    monkeypatch: pytest.MonkeyPatch, failure_at: int
) -> None:
    """Writing fails with the last part, or afterwards, when what was buffered is flushed."""
    failing = {1: "write", 2: "seek"}[failure_at]

    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UploadFile, failing, full)
    request = request_in_parts([PART_HEADER + bytes(2 * 2**20) + b"\r\n--b--\r\n"], 0)
    with pytest.raises(NoSpaceError, match=r"No space left on device.*TMPDIR"):
        asyncio.run(read_form(request, LIMITS))


@pytest.mark.slow
def test_three_megabytes_at_40_kilobytes_a_second(
    service: ServiceProcess, photo_bytes: bytes
) -> None:
    body = PART_HEADER + photo_bytes + bytes(3_000_000 - len(photo_bytes)) + b"\r\n--b--\r\n"
    started = time.monotonic()

    def slowly() -> Iterator[bytes]:
        for sent in range(0, len(body), 4000):
            time.sleep(max(started + sent / 40_000 - time.monotonic(), 0))
            yield body[sent : sent + 4000]

    answer = service.post(content=slowly(), headers=MULTIPART)
    assert time.monotonic() - started > 70
    assert answer.status_code == 200, answer.text
