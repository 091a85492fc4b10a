"""What a reverse proxy in front of the service changes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leafzoom.errors import UsageError

__all__ = ["LOCAL_PROXIES", "ProxySettings", "parse_allowed_host", "parse_root_path"]

LOCAL_PROXIES = "127.0.0.1,::1"
"""Addresses of proxies on this machine."""

_HOST_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?|\*|\[[\da-f:.]+\]")
_ROOT_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)
_API_PATH = "/api/v1/"


@dataclass(frozen=True)
class ProxySettings:
    """How requests come from a proxy.

    Attributes:
        allowed_hosts: host names, as `parse_allowed_host` gives them, that requests may use and
            whose pages may send photos.
        root_path: the prefix of all paths, as `parse_root_path` gives it.
        forwarded_allow_ips: addresses and networks, separated by commas, whose headers
            X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed, the first two
            as in uvicorn; None for none.
    """

    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    forwarded_allow_ips: str | None = LOCAL_PROXIES


def parse_allowed_host(text: str) -> str:
    """A host name in lower case, without a port; `*.` may stand for any first part.

    Raises:
        UsageError: it is no host name.
    """
    name = re.sub(r":\d+$", "", text.strip().lower())
    if not _HOST_NAME.fullmatch(name):
        raise UsageError(
            f"--allowed-host has to be a host name such as leaves.example or *.example, "
            f"without http:// and without a path, not {text!r}"
        )
    return name.rstrip(".")


def parse_root_path(text: str) -> str:
    """A prefix with a slash at its start and none at its end; empty for `/` and for nothing.

    Raises:
        UsageError: it is no path, or the start of the API's own paths.
    """
    path = text.strip().rstrip("/")
    if path and not path.startswith("/"):
        path = f"/{path}"
    if path and not _ROOT_PATH.fullmatch(path):
        raise UsageError(f"--root-path has to be a path such as /leafzoom, not {text!r}")

    # Whether a proxy strips the prefix could not be told.
    if path and _API_PATH.startswith(f"{path}/"):
        raise UsageError(f"--root-path {path} is where the API is: choose another prefix")
    return path
