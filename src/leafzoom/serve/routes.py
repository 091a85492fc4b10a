"""The routes of the API: predictions, the model, and the service's own state."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from leafzoom import __version__
from leafzoom.errors import LeafzoomError
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.prediction_sets import calibration_of
from leafzoom.orchard.pooled import pool
from leafzoom.serve.diagnosis import diagnose_form
from leafzoom.serve.guard import refusal
from leafzoom.serve.limits import BusyError, Limits, NoSpaceError, TooLargeError, TooSlowError
from leafzoom.serve.schema import (
    COVERAGE_PARAMETER,
    ERRORS,
    MAPS_PARAMETER,
    MODEL,
    POOLED_PARAMETER,
    PREDICTIONS,
    request_body,
)
from leafzoom.serve.service import Service
from leafzoom.serve.temporary_folder import temporary_folder_problem
from leafzoom.serve.uploads import discard_body, read_form
from leafzoom.web.model import decision_of

__all__ = ["add_api_routes", "add_state_routes"]

_RETRY_BUSY = {"Retry-After": "1"}
_RETRY_SLOW = {"Retry-After": "5"}

_REFUSED_ERRORS = (
    BusyError,
    NoSpaceError,
    TooLargeError,
    TooSlowError,
    ClientDisconnect,
    UnicodeError,
    TimeoutError,
)


def add_api_routes(app: FastAPI, service: Service) -> None:
    """Add the routes below `/api/v1`."""

    @app.post(
        "/api/v1/predictions",
        responses={200: PREDICTIONS, **ERRORS},
        openapi_extra={
            "requestBody": request_body(service.limits.photos),
            "parameters": [COVERAGE_PARAMETER, MAPS_PARAMETER, POOLED_PARAMETER],
        },
        summary="Diagnose photos",
        response_class=JSONResponse,
    )
    async def predictions(request: Request) -> Response:
        """Diagnose one or several photos (multipart field `photos`); nothing is kept.

        A photo that can't be read is an object with `error`; the status is 422 if none can be.
        With `coverage`, each prediction has `possible`, with `maps` it has `evidence`. With
        `pooled`, the answer is an object: `predictions`, and `pooled` of all leaves together.
        """
        try:
            coverage = _coverage_of(request, service)
            maps = _maps_of(request, service)
            pooled = _flag_of(request, "pooled")
            form = await _admitted_form(request, service)
            started = time.perf_counter()
            results = await diagnose_form(service, form, coverage, maps=maps)
        except _REFUSED_ERRORS as error:
            return _refusal_of(error, service.limits)

        # Without the upload, whose time depends on the client's connection.
        service.monitoring.observe_predictions(results, time.perf_counter() - started)
        return _results_response(results, service if pooled else None)

    @app.get("/api/v1/model", summary="The model", responses={200: MODEL}, response_model=None)
    async def model() -> dict[str, Any]:
        """Labels, thresholds, figures, licence."""
        return _describe_model(service)


def add_state_routes(app: FastAPI, service: Service) -> None:
    """Add the routes that operators use: `/live`, `/ready` and `/metrics`."""

    @app.get(
        "/live",
        summary="Whether the process is alive",
        response_class=PlainTextResponse,
    )
    async def live() -> str:
        """Always."""
        return "live"

    @app.get(
        "/ready",
        summary="Whether photos are accepted",
        response_class=PlainTextResponse,
        responses={503: {"description": "not yet, not any more, or no room for an upload"}},
    )
    async def ready() -> Response:
        """After a self-test prediction, until the service begins to stop, with room for uploads."""
        if not service.ready:
            return PlainTextResponse("not ready", 503)

        # In a thread, as the disk may be slow.
        needed_bytes = service.limits.photo_bytes
        problem = await run_in_threadpool(temporary_folder_problem, needed_bytes)
        if problem:
            return PlainTextResponse(f"not ready: {problem}", 503)
        return PlainTextResponse("ready", 200)

    @app.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters and times in Prometheus' text format."""
        return Response(service.monitoring.exposition(), media_type=CONTENT_TYPE_LATEST)


