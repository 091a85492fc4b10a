"""The service as programs use it: a real process, a tiny model."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from leafzoom.errors import LeafzoomError
from leafzoom.inference.model_file import open_network
from leafzoom.inference.predictor import Prediction, Predictor
from leafzoom.photo import Source, read_source
from leafzoom.serve.batching import Batcher
from leafzoom.serve.limits import Admission, BusyError
from leafzoom.serve.server import run_server


class Running:
    """A service in its own process."""

    def __init__(self, model: Path) -> None:
        command = [sys.executable, "-m", "leafzoom.cli", "serve", "--port", "0", "--model", str(model)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + (self.process.stderr.read() if self.process.stderr else "")
        self.port = int(found[1])
        self.url = found[0]
        for _ in range(100):
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("the service did not get ready")

    def memory_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]

    def stop(self) -> float:
        """Seconds until it has ended after SIGTERM."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - started


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    service = Running(trained)
    yield service
    service.stop()


@pytest.fixture
def photo(leaves: Path) -> Path:
    return leaves / "train_images" / "leaf-00001.jpg"


def post(running: Running, *files: tuple[str, bytes], field: str = "photos") -> httpx.Response:
    return httpx.post(f"{running.url}/api/v1/predictions", files=[(field, file) for file in files], timeout=30)


def test_the_answer_is_that_of_predict(running: Running, trained: Path, photo: Path) -> None:
    answer = post(running, ("a.jpg", photo.read_bytes()), ("b.jpg", b"no photo"))
    assert answer.status_code == 200
    said, failed = answer.json()
    alone = Predictor(open_network(str(trained)))(photo)
    assert isinstance(alone, Prediction)
    wanted = {**alone.to_dict(), "photo": "a.jpg"}
    assert said.keys() == wanted.keys()
    assert said["labels"] == wanted["labels"]
    assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-4)
    assert said["scales"][2]["box"] == pytest.approx(wanted["scales"][2]["box"], abs=0.1)
    assert set(failed) == {"photo", "error"}


def test_the_model_tells_itself(running: Running) -> None:
    model = httpx.get(f"{running.url}/api/v1/model").json()
    assert model["labels"] == ["healthy", "ring_spot", "solid_spot"]
    assert model["thresholds"].keys() == set(model["labels"])
    assert "non-commercial" in model["licence"]
    assert model["limits"]["photos"] == 6


