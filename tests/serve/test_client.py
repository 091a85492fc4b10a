"""A typed client that a generator makes from the API's document, against a running service."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from serve.service_process import ServiceProcess

PACKAGE = "leafzoom_client"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the generated package."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(json.dumps(service.get("/api/v1/openapi.json").json()))
    config = folder / "config.yml"
    config.write_text(f"package_name_override: {PACKAGE}\nproject_name_override: client\n")

    command = [sys.executable, "-m", "openapi_python_client", "generate"]
    command += ["--path", str(document), "--config", str(config), "--meta", "none"]
    command += ["--output-path", str(folder / PACKAGE), "--fail-on-warning"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def generated(client: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(client))
    return importlib.import_module(PACKAGE)


def operation(name: str) -> ModuleType:
    """The module of one call."""
    return importlib.import_module(f"{PACKAGE}.api.default.{name}")


def test_it_has_the_results_as_types(
    service: ServiceProcess, generated: ModuleType, six_photos: list[tuple[str, bytes]]
) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")
    types = importlib.import_module(f"{PACKAGE}.types")
    files = [types.File(io.BytesIO(content), name) for name, content in six_photos[:2]]
    files.append(types.File(io.BytesIO(b"no photo"), "broken.jpg"))
    body = models.PredictionsApiV1PredictionsPostBody(photos=files)

    call = operation("predictions_api_v1_predictions_post")
    with generated.Client(base_url=service.url, timeout=120) as client:
        answer = call.sync_detailed(client=client, body=body)
    assert answer.status_code == 200
    first, second, failed = answer.parsed
    assert isinstance(first, models.Prediction)
    assert isinstance(failed, models.FailedPhoto)
    assert failed.photo == "broken.jpg"

    # The same as without a client.
    expected = service.post_photos(*six_photos[:2]).json()
    assert [first.to_dict(), second.to_dict()] == expected
    assert first.verdict.value == expected[0]["verdict"]
    assert first.scales[1].box == expected[0]["scales"][1]["box"]
    assert dict(first.probabilities.additional_properties) == expected[0]["probabilities"]


def test_it_has_the_refusals_and_the_model_as_types(
    service: ServiceProcess, generated: ModuleType, six_photos: list[tuple[str, bytes]]
) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")
    types = importlib.import_module(f"{PACKAGE}.types")
    (name, content), *_ = six_photos
    photo = types.File(io.BytesIO(content), name)
    body = models.PredictionsApiV1PredictionsPostBody(photos=[photo])

    with generated.Client(base_url=service.url, timeout=120) as client:
        call = operation("predictions_api_v1_predictions_post")
        refused = call.sync_detailed(client=client, body=body, coverage=0.3)
        model = operation("model_api_v1_model_get").sync(client=client)
    assert refused.status_code == 422
    assert isinstance(refused.parsed, models.Refusal)
    assert "coverage" in refused.parsed.detail
    assert isinstance(model, models.Model)
    assert model.to_dict() == service.get("/api/v1/model").json()


def test_its_types_are_those_of_a_type_checker(client: Path) -> None:
    """A program that uses it is checked, and a misspelt attribute is found."""
    program = client / "program.py"
    program.write_text(
        f"from {PACKAGE}.models import FailedPhoto, Prediction\n"
        "def text(result: Prediction | FailedPhoto) -> str:\n"
        "    if isinstance(result, FailedPhoto):\n"
        "        return result.error\n"
        "    return f'{result.confidence + 1.0} {result.scales[0].scale + 1}'\n"
        "def wrong(result: Prediction) -> object:\n"
        "    return result.confidance\n"
    )
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent", str(program)]
    done = subprocess.run(command, cwd=client, capture_output=True, text=True, check=False)
    assert 'has no attribute "confidance"' in done.stdout
    assert "Found 1 error" in done.stdout
