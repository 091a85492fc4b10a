"""The service as programs use it: answers, headers, and who may ask."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from conftest import run_command
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from serve.service_process import ServiceProcess


def test_the_answer_equals_that_of_predict(
    service: ServiceProcess, trained: Path, photo_bytes: bytes
) -> None:
    answer = service.post_photos(("a.jpg", photo_bytes), ("b.jpg", b"no photo"))
    assert answer.status_code == 200
    result, failed = answer.json()

    prediction = Predictor(open_network(str(trained))).predict(photo_bytes)
    expected = {**prediction.to_dict(), "photo": "a.jpg"}
    assert result.keys() == expected.keys()
    assert result["labels"] == expected["labels"]
    assert result["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)
    assert result["scales"][2]["box"] == pytest.approx(expected["scales"][2]["box"], abs=0.1)
    assert set(failed) == {"photo", "error"}


def test_leaves_are_pooled_as_probabilities(service: ServiceProcess, photo_bytes: bytes) -> None:
    files = [("photos", (name, photo_bytes, "image/jpeg")) for name in ("a.jpg", "b.jpg")]
    plain = httpx.post(service.predictions_url, files=files).json()
    content = httpx.post(f"{service.predictions_url}?pooled=true", files=files).json()

    assert content["predictions"] == plain
    pooled = content["pooled"]
    assert pooled["leaves"] == 2
    for label, share in pooled["share"].items():
        both = 1 - (1 - share) ** 2  # of the same photo twice
        assert pooled["any_leaf"][label] == pytest.approx(both, abs=1e-5)

    broken = [("photos", ("a.jpg", b"no photo", "image/jpeg"))]
    failed = httpx.post(f"{service.predictions_url}?pooled=true", files=broken)
    assert failed.status_code == 422
    assert failed.json()["pooled"] is None
    wrong = httpx.post(f"{service.predictions_url}?pooled=maybe", files=files)
    assert "pooled is true or false" in wrong.json()["detail"]


def test_the_model_is_described(service: ServiceProcess) -> None:
    model = service.get("/api/v1/model").json()

    assert model["labels"] == ["healthy", "ring_spot", "solid_spot"]
    assert model["thresholds"].keys() == set(model["labels"])
    assert "non-commercial" in model["licence"]
    assert model["limits"]["photos"] == 6


def test_state_and_metrics(service: ServiceProcess, photo_bytes: bytes) -> None:
    assert service.get("/live").text == "live"
    assert service.get("/ready").status_code == 200

    service.post_photos(("a.jpg", photo_bytes))
    metrics = service.get("/metrics").text
    answered = r'leafzoom_requests_total\{route="/api/v1/predictions",status="200"\} [1-9]'
    assert re.search(answered, metrics)
    assert "leafzoom_prediction_seconds_count" in metrics


def test_metrics_tell_of_drift(service: ServiceProcess, photo_bytes: bytes) -> None:
    """A counter a label of the model, and as many confidences as leaves."""
    answers = service.post_photos(("a.jpg", photo_bytes), ("b.jpg", photo_bytes)).json()
    assert [answer["verdict"] != "not_a_leaf" for answer in answers] == [True, True]

    metrics = service.get("/metrics").text
    counts = dict(re.findall(r'leafzoom_labels_total\{label="(\w+)"\} ([\d.]+)', metrics))
    assert set(counts) == {"healthy", "ring_spot", "solid_spot"}
    assert all(float(counts[label]) >= 2 for label in answers[0]["likely"])
    confidences = re.search(r"leafzoom_confidence_count ([\d.]+)", metrics)
    assert confidences
    assert float(confidences[1]) >= 2
    assert re.search(r'leafzoom_confidence_bucket\{le="0.5"\}', metrics)
    assert "leafzoom_ood_score_bucket" in metrics


# Coverage.


def post_photo(service: ServiceProcess, photo: bytes, query: str) -> httpx.Response:
    files = {"photos": ("a.jpg", photo)}
    return httpx.post(f"{service.predictions_url}?{query}", files=files, timeout=60)


def test_a_request_may_ask_for_a_coverage(
    service: ServiceProcess, trained: Path, photo_bytes: bytes
) -> None:
    (result,) = post_photo(service, photo_bytes, "coverage=0.75").json()

    prediction = Predictor(open_network(str(trained))).predict(photo_bytes, coverage=0.75)
    assert prediction.possible
    assert result["possible"] == [list(labels) for labels in prediction.possible]
    assert service.get("/api/v1/model").json()["coverage"] is None


def test_a_request_may_ask_for_maps(
    service: ServiceProcess, trained: Path, photo_bytes: bytes
) -> None:
    (plain,) = post_photo(service, photo_bytes, "maps=false").json()
    assert "evidence" not in plain
    assert service.get("/api/v1/model").json()["maps"] is True

    (result,) = post_photo(service, photo_bytes, "maps=true").json()
    prediction = Predictor(open_network(str(trained))).predict(photo_bytes, maps=True)
    assert prediction.evidence is not None
    assert result.pop("evidence") == prediction.evidence.to_dict()
    assert result == plain

    answer = post_photo(service, photo_bytes, "maps=perhaps")
    assert answer.status_code == 422
    assert "maps is true or false" in answer.json()["detail"]


@pytest.mark.parametrize("coverage", ["0.2", "1", "nan", "x", ""])
def test_impossible_coverages_are_refused(
    service: ServiceProcess, photo_bytes: bytes, coverage: str
) -> None:
    answer = post_photo(service, photo_bytes, f"coverage={coverage}")

    assert answer.status_code == 422
    assert "the coverage has to be between 0.5 and 0.999" in answer.json()["detail"]


def test_a_service_may_have_a_coverage(trained: Path, photo_bytes: bytes) -> None:
    own = ServiceProcess(trained, "--coverage", "0.99")
    try:
        assert "is more than 6 calibration photographs can guarantee" in own.first_lines
        assert own.get("/api/v1/model").json()["coverage"] == 0.99
        (result,) = own.post_photos(("a.jpg", photo_bytes)).json()
        (asked,) = post_photo(own, photo_bytes, "coverage=0.5").json()
    finally:
        own.stop()

    assert len(result["possible"]) > len(asked["possible"]) >= 1


def test_a_service_needs_a_model_with_a_calibration() -> None:
    older = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"

    result = run_command("serve", "--model", older, "--coverage", "0.9", "--port", "0")

    assert result.exit_code == 1
    assert "has no calibration for a coverage" in result.stderr


def test_the_page_loads_only_its_own_assets(service: ServiceProcess) -> None:
    page = service.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    # The assets that the page names, then those that its scripts name: imports, texts, icons.
    page_folder = resources.files("leafzoom.serve") / "page"
    files = {file.name for file in page_folder.iterdir()}
    pending = re.findall(r'(?:src|href)="([\w.-]+)"', page.text)
    loaded: set[str] = set()
    while pending:
        asset = pending.pop()
        if asset in loaded:
            continue

        answer = service.get(f"/{asset}")
        assert answer.status_code == 200, asset
        assert not re.search(r"https?://(?!www\.w3\.org/)", answer.text), asset
        loaded.add(asset)
        if not asset.endswith(".png"):
            named = re.findall(r'"(?:\./)?([\w.-]+)"', answer.text)
            pending += [name for name in named if name in files - {"index.html"}]

    assert loaded == files - {"index.html", "sign-in.html"}


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "/nothing", "/api/v1/nothing"]
)
def test_other_paths_are_not_found(service: ServiceProcess, path: str) -> None:
    assert service.get(path).status_code == 404


def test_pages_of_other_sites_are_refused(service: ServiceProcess, photo_bytes: bytes) -> None:
    files = {"photos": ("a.jpg", photo_bytes)}
    for headers in (
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert service.post(files=files, headers=headers).status_code == 403

    assert service.get("/metrics", headers={"host": "evil.example"}).status_code == 403
    assert service.post(files=files, headers={"origin": service.url}).status_code == 200


def test_a_large_photo_is_answered(service: ServiceProcess) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((4000, 3000)).save(file, "JPEG", quality=80)

    (result,) = service.post_photos(("large.jpg", file.getvalue())).json()
    assert result["scales"][0]["box"] == [0, 0, 4000, 3000]
    assert json.dumps(result)


def test_random_requests_get_answers_as_documented(service: ServiceProcess) -> None:
    """Schemathesis: no server error, and every answer as in the OpenAPI document."""
    checks = (
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance"
    )
    command = [
        sys.executable,
        *("-m", "schemathesis.cli", "run", f"{service.url}/api/v1/openapi.json"),
        *("--max-examples", "15", "--seed", "1", "--no-color"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--checks", checks),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


# HTTP as health checks and other programs speak it.


def raw_answer(service: ServiceProcess, request: str) -> str:
    """What comes back for a request in bytes, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", service.port), 60) as connection:
        connection.sendall(request.encode())
        content = b""
        while part := connection.recv(65536):
            content += part
    return content.decode()


