"""The HTTP side of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from leafzoom import __version__
from leafzoom.errors import PhotoError
from leafzoom.inference.predictor import FailedPhoto, Prediction, Predictor
from leafzoom.photo import Source, read_source
from leafzoom.serve.batching import Batcher
from leafzoom.serve.limits import Admission, BodyLimit, BusyError, Limits, TooLargeError
from leafzoom.serve.schema import ERRORS, PREDICTIONS, REQUEST_BODY

__all__ = ["Service", "create_app"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NAME = 200  # characters of a file's name that are given back


@dataclass
class Service:
    """The state of a running service: `ready` after the self-test, until it is told to stop."""

    predictor: Predictor
    limits: Limits = field(default_factory=Limits)
    ready: bool = False

    def __post_init__(self) -> None:
        self.photos = Admission(self.limits.waiting)
        self.uploads = Admission(self.limits.uploads)
        self.decoders = ThreadPoolExecutor(2, thread_name_prefix="leafzoom-decode")
        self.registry = CollectorRegistry()
        self.requests = Counter("leafzoom_requests", "Answers by route and status", ["route", "status"],
                                registry=self.registry)  # fmt: skip
        self.verdicts = Counter("leafzoom_photos", "Photos by verdict", ["verdict"], registry=self.registry)
        self.seconds = Histogram("leafzoom_prediction_seconds", "From the body's end to the answer",
                                 registry=self.registry)  # fmt: skip
        Gauge("leafzoom_photos_waiting", "Photos under way", registry=self.registry).set_function(
            lambda: self.photos.now
        )


def create_app(service: Service) -> FastAPI:
    """The application; it is ready as soon as a first prediction has gone through."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.batcher = Batcher(service.predictor)
        size = service.predictor.network.manifest.source_size
        grey = Source(np.full((size, size, 3), 128, np.uint8), (size, size))
        await asyncio.wrap_future(app.state.batcher.submit("self-test", grey))
        service.ready = True
        yield
        service.ready = False
        await asyncio.to_thread(app.state.batcher.close)
        service.decoders.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="leafzoom",
        version=__version__,
        description="Finds diseases on apple leaves by looking closer.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    _routes(app, service)

    @app.middleware("http")
    async def outer(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        route = request.scope.get("route")
        service.requests.labels(getattr(route, "path", "other"), str(response.status_code)).inc()
        return response

    page = resources.files("leafzoom.serve") / "page"
    app.mount("/", StaticFiles(directory=str(page), html=True), name="page")
    return app


def _routes(app: FastAPI, service: Service) -> None:
    """Everything but the page."""

    @app.post(
        "/api/v1/predictions",
        responses={200: PREDICTIONS, **ERRORS},
        openapi_extra={"requestBody": REQUEST_BODY},
        summary="Diagnose photos",
        response_class=JSONResponse,
    )
    async def predictions(request: Request) -> Response:
        """Diagnose one or several photos (multipart field `photos`); nothing is kept.

        A photo that can't be read is an object with `error`; if none can be read, the status is 422.
        """
        try:
            with service.uploads():
                if service.photos.full:  # the body is read, so that the client hears the answer, and thrown away
                    await asyncio.wait_for(_drained(request, service.limits), service.limits.upload_s)
                    raise BusyError("too many photos at once: try again in a second")
                files = await asyncio.wait_for(_uploads(request, service.limits), service.limits.upload_s)
            started = time.perf_counter()
            with service.photos(len(files)):
                found = await asyncio.wait_for(
                    asyncio.gather(*(_diagnosed(app, service, name, content) for name, content in files)),
                    service.limits.answer_s,
                )
        except BusyError as error:
            return _refused(429, str(error), {"Retry-After": "1"})
        except TooLargeError:
            return _refused(413, f"at most {service.limits.photos} photos of {service.limits.photo_bytes >> 20} MB")
        except ClientDisconnect:
            return _refused(400, "the upload ended too early")
        except TimeoutError:
            return _refused(503, "it took too long: try again", {"Retry-After": "5"})
        service.seconds.observe(time.perf_counter() - started)
        for entry in found:
            service.verdicts.labels("error" if isinstance(entry, FailedPhoto) else entry.verdict).inc()
        failed = all(isinstance(entry, FailedPhoto) for entry in found)
        return JSONResponse([entry.to_dict() for entry in found], 422 if failed else 200)

    @app.get("/api/v1/model", summary="What the model is")
    async def model() -> dict[str, Any]:
        """Labels, thresholds, figures, licence."""
        manifest = service.predictor.network.manifest
        decision = manifest.decisions[manifest.head]
        return {
            "name": manifest.name,
            "labels": list(manifest.labels.names),
            "thresholds": dict(zip(manifest.labels.names, decision.thresholds, strict=True)),
            "scales": manifest.scales,
            "metrics": manifest.metrics,
            "licence": manifest.licence,
            "leafzoom": __version__,
            "limits": {
                "photos": service.limits.photos,
                "photo_bytes": service.limits.photo_bytes,
                "jpeg_pixels": service.limits.jpeg_pixels,
                "other_pixels": service.limits.other_pixels,
            },
        }

    @app.get("/live", summary="Whether the process lives", response_class=PlainTextResponse)
    async def live() -> str:
        """Always."""
        return "live"

    @app.get("/ready", summary="Whether photos are taken", response_class=PlainTextResponse,
             responses={503: {"description": "not yet, or not any more"}})  # fmt: skip
    async def ready() -> Response:
        """After a self-test prediction, until the service is told to stop."""
        return PlainTextResponse("ready" if service.ready else "not ready", 200 if service.ready else 503)

    @app.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters and times in Prometheus' text format."""
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)