def _coverage_of(request: Request, service: Service) -> float | None:
    """The coverage that a request asks for, or else the service's.

    Raises:
        HTTPException: it is no number between 0.5 and 0.999, or the model has no calibration.
    """
    text = request.query_params.get("coverage")
    if text is None:
        return service.coverage

    try:
        coverage = float(text)
    except ValueError:
        coverage = math.nan
    try:
        calibration_of(service.predictor.network.manifest, coverage)
    except LeafzoomError as error:
        raise HTTPException(422, str(error)) from error
    return coverage


def _maps_of(request: Request, service: Service) -> bool:
    """Whether a request asks for evidence maps.

    Raises:
        HTTPException: it says something else than true or false, or the model has no maps.
    """
    maps = _flag_of(request, "maps")
    if maps and not service.predictor.network.has_evidence:
        raise HTTPException(422, "this service's model has no evidence maps: leave out maps")
    return maps


def _flag_of(request: Request, name: str) -> bool:
    """A parameter that is true or false; false where it is left out.

    Raises:
        HTTPException: it says something else.
    """
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false"):
        raise HTTPException(422, f"{name} is true or false, not {text!r}")
    return text == "true"


async def _admitted_form(request: Request, service: Service) -> FormData:
    """The uploaded form, if there is room for its photos.

    Raises:
        BusyError: there is not, or too many uploads are in progress.
        TimeoutError: the upload stalls.
        NoSpaceError, TooLargeError, HTTPException: as `read_form`.
    """
    limits = service.limits
    service.uploads.acquire()
    try:
        if service.photos.full:
            # A client hears the answer only after it has sent its body.
            await discard_body(request, limits)
            raise BusyError("too many photos at once: try again in a second")

        return await read_form(request, limits)
    finally:
        service.uploads.release()


def _refusal_of(error: Exception, limits: Limits) -> JSONResponse:
    """The answer to a request that ended in one of `_REFUSED_ERRORS`."""
    # Times to try again go to the errors that pass by themselves.
    match error:
        case BusyError():
            return refusal(429, str(error), headers=_RETRY_BUSY)
        case TooLargeError():
            return refusal(413, limits.size_advice)
        case NoSpaceError():
            return refusal(507, str(error))
        case TooSlowError():
            return refusal(503, str(error), headers=_RETRY_SLOW)
        case ClientDisconnect():
            return refusal(400, "the upload ended too early")
        case UnicodeError():
            return refusal(400, "the form is not encoded as it says")
        case TimeoutError():
            return refusal(408, "the upload stopped for too long: try again")
        case _:
            raise error


def _results_response(
    results: Sequence[Prediction | FailedPhoto], pooled_by: Service | None
) -> JSONResponse:
    """The results as JSON; the status is 422 if no photo could be read.

    Args:
        results: a list, or pooled.
        pooled_by: the service whose model has given them, if they are to be pooled.
    """
    all_failed = all(isinstance(result, FailedPhoto) for result in results)
    status = 422 if all_failed else 200
    predictions = [result.to_dict() for result in results]
    if pooled_by is None:
        return JSONResponse(predictions, status)

    predictor = pooled_by.predictor
    answer = pool(results, predictor.network.manifest, predictor.decisions)
    pooled = None if answer is None else answer.to_dict()
    return JSONResponse({"predictions": predictions, "pooled": pooled}, status)


def _describe_model(service: Service) -> dict[str, Any]:
    """The model and the service's limits, as JSON."""
    manifest = service.predictor.network.manifest
    limits = service.limits
    thresholds = manifest.decisions[manifest.head].thresholds
    has_thresholds = not manifest.labels.single_label

    return {
        "name": manifest.name,
        "labels": list(manifest.labels.names),
        "thresholds": dict(zip(manifest.labels.names, thresholds, strict=has_thresholds)),
        "scales": manifest.scales,
        "metrics": manifest.metrics,
        "licence": manifest.licence,
        "coverage": service.coverage,
        "maps": service.predictor.network.has_evidence,
        "leafzoom": __version__,
        "limits": {
            "photos": limits.photos,
            "photo_bytes": limits.photo_bytes,
            "request_bytes": limits.request_bytes,
            "jpeg_pixels": limits.jpeg_pixels,
            "other_pixels": limits.other_pixels,
        },
        "decision": decision_of(manifest),
    }
