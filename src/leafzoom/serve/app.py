"""The HTTP side of the service."""

from __future__ import annotations

import asyncio
import logging
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
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from leafzoom import __version__
from leafzoom.errors import PhotoError
from leafzoom.inference.predictor import FailedPhoto, Prediction, Predictor
from leafzoom.photo import Source, read_source
from leafzoom.serve.batching import Batcher
from leafzoom.serve.limits import Admission, BodyLimit, BusyError, Limits, TooLargeError
from leafzoom.serve.schema import ERRORS, PREDICTIONS, request_body

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
_LOG = logging.getLogger("leafzoom.serve")
_NAME = 200  # characters of a file's name that are given back


@dataclass
class Service:
    """The state of a running service: `ready` after the self-test, until it is told to stop.

    `hosts`: the names by which it may be asked, None for any; on loopback only loopback's, so that no page of the
    internet reaches it by a name that it controls.
    """

    predictor: Predictor
    hosts: frozenset[str] | None = None
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
        app.state.closing = set()
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
        if _foreign(request, service.hosts):
            response: Response = _refused(403, "asked by another site, or by a name that is not this service's")
        else:
            try:
                response = await call_next(request)
            except Exception:
                _LOG.exception("an answer failed")
                response = _refused(500, "that failed here: try again")
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
        openapi_extra={"requestBody": request_body(service.limits.photos)},
        summary="Diagnose photos",
        response_class=JSONResponse,
    )
    async def predictions(request: Request) -> Response:
        """Diagnose one or several photos (multipart field `photos`); nothing is kept.

        A photo that can't be read is an object with `error`; if none can be read, the status is 422.
        """
        try:
            service.uploads.take()
            try:
                if service.photos.full:  # the body is read, so that the client hears the answer, and thrown away
                    await asyncio.wait_for(_drained(request, service.limits), service.limits.upload_s)
                    raise BusyError("too many photos at once: try again in a second")
                form = await asyncio.wait_for(_form(request, service.limits), service.limits.upload_s)
            finally:
                service.uploads.give_back()
            started = time.perf_counter()
            found = await _answers(app, service, form)
        except BusyError as error:
            return _refused(429, str(error), {"Retry-After": "1"})
        except TooLargeError:
            return _refused(413, f"at most {service.limits.photos} photos of {service.limits.photo_bytes >> 20} MB")
        except ClientDisconnect:
            return _refused(400, "the upload ended too early")
        except UnicodeError:
            return _refused(400, "the form is not encoded as it says")
        except _SlowError:
            return _refused(503, "it took too long: try again", {"Retry-After": "5"})
        except TimeoutError:
            return _refused(408, "the upload took too long")
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


class _SlowError(Exception):
    """An answer took too long."""


def _foreign(request: Request, hosts: frozenset[str] | None) -> bool:
    """Whether a page of another site asks, or the host is none of those that the service answers to."""
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if hosts is not None and name.lower() not in hosts:
        return True
    origin = request.headers.get("origin")
    same = origin is None or origin.partition("://")[2].lower() == host.lower()
    return not same or (request.headers.get("sec-fetch-site") == "cross-site" and request.method != "GET")


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


async def _form(request: Request, limits: Limits) -> FormData:
    """The uploaded form, its photos on disk where they are large; whoever gets it closes it.

    Raises:
        TooLargeError: the body, a photo or their number is beyond the limits.
        HTTPException: not a form, a damaged one, or one without photos.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise TooLargeError("the request is too large")
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "send photos as multipart/form-data, field `photos`")
    limited = Request(request.scope, BodyLimit(request.receive, limits.body_bytes))
    form = await limited.form(max_files=limits.photos, max_fields=4)
    try:
        for key, value in form.multi_items():
            if key != "photos" or not isinstance(value, UploadFile):
                raise HTTPException(422, f"the form's field is `photos`, a file, not {key[:40]!r}")
            if (value.size or 0) > limits.photo_bytes:
                raise TooLargeError("a photo is too large")
        if not form.multi_items():
            raise HTTPException(422, "the form has no file in its field `photos`")
    except BaseException:
        await form.close()
        raise
    return form


async def _answers(app: FastAPI, service: Service, form: FormData) -> list[Prediction | FailedPhoto]:
    """The diagnoses of a form's photos.

    A photo holds its place until it is really done, even where nobody waits for it any more: a thread that decodes
    cannot be stopped.

    Raises:
        BusyError: there are no places for them.
        _SlowError: it took longer than `answer_s`.
    """
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    try:
        await service.photos.take_many(len(files), service.limits.patience_s)
    except BaseException:
        await form.close()
        raise
    tasks = [asyncio.ensure_future(_diagnosed(app, service, file)) for file in files]
    left = len(tasks)

    def done(task: asyncio.Task[Prediction | FailedPhoto]) -> None:
        nonlocal left
        service.photos.give_back()
        left -= 1
        if not left:
            app.state.closing.add(closing := asyncio.ensure_future(form.close()))
            closing.add_done_callback(app.state.closing.discard)
        if not task.cancelled():
            task.exception()  # seen, should nobody ask for it any more

    for task in tasks:
        task.add_done_callback(done)
    _, waiting = await asyncio.wait(tasks, timeout=service.limits.answer_s)
    if waiting:
        raise _SlowError
    return [task.result() for task in tasks]


def _plain_name(name: str | None) -> str:
    """The last part of a file's name, without control characters, cut to a sane length."""
    last = PureWindowsPath(PurePosixPath(name or "photo").name).name
    return "".join(c if c.isprintable() else "�" for c in last)[:_NAME] or "photo"


async def _diagnosed(app: FastAPI, service: Service, file: UploadFile) -> Prediction | FailedPhoto:
    """One photo: read and decoded in a thread, then part of a batch."""
    name, size, limits = _plain_name(file.filename), service.predictor.network.manifest.source_size, service.limits

    def decoded() -> Source:
        file.file.seek(0)
        content = file.file.read()
        return read_source(content, size, jpeg_pixels=limits.jpeg_pixels, other_pixels=limits.other_pixels)

    try:
        source = await asyncio.get_running_loop().run_in_executor(service.decoders, decoded)
    except PhotoError as error:
        return FailedPhoto(name, str(error))
    found: Prediction = await asyncio.wrap_future(app.state.batcher.submit(name, source))
    return found
