"""The API's OpenAPI schemas: results are the objects of `predict --format json`."""

from __future__ import annotations

from typing import Any

from leafzoom.inference.result_schema import result_definitions
from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE

__all__ = [
    "COMPONENTS",
    "COVERAGE_PARAMETER",
    "ERRORS",
    "MAPS_PARAMETER",
    "MODEL",
    "POOLED_PARAMETER",
    "PREDICTIONS",
    "request_body",
]

_Schema = dict[str, Any]

_PREFIX = "#/components/schemas/"
_TEXT: _Schema = {"type": "string"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_LIMITS = ("photos", "photo_bytes", "request_bytes", "jpeg_pixels", "other_pixels")

_REFUSAL: _Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string", "description": "why there is no other answer"}},
}

_MODEL: _Schema = {
    "type": "object",
    "required": [
        *("name", "labels", "thresholds", "scales", "metrics", "licence", "coverage"),
        *("maps", "leafzoom", "limits", "decision"),
    ],
    "properties": {
        "name": _TEXT,
        "labels": {"type": "array", "items": _TEXT},
        "thresholds": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "{label: threshold}; empty where labels exclude each other",
        },
        "scales": _COUNT,
        "metrics": {"type": "object", "additionalProperties": True},
        "licence": _TEXT,
        "coverage": {
            "type": ["number", "null"],
            "description": "of `possible` where a request names none",
        },
        "maps": {"type": "boolean", "description": "whether the model has evidence"},
        "leafzoom": {"type": "string", "description": "the version of the service"},
        "limits": {
            "type": "object",
            "required": list(_LIMITS),
            "properties": dict.fromkeys(_LIMITS, _COUNT),
        },
        "decision": {
            "type": "object",
            "additionalProperties": True,
            "description": "how probabilities become an answer, for the page's own use",
        },
    },
}

_SHARES: _Schema = {
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
}
_POOLED: _Schema = {
    "type": "object",
    "required": ["leaves", "share", "any_leaf"],
    "properties": {
        "leaves": {**_COUNT, "description": "photos that are not `not_a_leaf`"},
        "share": {
            **_SHARES,
            "description": "of each label: the expected share of these leaves that have it",
        },
        "any_leaf": {
            **_SHARES,
            "description": "of each label: the probability that at least one leaf has it, as if "
            "photos were independent",
        },
    },
}

COMPONENTS: dict[str, _Schema] = {
    **result_definitions(_PREFIX),
    "Pooled": _POOLED,
    "Refusal": _REFUSAL,
    "Model": _MODEL,
}
"""The schemas of the document, by the names that the others refer to them with."""

_RESULTS: _Schema = {
    "type": "array",
    "items": {
        "anyOf": [{"$ref": f"{_PREFIX}Prediction"}, {"$ref": f"{_PREFIX}FailedPhoto"}],
    },
}
_POOLED_RESULTS: _Schema = {
    "type": "object",
    "required": ["predictions", "pooled"],
    "properties": {
        "predictions": _RESULTS,
        "pooled": {"anyOf": [{"$ref": f"{_PREFIX}Pooled"}, {"type": "null"}]},
    },
    "description": "with `pooled`",
}
_ANSWERS: _Schema = {"anyOf": [_RESULTS, _POOLED_RESULTS]}
_DETAIL: _Schema = {"$ref": f"{_PREFIX}Refusal"}


def _response(description: str, schema: _Schema, *, retry_after: bool = False) -> _Schema:
    """A documented answer in JSON, with the header Retry-After where a client may try again."""
    response: _Schema = {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }
    if retry_after:
        header = {"description": "seconds", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": header}
    return response


COVERAGE_PARAMETER: _Schema = {
    "name": "coverage",
    "in": "query",
    "required": False,
    "description": "for which share of photos like those of the training the true answer is "
    "in `possible`",
    "schema": {"type": "number", "minimum": MIN_COVERAGE, "maximum": MAX_COVERAGE},
}

MAPS_PARAMETER: _Schema = {
    "name": "maps",
    "in": "query",
    "required": False,
    "description": "whether each prediction has `evidence`",
    "schema": {"type": "boolean", "default": False},
}

POOLED_PARAMETER: _Schema = {
    "name": "pooled",
    "in": "query",
    "required": False,
    "description": "whether the answer is an object with `predictions` and `pooled`: what all "
    "leaves say together",
    "schema": {"type": "boolean", "default": False},
}

PREDICTIONS: _Schema = _response("an object a photo, in order", _ANSWERS)

MODEL: _Schema = _response("the model, and what the service takes", {"$ref": f"{_PREFIX}Model"})

ERRORS: dict[int | str, _Schema] = {
    400: _response("a damaged form, or too many parts", _DETAIL),
    401: _response("the service has a token, and the request does not show it", _DETAIL),
    413: _response("too many bytes or photos", _DETAIL),
    415: _response("not multipart/form-data", _DETAIL),
    422: _response(
        "no photos in the form, or none that can be read", {"anyOf": [_DETAIL, _ANSWERS]}
    ),
    403: _response("asked by a page of another site, or by another host name", _DETAIL),
    408: _response("the upload stopped for too long", _DETAIL),
    429: _response("busy", _DETAIL, retry_after=True),
    500: _response("a fault of the service", _DETAIL),
    503: _response("it took too long", _DETAIL, retry_after=True),
    507: _response("no room for the upload", _DETAIL),
}


def request_body(max_photos: int) -> _Schema:
    """The form of a request of one to `max_photos` photos."""
    photos = {
        "type": "array",
        "minItems": 1,
        "maxItems": max_photos,
        "items": {"type": "string", "format": "binary"},
    }
    form = {
        "type": "object",
        "required": ["photos"],
        "properties": {"photos": photos},
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
