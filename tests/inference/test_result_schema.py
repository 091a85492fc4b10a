"""The JSON Schema of results: what commands write is valid, and what is wrong is not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from conftest import run_command
from leafzoom.inference.result_schema import SCHEMA_VERSION, JsonFormat, json_schema
from leafzoom.serve.schema import COMPONENTS

GOLDEN = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"


def schema_of(output_format: JsonFormat) -> dict[str, Any]:
    """What `leafzoom schema` prints."""
    result = run_command("schema", "--format", output_format)
    assert result.exit_code == 0, result.output
    schema: dict[str, Any] = json.loads(result.stdout)
    return schema


def undescribed_keys(result: dict[str, Any]) -> set[str]:
    """The keys of a result that the schema does not name."""
    definitions = json_schema("json")["$defs"]
    name = "FailedPhoto" if "error" in result else "Prediction"
    keys = set(result) - set(definitions[name]["properties"])
    for scale in result.get("scales", []):
        keys |= set(scale) - set(definitions["ScalePrediction"]["properties"])
    return keys | set(result.get("evidence", {})) - set(definitions["Evidence"]["properties"])


@pytest.fixture(scope="module")
def photos(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three photos, and a file that is none."""
    broken = tmp_path_factory.mktemp("broken") / "broken.jpg"
    broken.write_bytes(b"no photo")
    return [*sorted((leaves / "train_images").iterdir())[:3], broken]


@pytest.fixture(scope="module")
def results(photos: list[Path]) -> list[dict[str, Any]]:
    """The answers of an older model, which has no detector, and of the shipped one, with all."""
    old = run_command("predict", *photos, "--model", GOLDEN, "--format", "json")
    options = ("--coverage", "0.9", "--maps", "--format", "json")
    new = run_command("predict", *photos, *options)
    assert old.exit_code == new.exit_code == 1
    contents: list[dict[str, Any]] = [*json.loads(old.stdout), *json.loads(new.stdout)]
    return contents


def test_the_schemas_are_schemas_of_their_version() -> None:
    for output_format in get_args(JsonFormat):
        schema = schema_of(output_format)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema == json_schema(output_format)
        assert schema["$id"].endswith(f":{SCHEMA_VERSION}")
    assert schema_of("json")["$id"] != schema_of("jsonl")["$id"]


def test_what_predict_writes_as_json_is_valid(results: list[dict[str, Any]]) -> None:
    jsonschema.validate(results, schema_of("json"), jsonschema.Draft202012Validator)
    assert [undescribed_keys(result) for result in results] == [set()] * len(results)

    # The answers have everything that is optional.
    keys = {key for result in results for key in result}
    assert {"possible", "evidence", "error"} <= keys
    assert {result["strangeness"] is None for result in results if "error" not in result} == {
        True,
        False,
    }


def test_what_predict_writes_as_json_lines_is_valid(photos: list[Path]) -> None:
    written = run_command("predict", *photos, "--model", GOLDEN, "--format", "jsonl").stdout
    lines = written.splitlines()
    assert len(lines) == len(photos)
    for line in lines:
        jsonschema.validate(json.loads(line), schema_of("jsonl"), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "perhaps"),
        (("confidence",), 1.5),
        (("labels",), "scab"),
        (("probabilities", "scab"), -0.1),
        (("scales",), []),
        (("scales", 0, "box"), [0, 0, 1]),
        (("possible",), ["scab"]),
        (("latitude",), 91),
        (("strangeness",), "low"),
    ],
)
def test_what_is_wrong_is_not_valid(
    results: list[dict[str, Any]], path: tuple[str | int, ...], value: object
) -> None:
    result = copy.deepcopy(next(result for result in results if "possible" in result))
    jsonschema.validate(result, json_schema("jsonl"))
    inner: Any = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(result, json_schema("jsonl"))


@pytest.mark.parametrize("key", ["photo", "labels", "verdict", "strangeness", "model"])
def test_no_key_may_be_missing(results: list[dict[str, Any]], key: str) -> None:
    result = {name: value for name, value in results[0].items() if name != key}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(result, json_schema("jsonl"))


def test_a_photo_says_where_it_was_taken_if_its_file_does(results: list[dict[str, Any]]) -> None:
    origin = {"taken": "2021-06-01T10:00:00", "latitude": 46.5, "longitude": -7.25, "camera": None}
    jsonschema.validate({**results[0], **origin}, json_schema("jsonl"))


def test_the_apis_document_describes_results_alike() -> None:
    """But for where its references lead."""
    definitions = json.dumps(json_schema("json")["$defs"])
    described = json.loads(definitions.replace("#/$defs/", "#/components/schemas/"))
    assert {name: COMPONENTS[name] for name in described} == described
