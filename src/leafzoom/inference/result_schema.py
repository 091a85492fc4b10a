"""What `predict` writes as JSON, described: a JSON Schema, and the parts of the API's document.

A new optional key raises the second number of the version, anything else the first.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from leafzoom.inference.verdict import Verdict

__all__ = ["SCHEMA_VERSION", "JsonFormat", "json_schema", "result_definitions"]

Schema = dict[str, Any]

JsonFormat = Literal["json", "jsonl"]
"""`json`: a list of results; `jsonl`: one result, as it is in each line."""

SCHEMA_VERSION = "1.0"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMES: dict[JsonFormat, str] = {"json": "predictions", "jsonl": "prediction"}

_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}
_PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PROBABILITIES: Schema = {"type": "object", "additionalProperties": _PROBABILITY}
_LABELS: Schema = {"type": "array", "items": _TEXT}
_BOX: Schema = {
    "type": "array",
    "items": _NUMBER,
    "minItems": 4,
    "maxItems": 4,
    "description": "x0, y0, x1, y1 in pixels of the upright photo",
}

_SCALE_PREDICTION: Schema = {
    "type": "object",
    "required": ["scale", "box", "probabilities"],
    "properties": {
        "scale": {"type": "integer", "minimum": 1, "description": "1 for the whole photo"},
        "box": _BOX,
        "probabilities": _PROBABILITIES,
        "part": {
            "type": "integer",
            "minimum": 1,
            "description": "of an MA-CNN or attention sampling alone",
        },
    },
}

_LABEL_MAP: Schema = {"type": "array", "items": {"type": "array", "items": _NUMBER}}
_EVIDENCE: Schema = {
    "type": "object",
    "required": ["bias", "maps", "closest_box"],
    "properties": {
        "bias": {"type": "object", "additionalProperties": _NUMBER},
        "maps": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": _LABEL_MAP},
            "description": "of each scale, {label: rows of its box}: with the bias, all numbers of "
            "a label sum to its logit, but for rounding",
        },
        "closest_box": {**_BOX, "type": ["array", "null"]},
    },
    "description": "with `maps`: what speaks for each label, and where",
}

_FAILED_PHOTO: Schema = {
    "type": "object",
    "required": ["photo", "error"],
    "properties": {
        "photo": _TEXT,
        "error": {"type": "string", "description": "why it could not be read, and what to do"},
    },
    "additionalProperties": False,
}

# Where and when a photo was taken, as far as its file says.
_ORIGIN: dict[str, Schema] = {
    "taken": {"type": ["string", "null"], "description": "date and time, of the photo's EXIF"},
    "latitude": {"type": ["number", "null"], "minimum": -90, "maximum": 90},
    "longitude": {"type": ["number", "null"], "minimum": -180, "maximum": 180},
    "camera": {"type": ["string", "null"]},
}


def result_definitions(prefix: str) -> dict[str, Schema]:
    """The schemas of results, by the names of their Python classes.

    Args:
        prefix: of references to them, such as `#/$defs/`.
    """
    prediction: Schema = {
        "type": "object",
        "required": [
            *("photo", "labels", "probabilities", "scales", "verdict", "likely"),
            *("confidence", "strangeness", "model"),
        ],
        "properties": {
            "photo": {"type": "string", "description": "the file's name"},
            "labels": {**_LABELS, "description": "empty unless the verdict is `diagnosis`"},
            "probabilities": _PROBABILITIES,
            "scales": {
                "type": "array",
                "items": {"$ref": f"{prefix}ScalePrediction"},
                "minItems": 1,
            },
            "verdict": {"type": "string", "enum": list(get_args(Verdict))},
            "likely": {**_LABELS, "description": "the best answer, whatever the verdict"},
            "confidence": _PROBABILITY,
            "strangeness": {
                "type": ["number", "null"],
                "description": "the out-of-distribution score; above 1: unlike the leaves that the "
                "model knows",
            },
            "model": _TEXT,
            "possible": {
                "type": "array",
                "items": _LABELS,
                "description": "with `coverage`: the answers among which the true one is, the "
                "likeliest first; empty if the verdict is `not_a_leaf`",
            },
            "evidence": {"$ref": f"{prefix}Evidence"},
            **_ORIGIN,
        },
    }
    return {
        "Prediction": prediction,
        "ScalePrediction": _SCALE_PREDICTION,
        "Evidence": _EVIDENCE,
        "FailedPhoto": _FAILED_PHOTO,
    }


def json_schema(output_format: JsonFormat) -> Schema:
    """The JSON Schema of `predict --format json`, or of a line of `--format jsonl`.

    >>> json_schema("jsonl")["$id"]
    'urn:leafzoom:schema:prediction:1.0'
    """
    prefix = "#/$defs/"
    result: Schema = {
        "anyOf": [{"$ref": f"{prefix}Prediction"}, {"$ref": f"{prefix}FailedPhoto"}],
    }
    content = result if output_format == "jsonl" else {"type": "array", "items": result}
    name = _NAMES[output_format]
    return {
        "$schema": _DIALECT,
        "$id": f"urn:leafzoom:schema:{name}:{SCHEMA_VERSION}",
        "title": f"leafzoom {name}",
        **content,
        "$defs": result_definitions(prefix),
    }
