"""ASGI middleware around the whole application: a proxy's headers, the path prefix, and HEAD."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

__all__ = ["ForwardedHeadersMiddleware", "HeadMiddleware", "RootPathMiddleware"]

_FORWARDED = b"x-forwarded-"


class ForwardedHeadersMiddleware:
    """Believes the headers `X-Forwarded-…` of trusted proxies, and removes those of others.

    uvicorn's own middleware reads two of them; the application reads X-Forwarded-Host, too.

    Args:
        app: what answers.
        trusted: addresses and networks with commas between them, `*` for any; None for none.
    """

    def __init__(self, app: ASGIApp, trusted: str | None) -> None:
        self._proxied = ProxyHeadersMiddleware(app, trusted or [])  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the scheme and the client that a trusted proxy tells."""
        client = scope.get("client")
        address = client[0] if client else None
        if scope["type"] == "http" and address not in self._proxied.trusted_hosts:
            others = [pair for pair in scope["headers"] if not pair[0].startswith(_FORWARDED)]
            scope = {**scope, "headers": others}

        await self._proxied(scope, receive, send)  # type: ignore[arg-type]


class RootPathMiddleware:
    """Serves the application below a prefix, whether a proxy strips it from the path or not.

    Args:
        app: what answers.
        root_path: the prefix, with a slash at its start and none at its end; empty for none.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with a path that starts with the prefix, as ASGI describes it."""
        if scope["type"] != "http" or not self._root_path:
            await self._app(scope, receive, send)
            return

        # Relative addresses in the page need the slash at the prefix's end.
        path = scope["path"]
        if path == self._root_path:
            query = scope["query_string"].decode("latin-1")
            address = f"{self._root_path}/" + (f"?{query}" if query else "")
            await RedirectResponse(address)(scope, receive, send)
            return

        if not path.startswith(f"{self._root_path}/"):
            path = self._root_path + path
        await self._app({**scope, "root_path": self._root_path, "path": path}, receive, send)


class HeadMiddleware:
    """Answers HEAD as GET; the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
