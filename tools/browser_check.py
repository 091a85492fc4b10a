"""Does the app work in other browsers?
python -m tools.browser_check PHOTOS [--browser NAME...] [--count N] [--out FILE]

Exports the model as the app, and opens it in each browser that is installed: Debian's Firefox,
WebKitGTK's MiniBrowser (the engine of Safari, not Safari itself) and Chromium. In each of them a
page uses the app: it diagnoses photos, keeps results with their pictures, then the host is
switched off and the app starts and diagnoses again. Answers are compared with Python's. No driver
is needed: the page sends what it saw to this program. Writes results/browsers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import FailedPhoto, Prediction, result_from_dict
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.paths import model_path
from leafzoom.photo import SUFFIXES
from leafzoom.web.folder import write_web_folder
from leafzoom.web.runtime import RUNTIME_VERSION, runtime_path
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine
from tools.static_host import StaticHost
from tools.web_agreement import probability_difference

__all__ = ["BROWSERS", "Browser", "compared", "main", "parser", "watched"]

_PAGE = Path(__file__).with_name("browser_check.html")
_TIMEOUT_S = 600
_END_TIMEOUT_S = 10
_VERSION_TIMEOUT_S = 60
_LEAST_PHOTOS = 3  # the page keeps two and diagnoses a third without a network
_DECIMALS = 6
_MINI_BROWSER = (
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.0/MiniBrowser",
)


@dataclass(frozen=True)
class Browser:
    """`programs`: where it may be, by name or path. `options`: `{folder}` is its own, empty one."""

    name: str
    programs: tuple[str, ...]
    options: tuple[str, ...]
    has_window: bool = False

    def program(self) -> str | None:
        """The first of its programs that is installed."""
        return next(filter(None, map(shutil.which, self.programs)), None)

    def command(self, program: str, folder: Path, url: str) -> list[str]:
        """The command that opens an address."""
        options = [option.format(folder=folder) for option in self.options]
        return [*self._shown(), program, *options, url]

    def version(self, program: str) -> str:
        """What the program calls itself."""
        command = [*self._shown(), program, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S)
        return done.stdout.strip()

    def _shown(self) -> list[str]:
        return ["xvfb-run", "--auto-servernum"] if self.has_window else []


BROWSERS = (
    Browser(
        "firefox",
        ("firefox-esr", "firefox"),
        ("--headless", "--no-remote", "--profile", "{folder}"),
    ),
    Browser("webkit", _MINI_BROWSER, (), has_window=True),
    Browser("webkit-private", _MINI_BROWSER, ("--private",), has_window=True),
    Browser(
        "chromium",
        ("chromium",),
        (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--user-data-dir={folder}",
        ),
    ),
)


def main() -> None:
    """Check each browser, and write."""
    arguments = parser().parse_args()
    code = commit("src", "tools")  # as it is now, not at the end
    photos = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
    photos = photos[: arguments.count]
    if len(photos) < _LEAST_PHOTOS:
        raise SystemExit(f"{arguments.photos}: at least {_LEAST_PHOTOS} photos are needed")

    predictor = Predictor(open_network(arguments.model))
    expected = [predictor.predict(path.read_bytes()) for path in photos]
    chosen = [browser for browser in BROWSERS if browser.name in arguments.browser]
    figures = {}
    for browser in chosen:
        program = browser.program()
        if program is None:
            print(f"{browser.name}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            app = Path(folder) / "app"
            write_web_folder(model_path(arguments.model), app, arguments.runtime)
            report = watched(browser, program, app, photos, arguments.timeout)
        figures[browser.name] = {"version": browser.version(program), **compared(report, expected)}
        print(browser.name, json.dumps(figures[browser.name], indent=1), flush=True)

    result = {
        "name": "browsers",
        "command": f"python -m tools.browser_check PHOTOS --count {arguments.count}",
        "commit": code,
        "machine": machine(),
        "model_digest": model_digest(model_path(arguments.model)),
        "runtime": RUNTIME_VERSION,
        "browsers": figures,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.browser_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [browser.name for browser in BROWSERS]
    options.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos")
    options.add_argument("--model", default="bundled")
    options.add_argument("--browser", nargs="+", choices=names, default=names)
    options.add_argument("--count", type=int, default=20, help="photos, at most")
    options.add_argument("--timeout", type=float, default=_TIMEOUT_S, help="seconds a browser has")
    options.add_argument("--runtime", type=Path, default=runtime_path(), metavar="FILE")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "browsers.json")
    return options


def watched(
    browser: Browser, program: str, app: Path, photos: Sequence[Path], timeout_s: float
) -> dict[str, Any]:
    """What the page of the check saw in a browser.

    Args:
        browser: with its `program`.
        app: the exported app's folder; the page and the photos are added to it.
        photos: at least three.
        timeout_s: how long the browser has.

    Raises:
        RuntimeError: the page did not answer in time.
    """
    with _reports() as (reports, address):
        _add_page(app, address, photos)
        host = StaticHost(app)
        reports.on_offline = host.stop
        with tempfile.TemporaryDirectory() as folder:
            command = browser.command(program, Path(folder), f"{host.url}browser_check.html")
            with _running(command, Path(folder)):
                try:
                    return reports.found.get(timeout=timeout_s)
                except queue.Empty:
                    raise RuntimeError(f"{browser.name}: no answer in {timeout_s:g} s") from None


def compared(
    report: dict[str, Any], expected: Sequence[Prediction | FailedPhoto]
) -> dict[str, Any]:
    """The figures of a browser's report, beside Python's answers to the same photos."""
    answers = [result_from_dict(answer) for answer in report["answers"]]
    pairs = [
        (mine, other)
        for mine, other in zip(expected, answers, strict=False)
        if isinstance(mine, Prediction) and isinstance(other, Prediction)
    ]
    problem = report.get("problem")
    if problem is None and len(pairs) < len(expected):
        problem = f"photos that were not read: {len(expected) - len(pairs)}"

    differences = [probability_difference(mine, other) for mine, other in pairs]
    return {
        "agent": report["agent"],
        "photos": len(pairs),
        "same_answer": sum(
            set(mine.labels) == set(other.labels) and mine.verdict == other.verdict
            for mine, other in pairs
        ),
        "greatest_probability_difference": round(max(differences, default=0.0), _DECIMALS),
        "kept_pictures": report.get("kept_pictures", 0),
        "starts_offline": "offline_kept" in report,
        "pictures_offline": report.get("offline_pictures", 0),
        "problem": problem,
    }


class _Reports(ThreadingHTTPServer):
    """Takes what the page sends: `offline` switches the app's host off, `report` is the result."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReportHandler)
        self.found: queue.Queue[dict[str, Any]] = queue.Queue()
        self.on_offline: Callable[[], None] = lambda: None


class _ReportHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take a report, from a page of any address."""
        server = self.server
        assert isinstance(server, _Reports)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/offline":
            server.on_offline()
        else:
            server.found.put(json.loads(content))
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _reports() -> Iterator[tuple[_Reports, str]]:
    """A server for reports, and its address."""
    server = _Reports()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _add_page(app: Path, reports: str, photos: Sequence[Path]) -> None:
    """Put the page of the check and the photos beside the app."""
    shutil.copy(_PAGE, app)
    folder = app / "photos"
    folder.mkdir()
    names = [f"{number}{path.suffix.lower()}" for number, path in enumerate(photos)]
    for name, path in zip(names, photos, strict=True):
        shutil.copy(path, folder / name)
    content = json.dumps({"reports": reports, "photos": names})
    (app / "check.json").write_text(content, encoding="utf-8")


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[None]:
    """A browser, in a group of processes that is ended with it."""
    start = partial(subprocess.Popen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = start(command, start_new_session=True, env={**os.environ, "HOME": str(folder)})
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
