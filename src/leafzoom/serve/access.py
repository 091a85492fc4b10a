"""Who may ask the service: by the host name, by the page that asks, and by an access token."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

__all__ = ["COOKIE", "Access", "is_loopback"]

_LOOPBACK_NAME = "localhost"
COOKIE = "leafzoom_session"

_AUTHORITY = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_COOKIE_PURPOSE = b"leafzoom's page"


class Access:
    """Decides which requests are answered.

    Args:
        any_host: whether requests may use any host name. A service on loopback takes only
            loopback's names, addresses and `allowed_hosts`, so that no web site reaches it by a
            name that the site controls.
        allowed_hosts: host names in lower case, `*.` before one for any first part, `*` for all;
            pages of these hosts may send photos, too.
        token: what requests have to show, None where nothing is needed.
    """

    def __init__(
        self,
        *,
        any_host: bool = True,
        allowed_hosts: tuple[str, ...] = (),
        token: str | None = None,
    ) -> None:
        self._any_host = any_host or "*" in allowed_hosts
        self._allowed_hosts = tuple(name for name in allowed_hosts if name != "*")
        self._token = token

    @property
    def needs_token(self) -> bool:
        """Whether requests have to show a token."""
        return self._token is not None

    def takes_host(self, request: Request) -> bool:
        """Whether the service answers to the host name of a request.

        An address is no name that a web site could point here. HTTP/1.0 may leave the host out.
        """
        host = _parse_authority(request.headers.get("host", "127.0.0.1"))
        if host is None:
            return False
        if self._any_host or host.name == _LOOPBACK_NAME or _is_address(host.name):
            return True
        return self._is_allowed(host.name)

    def is_from_other_site(self, request: Request) -> bool:
        """Whether a page of another site sent the request."""
        # Browsers tell it by a header that no page can set. They send it over https and to
        # loopback, so that it is right whatever host name a proxy sends on.
        fetch_site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if fetch_site == "same-origin":
            return False
        if origin is not None:
            return not self._is_own_origin(origin, request.headers)

        # Links on other sites may lead here, but their pages may not send photos.
        return fetch_site == "cross-site" and request.method != "GET"

    def has_token(self, request: Request) -> bool:
        """Whether a request shows the token: in the header Authorization, or by the cookie."""
        if self._token is None:
            return True

        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(credentials.strip()):
            return True
        return _are_equal(request.cookies.get(COOKIE, ""), self.cookie_value())

    def is_token(self, text: str) -> bool:
        """Whether a text is the token; takes as long wherever they differ."""
        return self._token is not None and _are_equal(text, self._token)

    def cookie_value(self) -> str:
        """What the page's cookie holds: made from the token, and not the token itself."""
        key = (self._token or "").encode()
        return hmac.new(key, _COOKIE_PURPOSE, "sha256").hexdigest()

    def _is_own_origin(self, origin: str, headers: Headers) -> bool:
        """Whether the page at an origin is the service's, as far as a proxy lets it tell."""
        scheme, _, authority = origin.partition("://")
        default_port = _DEFAULT_PORTS.get(scheme.lower())
        page = _parse_authority(authority)
        if page is None:
            return False
        if self._is_allowed(page.name):
            return True

        # The host as the browser knows it may be in the header of a trusted proxy: that of others
        # is removed. A page of another site could not send it either: browsers would ask for
        # permission first, and get none.
        forwarded = headers.get("x-forwarded-host", "").split(",")
        for text in (headers.get("host", ""), *forwarded):
            host = _parse_authority(text.strip())
            if host is not None and host.with_port(default_port) == page.with_port(default_port):
                return True
        return False

    def _is_allowed(self, name: str) -> bool:
        """Whether a host name is one of `allowed_hosts`."""
        for allowed in self._allowed_hosts:
            if allowed.startswith("*.") and name.endswith(allowed[1:]):
                return True
            if name == allowed.strip("[]"):
                return True
        return False


@dataclass(frozen=True)
class _Authority:
    """A host name or address in lower case, and the port where one is named."""

    name: str
    port: int | None

    def with_port(self, default: int | None) -> tuple[str, int | None]:
        """The name and the port, `default` where none is named."""
        return self.name, self.port or default


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOOPBACK_NAME


def _parse_authority(text: str) -> _Authority | None:
    """The host and port of a header; None where it is neither."""
    if not _AUTHORITY.fullmatch(text):
        return None
    try:
        parts = urlsplit(f"//{text}")
        return _Authority((parts.hostname or "").rstrip("."), parts.port)
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _are_equal(text: str, secret: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing of the secret."""
    return hmac.compare_digest(text.encode(errors="replace"), secret.encode())
