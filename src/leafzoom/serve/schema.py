"""What the API's OpenAPI document says of photos and predictions: the objects of `predict --format json`."""

from __future__ import annotations

from typing import Any

__all__ = ["ERRORS", "PREDICTIONS", "request_body"]

_PROBABILITIES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
_LABELS = {"type": "array", "items": {"type": "string"}}
_PREDICTION: dict[str, Any] = {
    "type": "object",
    "required": ["photo", "labels", "probabilities", "scales", "verdict", "likely", "confidence", "model"],
    "properties": {
        "photo": {"type": "string", "description": "the file's name"},
        "labels": {**_LABELS, "description": "empty unless the verdict is `diagnosis`"},
        "probabilities": _PROBABILITIES,
        "scales": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["scale", "box", "probabilities"],
                "properties": {
                    "scale": {"type": "integer"},
                    "box": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                        "description": "x0, y0, x1, y1 in pixels of the upright photo",
                    },
                    "probabilities": _PROBABILITIES,
                },
            },
        },
        "verdict": {"enum": ["diagnosis", "unsure", "not_a_leaf"]},
        "likely": {**_LABELS, "description": "the best answer, whatever the verdict"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "strangeness": {"type": ["number", "null"], "description": "above 1: unlike the leaves the model knows"},
        "model": {"type": "string"},
    },
}
_FAILED = {
    "type": "object",
    "required": ["photo", "error"],
    "properties": {"photo": {"type": "string"}, "error": {"type": "string"}},
    "additionalProperties": False,
}
_LIST = {"type": "array", "items": {"anyOf": [_PREDICTION, _FAILED]}}
_DETAIL = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}

PREDICTIONS: dict[str, Any] = {
    "description": "an object a photo, in order",
    "content": {"application/json": {"schema": _LIST}},
}


def _error(description: str, schema: dict[str, Any] = _DETAIL) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("a damaged form, or too many parts"),
    413: _error("too many bytes"),
    415: _error("not multipart/form-data"),
    422: _error("no photos in the form, or none that can be read", {"anyOf": [_DETAIL, _LIST]}),
    403: _error("asked by a page of another site"),
    408: _error("the upload took too long"),
    429: {**_error("busy"), "headers": _RETRY},
    500: _error("a fault of the service"),
    503: {**_error("it took too long"), "headers": _RETRY},
}


def request_body(photos: int) -> dict[str, Any]:
    """The form of a request of at most so many photos."""
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photos"],
                    "properties": {
                        "photos": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": photos,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
