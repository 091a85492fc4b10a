"""The API's OpenAPI schemas: results are the objects of `predict --format json`."""

from __future__ import annotations

from typing import Any

from leafzoom.model_file.calibration import MAX_COVERAGE, MIN_COVERAGE

__all__ = [
    "COVERAGE_PARAMETER",
    "ERRORS",
    "MAPS_PARAMETER",
    "POOLED_PARAMETER",
    "PREDICTIONS",
    "request_body",
]

_Schema = dict[str, Any]

_PROBABILITY: _Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PROBABILITIES: _Schema = {"type": "object", "additionalProperties": _PROBABILITY}
_LABELS: _Schema = {"type": "array", "items": {"type": "string"}}

_BOX: _Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x0, y0, x1, y1 in pixels of the upright photo",
}
_SCALE: _Schema = {
    "type": "object",
    "required": ["scale", "box", "probabilities"],
    "properties": {
        "scale": {"type": "integer"},
        "box": _BOX,
        "probabilities": _PROBABILITIES,
    },
}
_NUMBER: _Schema = {"type": "number"}
_LABEL_MAP: _Schema = {"type": "array", "items": {"type": "array", "items": _NUMBER}}
_EVIDENCE: _Schema = {
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
_PREDICTION: _Schema = {
    "type": "object",
    "required": [
        "photo",
        "labels",
        "probabilities",
        "scales",
        "verdict",
        "likely",
        "confidence",
        "model",
    ],
    "properties": {
        "photo": {"type": "string", "description": "the file's name"},
        "labels": {**_LABELS, "description": "empty unless the verdict is `diagnosis`"},
        "probabilities": _PROBABILITIES,
        "scales": {"type": "array", "items": _SCALE},
        "verdict": {"enum": ["diagnosis", "unsure", "not_a_leaf"]},
        "likely": {**_LABELS, "description": "the best answer, whatever the verdict"},
        "confidence": _PROBABILITY,
        "strangeness": {
            "type": ["number", "null"],
            "description": "above 1: unlike the leaves the model knows",
        },
        "model": {"type": "string"},
        "possible": {
            "type": "array",
            "items": _LABELS,
            "description": "with `coverage`: the answers among which the true one is, the "
            "likeliest first; empty if the verdict is `not_a_leaf`",
        },
        "evidence": _EVIDENCE,
    },
}
_FAILED_PHOTO: _Schema = {
    "type": "object",
    "required": ["photo", "error"],
    "properties": {"photo": {"type": "string"}, "error": {"type": "string"}},
    "additionalProperties": False,
}
_RESULTS: _Schema = {"type": "array", "items": {"anyOf": [_PREDICTION, _FAILED_PHOTO]}}
_POOLED: _Schema = {
    "type": "object",
    "required": ["leaves", "share", "any_leaf"],
    "properties": {
        "leaves": {"type": "integer", "description": "photos that are not `not_a_leaf`"},
        "share": {
            **_PROBABILITIES,
            "description": "of each label: the expected share of these leaves that have it",
        },
        "any_leaf": {
            **_PROBABILITIES,
            "description": "of each label: the probability that at least one leaf has it, as if "
            "photos were independent",
        },
    },
}
_POOLED_RESULTS: _Schema = {
    "type": "object",
    "required": ["predictions", "pooled"],
    "properties": {"predictions": _RESULTS, "pooled": {"anyOf": [_POOLED, {"type": "null"}]}},
    "description": "with `pooled`",
}
_ANSWERS: _Schema = {"anyOf": [_RESULTS, _POOLED_RESULTS]}
_DETAIL: _Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
}


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
