"""The HTTP application: the API's routes, the page, and what every answer goes through."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from leafzoom import __version__
from leafzoom.serve.guard import APP_HEADERS, SECURITY_HEADERS, access_refusal, refusal
from leafzoom.serve.middleware import HeadMiddleware, RootPathMiddleware
from leafzoom.serve.routes import add_api_routes, add_state_routes
from leafzoom.serve.schema import COMPONENTS
from leafzoom.serve.service import Service
from leafzoom.serve.sign_in import add_sign_in_route

__all__ = ["create_app"]

_LOG = logging.getLogger("leafzoom.serve")


def create_app(service: Service, *, root_path: str = "", web: Path | None = None) -> FastAPI:
    """The application of a service; it is ready after a first prediction.

    Args:
        service: what is shared.
        root_path: the prefix of all paths, see `RootPathMiddleware`.
        web: the folder of an app (`leafzoom export --web`), shown in place of the page alone.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # FastAPI's own documentation pages are off: they load scripts from another site.
    app = FastAPI(
        title="leafzoom",
        version=__version__,
        description="Finds diseases on apple leaves by looking closer.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    add_api_routes(app, service)
    add_state_routes(app, service)
    if service.access.needs_token:
        add_sign_in_route(app, service.access, service.limits)
    _add_engine_route(app, has_phone_engine=web is not None)
    _add_middleware(app, service, SECURITY_HEADERS if web is None else APP_HEADERS)
    _add_components(app)

    # The last one added is the first one to see a request.
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RootPathMiddleware, root_path=root_path)

    # The page takes every path that is no route.
    app.mount("/", _Page(tuple(app.routes), web), name="page")
    return app


class _Page:
    """The page's files; a path of the API that was asked with another method is 405.

    Args:
        routes: of the API.
        web: the folder of an app, or None.
    """

    def __init__(self, routes: Sequence[BaseRoute], web: Path | None) -> None:
        folder = web or resources.files("leafzoom.serve") / "page"
        self._files = StaticFiles(directory=str(folder), html=True)
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        methods = self._methods_of(scope)
        if not methods and scope["method"] == "GET":
            await self._files(scope, receive, send)
            return

        allow = ", ".join(sorted(methods or {"GET", "HEAD"}))
        detail = f"the method has to be {allow.replace(', ', ' or ')}"
        answer = refusal(405, detail, headers={"Allow": allow})
        await answer(scope, receive, send)

    def _methods_of(self, scope: Scope) -> set[str]:
        """The methods of the routes that have this path, though not this method."""
        methods: set[str] = set()
        for route in self._routes:
            if isinstance(route, Route) and route.matches(scope)[0] is Match.PARTIAL:
                methods |= route.methods or set()
        return methods | {"HEAD"} if "GET" in methods else methods


def _add_engine_route(app: FastAPI, *, has_phone_engine: bool) -> None:
    """Add what tells the page which engines it may use."""

    @app.get("/engine.json", include_in_schema=False)
    async def engine() -> dict[str, bool]:
        return {"server": True, "phone": has_phone_engine}


def _add_components(app: FastAPI) -> None:
    """Add the schemas that the API's document refers to."""
    document_of = app.openapi

    def openapi() -> dict[str, Any]:
        document = document_of()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(COMPONENTS)
        return document

    # The way that FastAPI's documentation shows: its route for the document calls this.
    app.openapi = openapi  # type: ignore[method-assign]


def _add_middleware(app: FastAPI, service: Service, headers: Mapping[str, str]) -> None:
    """Refuse other sites, turn faults into 500, set the security headers, and count answers."""

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = access_refusal(request, service.access)
        if response is None:
            try:
                response = await call_next(request)
            except Exception:
                _LOG.exception("an answer failed")
                response = refusal(500, "the service failed: try again")

        for name, value in headers.items():
            response.headers.setdefault(name, value)

        # Counted by route, not by path, so that made-up paths cannot fill the memory.
        route = request.scope.get("route")
        service.monitoring.count_request(getattr(route, "path", "other"), response.status_code)
        return response
