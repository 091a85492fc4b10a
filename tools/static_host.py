"""A plain HTTP host of a folder on this machine, and a browser that opens it: for the app."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

__all__ = ["StaticHost", "chromium"]

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)

_TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


class _Handler(SimpleHTTPRequestHandler):
    """Serves files without a line in the log for each."""

    def guess_type(self, path: str | PathLike[str]) -> str:
        """The type of a file by its name; that of scripts does not depend on the system."""
        return _TYPES.get(Path(path).suffix) or super().guess_type(path)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the path, and say nothing."""
        assert isinstance(self.server, _Server)
        self.server.paths.append(self.path)


class _Server(ThreadingHTTPServer):
    """Keeps the paths that it was asked for."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self.paths: list[str] = []
        super().__init__(*arguments)


class StaticHost:
    """A host of a folder, in threads; `localhost` counts as secure, as HTTPS does.

    Args:
        folder: what it serves.

    Attributes:
        url: of the folder, with a slash at its end.
        paths: what was asked for, in order.
    """

    def __init__(self, folder: Path) -> None:
        handler = partial(_Handler, directory=str(folder))
        self._server = _Server(("127.0.0.1", 0), handler)
        self.paths = self._server.paths
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it: from then on the address answers nobody."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window, with a camera that shows a test picture.

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("needs Debian's chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()