def test_health_metrics_and_headers(running: Running, photo: Path) -> None:
    assert httpx.get(f"{running.url}/live").text == "live"
    assert httpx.get(f"{running.url}/ready").status_code == 200
    post(running, ("a.jpg", photo.read_bytes()))
    metrics = httpx.get(f"{running.url}/metrics").text
    assert re.search(r'leafzoom_requests_total\{route="/api/v1/predictions",status="200"\} [1-9]', metrics)
    assert "leafzoom_prediction_seconds_count" in metrics
    page = httpx.get(f"{running.url}/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for asset in ("app.js", "viewer.js", "labels.js", "style.css", "icon.svg"):
        found = httpx.get(f"{running.url}/{asset}")
        assert found.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/)", found.text), "assets load nothing from elsewhere"
    for path in ("/../server.py", "/%2e%2e/server.py", "/nothing", "/api/v1/nothing"):
        assert httpx.get(running.url + path).status_code == 404


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" * 100_000, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def encoded(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(file, form, **options)
    return file.getvalue()


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there many times: bytes cost little, time a lot."""
    whole = encoded("JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * count + b"\xff\xd9"


HOSTILE = {
    "50,000 scans": scans(50_000),
    "65k x 65k": png_header(65_535, 65_535),
    "a bomb within the general limit": png_header(9_000, 9_000),
    "cut": encoded("JPEG")[:300],
    "TIFF named .jpg": encoded("TIFF"),
    "EPS named .jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(r) file",
    "SVG named .jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "nothing": b"",
    "zeros": b"\0" * 3_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_photos_are_refused_at_once(running: Running, kind: str) -> None:
    before, started = running.memory_mb(), time.monotonic()
    answer = post(running, ("leaf.jpg", HOSTILE[kind]))
    assert time.monotonic() - started < 0.5
    assert 400 <= answer.status_code < 500
    assert answer.json()[0]["error"]
    assert running.memory_mb() - before < 50


def test_hostile_forms_are_refused_at_once(running: Running, photo: Path) -> None:
    before = running.memory_mb()
    leaf = ("a.jpg", photo.read_bytes())
    url = f"{running.url}/api/v1/predictions"
    started = time.monotonic()
    assert post(running, *[leaf] * 7).status_code in (400, 413)
    assert post(running, *[(f"{n}.jpg", b"x") for n in range(10_000)]).status_code in (400, 413)
    assert httpx.post(url, data={f"f{n}": "x" for n in range(10_000)}).status_code == 415
    assert httpx.post(url, files={f"f{n}": (None, "x") for n in range(10_000)}).status_code in (400, 422)
    assert post(running, leaf, field="file").status_code == 422
    assert httpx.post(url).status_code == 415
    assert httpx.post(url, content=b"--x--\r\n", headers={"content-type": "multipart/form-data"}).status_code == 400
    assert time.monotonic() - started < 6 * 0.5 + 1.5  # most of it is the client's, making 20,000 parts
    assert running.memory_mb() - before < 50


def test_a_form_that_is_not_encoded_as_it_says(running: Running) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="\xff.jpg"\r\n\r\nx\r\n--b--\r\n'
    for charset in ("punycode", "undefined", "nothing", "idna"):
        headers = {"content-type": f"Multipart/Form-Data; boundary=b; charset={charset}"}
        answer = httpx.post(f"{running.url}/api/v1/predictions", content=body, headers=headers)
        assert 400 <= answer.status_code < 500
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_of_other_sites_are_refused(running: Running, photo: Path) -> None:
    url, files = f"{running.url}/api/v1/predictions", {"photos": ("a.jpg", photo.read_bytes())}
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert httpx.post(url, files=files, headers=headers).status_code == 403
    assert httpx.get(f"{running.url}/metrics", headers={"host": "evil.example"}).status_code == 403
    assert httpx.post(url, files=files, headers={"origin": running.url}).status_code == 200


def test_many_large_uploads_at_once_stay_on_disk(running: Running) -> None:
    before, most = running.memory_mb(), 0.0
    files = [(f"{n}.jpg", bytes(20 * 2**20)) for n in range(6)]
    threads = [threading.Thread(target=post, args=(running, *files)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, running.memory_mb())
        time.sleep(0.02)
    assert most - before < 150  # 360 MB were sent


def test_bodies_end_at_the_limit_whatever_their_header_says(running: Running) -> None:
    before = running.memory_mb()
    url = f"{running.url}/api/v1/predictions"
    large = 26 * 2**20
    assert post(running, ("a.jpg", bytes(large))).status_code == 413
    with socket.create_connection(("127.0.0.1", running.port), 10) as door:  # says 10 GB, sends nothing
        door.sendall(
            b"POST /api/v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000000\r\n\r\n"
        )
        started = time.monotonic()
        assert b" 413 " in door.recv(200)
        assert time.monotonic() - started < 0.5

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
        for _ in range(400):
            yield bytes(2**20)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    with contextlib.suppress(httpx.TransportError):  # the door may be closed while we are still talking
        assert httpx.post(url, content=endless(), headers=headers, timeout=60).status_code == 413
    assert running.memory_mb() - before < 50
    assert httpx.get(f"{running.url}/live").status_code == 200


def test_a_name_with_markup_is_a_name(running: Running, photo: Path) -> None:
    for name, shown in (
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a" * 1000 + ".jpg", "a" * 200),
    ):
        assert post(running, (name, photo.read_bytes())).json()[0]["photo"] == shown


def test_photos_of_concurrent_requests_are_one_batch(trained: Path, photo: Path) -> None:
    predictor = Predictor(open_network(str(trained)))
    sizes: list[int] = []
    plain = predictor.diagnose

    def listening(photos: list[tuple[str, None, Source]]) -> list[Prediction]:
        sizes.append(len(photos))
        time.sleep(0.05)
        return plain(photos)

    predictor.diagnose = listening  # type: ignore[method-assign,assignment]
    batcher = Batcher(predictor, largest=4)
    source = read_source(photo, 96)
    waiting = [batcher.submit(str(n), source) for n in range(9)]
    assert [found.result(10).photo for found in waiting] == [str(n) for n in range(9)]
    assert max(sizes) == 4
    assert len(sizes) < 9

    def broken(photos: object) -> list[Prediction]:
        raise RuntimeError("no memory")

    predictor.diagnose = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="no memory"):
        batcher.submit("x", source).result(10)
    predictor.diagnose = plain  # type: ignore[method-assign]
    assert batcher.submit("y", source).result(10).photo == "y"  # the thread lives
    batcher.close()


def test_admission_is_bounded_and_given_back() -> None:
    admission = Admission(4)
    admission.take(3)
    admission.take(1)
    assert admission.full
    with pytest.raises(BusyError):
        admission.take(1)
    admission.give_back(4)
    admission.take(6)  # any count is let in where nothing is under way
    admission.give_back(6)
    assert admission.now == 0


def test_several_photos_wait_and_nobody_is_let_in_before_them() -> None:
    async def scene() -> None:
        admission = Admission(4)
        admission.take(2)
        many = asyncio.ensure_future(admission.take_many(6, 5.0))
        await asyncio.sleep(0.03)
        with pytest.raises(BusyError):
            admission.take(1)
        admission.give_back(2)
        await many
        assert admission.now == 6
        with pytest.raises(BusyError):
            await admission.take_many(2, 0.05)
        assert admission.now == 6
        admission.give_back(6)
        admission.take(1)

    asyncio.run(scene())


def test_load_beyond_what_it_takes_is_refused_and_said_when_to_come_again(running: Running, leaves: Path) -> None:
    photos = [path.read_bytes() for path in sorted((leaves / "train_images").iterdir())[:6]]
    statuses: list[int] = []
    waits: list[str] = []

    def work() -> None:
        for _ in range(4):
            answer = post(running, *[(f"{n}.jpg", content) for n, content in enumerate(photos)])
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                waits.append(answer.headers["retry-after"])

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert set(waits) == {"1"}
    assert post(running, ("a.jpg", photos[0])).status_code == 200


def test_it_stops_as_it_should(trained: Path, leaves: Path) -> None:
    """SIGTERM: not ready any more, what is under way is answered, gone within 10 s."""
    service = Running(trained)
    photos = [(path.name, path.read_bytes()) for path in sorted((leaves / "train_images").iterdir())[:6]]
    answers: list[int] = []

    def ask() -> None:
        answers.extend(post(service, *photos).status_code for _ in range(3))

    asking = threading.Thread(target=ask)
    with httpx.Client() as client:
        assert client.get(f"{service.url}/ready").status_code == 200
        asking.start()
        time.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert client.get(f"{service.url}/ready").status_code == 503
        assert client.get(f"{service.url}/live").status_code == 200
    started = time.monotonic()
    assert service.process.wait(10) == 0
    assert time.monotonic() - started < 10
    asking.join()
    assert answers[0] == 200
    assert service.process.stderr
    assert "Traceback" not in service.process.stderr.read()


def test_an_address_that_is_taken_is_one_line(running: Running, trained: Path) -> None:
    with pytest.raises(LeafzoomError, match=f"cannot listen on 127.0.0.1 port {running.port}"):
        run_server(str(trained), port=running.port)


def test_the_schema_holds_for_random_requests(running: Running) -> None:
    """Schemathesis: no server error, and every answer as documented."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/api/v1/openapi.json"]
    command += ["--max-examples", "15", "--seed", "1", "--no-color", "--phases", "examples,coverage,fuzzing"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                "response_schema_conformance"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_large_photo_is_answered(running: Running) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((4000, 3000)).save(file, "JPEG", quality=80)
    (said,) = post(running, ("large.jpg", file.getvalue())).json()
    assert said["scales"][0]["box"] == [0, 0, 4000, 3000]
    assert json.dumps(said)
