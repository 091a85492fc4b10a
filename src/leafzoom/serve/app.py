"""The HTTP application: the API's routes, the page, and what every answer goes through."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from leafzoom import __version__
from leafzoom.serve.routes import add_api_routes, add_state_routes, refusal
from leafzoom.serve.service import Service

__all__ = ["create_app"]

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_LOG = logging.getLogger("leafzoom.serve")


def create_app(service: Service) -> FastAPI:
    """The application of a service; it is ready after a first prediction."""

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
    _add_middleware(app, service)

    # The page takes every path that is no route.
    page = resources.files("leafzoom.serve") / "page"
    app.mount("/", StaticFiles(directory=str(page), html=True), name="page")
    return app


def _add_middleware(app: FastAPI, service: Service) -> None:
    """Refuse other sites, turn faults into 500, set the security headers, and count answers."""

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response: Response
        if _is_from_other_site(request, service.hosts):
            response = refusal(
                403, "requests from other sites, or to other host names, are refused"
            )
        else:
            try:
                response = await call_next(request)
            except Exception:
                _LOG.exception("an answer failed")
                response = refusal(500, "the service failed: try again")

        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)

        # Counted by route, not by path, so that made-up paths cannot fill the memory.
        route = request.scope.get("route")
        service.monitoring.count_request(getattr(route, "path", "other"), response.status_code)
        return response


def _is_from_other_site(request: Request, hosts: frozenset[str] | None) -> bool:
    """Whether a page of another site sent the request, or its host is not one of `hosts`."""
    host = request.headers.get("host", "").lower()

    # Without the port; an IPv6 address without one ends with a bracket.
    host_name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    if hosts is not None and host_name not in hosts:
        return True

    # Browsers name the site of the page that sends the request.
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host:
        return True

    # Links on other sites may lead here, but their pages may not send photos.
    is_cross_site = request.headers.get("sec-fetch-site") == "cross-site"
    return is_cross_site and request.method != "GET"
