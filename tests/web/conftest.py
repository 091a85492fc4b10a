"""The app of a tiny model, on a plain host, in Chromium; and the runtime that it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from leafzoom.web.folder import write_web_folder
from leafzoom.web.runtime import RUNTIME_ARCHIVE, RUNTIME_VERSION
from tools.static_host import StaticHost, chromium
from tools.web_agreement import PhonePage

_READY_MS = 60_000

# A busy machine encodes a photo in seconds.
expect.set_options(timeout=_READY_MS)


# Each test of the whole app loads ONNX Runtime Web into a browser without a cache. These stand for
# the others in the quick tests; `tools/check --app` runs all.
_QUICK = (
    "test_the_phone_gives_pythons_answers",
    "test_it_diagnoses_without_a_network_and_without_its_host",
    "test_results_are_kept_by_tree",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the whole app."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "app" in fixtures and getattr(item, "originalname", "") not in _QUICK:
            item.add_marker(pytest.mark.app)


@dataclass
class App:
    """An app's folder, its host, and a page that shows it."""

    folder: Path
    host: StaticHost
    context: BrowserContext

    def open(self) -> Page:
        """A page with the app, once its engine is ready; errors of scripts end the test."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(self.host.url)
        page.wait_for_selector("#model:not(:empty)", state="attached", timeout=_READY_MS)
        return page


def _user_cache() -> Path:
    """The user's own cache, which each test hides from the code."""
    chosen = os.environ.get("LEAFZOOM_CACHE", "").strip()
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "leafzoom"


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package of ONNX Runtime Web: as docs/offline.md fetches it, unless it is there."""
    kept = _user_cache() / "web-runtime" / RUNTIME_ARCHIVE
    if kept.is_file():
        return kept
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm (apt-get install npm) to fetch ONNX Runtime Web")

    folder = tmp_path_factory.mktemp("runtime")
    command = [npm, "pack", f"onnxruntime-web@{RUNTIME_VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot fetch ONNX Runtime Web here: {done.stderr.strip()[-200:]}")
    return folder / RUNTIME_ARCHIVE


@pytest.fixture(scope="session")
def app_folder(
    early_exit_run: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The app of the tiny model."""
    folder = tmp_path_factory.mktemp("web") / "app"
    write_web_folder(early_exit_run / "model.onnx", folder, runtime)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for a file of tests."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")
    with chromium() as opened:
        yield opened


@pytest.fixture(params=["desktop"])
def app(
    app_folder: Path, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[App]:
    """The app, copied, as a browser without any earlier visit finds it."""
    folder = tmp_path / "app"
    shutil.copytree(app_folder, folder)
    host = StaticHost(folder)
    is_phone = request.param == "phone"
    context = browser.new_context(
        viewport={"width": 360, "height": 740} if is_phone else {"width": 1100, "height": 900},
        has_touch=is_phone,
        reduced_motion="reduce",
        color_scheme="dark" if is_phone else "light",
        locale="en-GB",
        permissions=["camera", "geolocation"],
        geolocation={"latitude": 47.5, "longitude": -9.25},
    )
    yield App(folder, host, context)
    context.close()
    host.stop()


@pytest.fixture(scope="module")
def engine_page(app_folder: Path, browser: Browser) -> Iterator[PhonePage]:
    """The app's modules, for tests of what they compute."""
    host = StaticHost(app_folder)
    yield PhonePage(browser, host.url)
    host.stop()
