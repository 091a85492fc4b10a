"""What every answer of a local service goes through: who may ask, and the security headers."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from leafzoom.serve.access import Access
from leafzoom.serve.sign_in import token_refusal

__all__ = ["APP_HEADERS", "SECURITY_HEADERS", "access_refusal", "refusal"]

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(self), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

APP_HEADERS = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY.replace(
        "script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'"
    ),
}
"""Of a service that shows the app, whose engine on the phone compiles WebAssembly."""

_MAX_QUOTED_CHARACTERS = 100

# Asked by programs that know no host name and no token.
_STATE_PATHS = ("/live", "/ready")


def refusal(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that says why there is no other.

    Args:
        status: of HTTP.
        detail: for people.
        headers: of the answer.
    """
    return JSONResponse({"detail": detail}, status, headers=headers)


def access_refusal(request: Request, access: Access) -> Response | None:
    """The answer to a request that may not ask; None for one that may."""
    # Not of `request.url`, which is put together with whatever host the client names.
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if path in _STATE_PATHS:
        return None

    if not access.takes_host(request):
        host = request.headers.get("host", "")[:_MAX_QUOTED_CHARACTERS]
        return refusal(
            403,
            f"this service does not answer to the host name {host!r}: "
            "start it with --allowed-host and this name if it is yours",
        )
    if access.is_from_other_site(request):
        return refusal(
            403,
            "requests from pages of other sites are refused: if it is the service's own page, "
            "start the service with --allowed-host and the host name in the page's address",
        )
    return token_refusal(request, path, access)
