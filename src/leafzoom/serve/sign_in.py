"""The page's way to show the access token: asked for once, then kept by a cookie."""

from __future__ import annotations

from importlib import resources
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.requests import ClientDisconnect

from leafzoom.serve.access import COOKIE, Access
from leafzoom.serve.limits import Limits, TooLargeError
from leafzoom.serve.uploads import limited_body

__all__ = ["add_sign_in_route", "token_refusal"]

# What is answered without a token: the states, and what the page that asks for it needs.
_OPEN_PATHS = frozenset({"/live", "/ready", "/sign-in", "/style.css", "/icon.svg"})
_PAGE_PATHS = ("/", "/index.html")
_MAX_FORM_BYTES = 4096
_COOKIE_SECONDS = 30 * 24 * 3600
_MESSAGE = "<!-- message -->"
_WRONG_TOKEN = '<p class="bad" role="alert">This is not the token: try again.</p>'
_DETAIL = "this service needs its token: send it as `Authorization: Bearer TOKEN`"


def add_sign_in_route(app: FastAPI, access: Access, limits: Limits) -> None:
    """Add what the form of the sign-in page is sent to."""

    @app.post("/sign-in", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        """Set the cookie for the right token."""
        try:
            content = await limited_body(request, limits, _MAX_FORM_BYTES).body()
        except (TooLargeError, TimeoutError, ClientDisconnect):
            return _sign_in_page(wrong=True)

        token = parse_qs(content.decode(errors="replace")).get("token", [""])[0].strip()
        if not access.is_token(token):
            return _sign_in_page(wrong=True)
        return _signed_in(request, access)

    @app.get("/sign-in", include_in_schema=False)
    async def page() -> Response:
        """The page asks; this is where a reload after a wrong token leads."""
        return RedirectResponse("./", 303)


def token_refusal(request: Request, path: str, access: Access) -> Response | None:
    """The answer to a request that shows no token; None for one that may go on.

    An address of the page may hold the token, `/?token=TOKEN`, as a QR code does.

    Args:
        request: any.
        path: without the prefix of a proxy.
        access: of the service.
    """
    if not access.needs_token or path in _OPEN_PATHS:
        return None

    is_page = path in _PAGE_PATHS and request.method == "GET"
    token = request.query_params.get("token") if is_page else None
    if token is not None and access.is_token(token):
        return _signed_in(request, access)
    if access.has_token(request):
        return None
    if is_page:
        return _sign_in_page(wrong=token is not None)
    return JSONResponse({"detail": _DETAIL}, 401, headers={"WWW-Authenticate": "Bearer"})


def _sign_in_page(*, wrong: bool) -> HTMLResponse:
    """The page that asks for the token."""
    page = resources.files("leafzoom.serve") / "page" / "sign-in.html"
    text = page.read_text(encoding="utf-8").replace(_MESSAGE, _WRONG_TOKEN if wrong else "")
    return HTMLResponse(text, 401, headers={"WWW-Authenticate": "Bearer"})


def _signed_in(request: Request, access: Access) -> RedirectResponse:
    """The way to the page, with its cookie, and with an address that does not hold the token."""
    response = RedirectResponse("./", 303)
    response.set_cookie(
        COOKIE,
        access.cookie_value(),
        max_age=_COOKIE_SECONDS,
        path=f"{request.scope.get('root_path', '')}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response