@pytest.mark.parametrize("path", ["/live", "/ready"])
def test_health_checks_need_no_host(service: ServiceProcess, path: str) -> None:
    for head in (f"GET {path} HTTP/1.0\r\n", f"HEAD {path} HTTP/1.0\r\n"):
        assert raw_answer(service, f"{head}\r\n").startswith("HTTP/1.1 200 ")

    by_another_name = f"GET {path} HTTP/1.1\r\nHost: pod.example\r\nConnection: close\r\n\r\n"
    assert raw_answer(service, by_another_name).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "path", ["/", "/app.js", "/live", "/ready", "/metrics", "/api/v1/model", "/api/v1/openapi.json"]
)
def test_head_is_get_without_a_body(service: ServiceProcess, path: str) -> None:
    head = httpx.head(service.url + path)
    get = service.get(path)

    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/v1/predictions", "POST"),
        ("HEAD", "/api/v1/predictions", "POST"),
        ("PUT", "/api/v1/predictions", "POST"),
        ("POST", "/api/v1/model", "GET, HEAD"),
        ("DELETE", "/ready", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD"),
        ("POST", "/app.js", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_405(service: ServiceProcess, method: str, path: str, allow: str) -> None:
    answer = httpx.request(method, service.url + path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow


def test_a_refusal_names_the_host_and_what_to_do(service: ServiceProcess) -> None:
    answer = service.get("/", headers={"host": "leaves.example"})
    assert answer.status_code == 403
    assert "leaves.example" in answer.json()["detail"]
    assert "--allowed-host" in answer.json()["detail"]