def _refused(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers=headers)


async def _drained(request: Request, limits: Limits) -> None:
    """Read a body without keeping it.

    Raises:
        TooLargeError: it is beyond the limit.
    """
    limited = Request(request.scope, BodyLimit(request.receive, limits.body_bytes))
    async for _ in limited.stream():
        pass


async def _uploads(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """The names and contents of the uploaded files.

    Raises:
        TooLargeError: the body, a photo or their number is beyond the limits.
        HTTPException: not a form, a damaged one, or one without photos.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise TooLargeError("the request is too large")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "send photos as multipart/form-data, field `photos`")
    limited = Request(request.scope, BodyLimit(request.receive, limits.body_bytes))
    files = []
    async with limited.form(max_files=limits.photos, max_fields=4) as form:
        for key, value in form.multi_items():
            if key != "photos" or not isinstance(value, UploadFile):
                raise HTTPException(422, f"the form's field is `photos`, a file, not {key[:40]!r}")
            if (value.size or 0) > limits.photo_bytes:
                raise TooLargeError("a photo is too large")
            files.append((_plain_name(value.filename), await value.read()))
    if not files:
        raise HTTPException(422, "the form has no file in its field `photos`")
    return files


def _plain_name(name: str | None) -> str:
    """The last part of a file's name, without control characters, cut to a sane length."""
    last = PureWindowsPath(PurePosixPath(name or "photo").name).name
    return "".join(c if c.isprintable() else "�" for c in last)[:_NAME] or "photo"


async def _diagnosed(app: FastAPI, service: Service, name: str, content: bytes) -> Prediction | FailedPhoto:
    """One photo: decoded in a thread, then part of a batch."""
    size = service.predictor.network.manifest.source_size
    limits = service.limits
    try:
        source = await asyncio.get_running_loop().run_in_executor(
            service.decoders,
            lambda: read_source(content, size, jpeg_pixels=limits.jpeg_pixels, other_pixels=limits.other_pixels),
        )
    except PhotoError as error:
        return FailedPhoto(name, str(error))
    found: Prediction = await asyncio.wrap_future(app.state.batcher.submit(name, source))
    return found
