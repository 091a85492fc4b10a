"""The app that `leafzoom serve --web` shows: the server while it answers, then the phone itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from conftest import failure_line, run_command
from serve.service_process import ServiceProcess
from web.test_phone import choose, leaf


@pytest.fixture
def service(early_exit_run: Path, app_folder: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess(early_exit_run, "--web", str(app_folder))
    yield process
    if process.process.poll() is None:
        process.stop()


@pytest.mark.app
def test_the_phone_goes_on_when_the_server_has_gone(
    service: ServiceProcess, browser: Browser, leaves: Path
) -> None:
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(service.url)
    page.wait_for_selector("#model:not(:empty)", state="attached", timeout=60_000)
    choose(page, leaf(leaves))
    assert any("/api/v1/predictions" in url for url in asked)
    assert "this computer" in page.locator("#privacy").inner_text()
    verdict = page.locator("article .verdict").inner_text()

    # The server goes while the page is open.
    service.stop()
    choose(page, leaf(leaves))
    assert page.locator("article .verdict").inner_text() == verdict
    expect(page.locator("#privacy")).to_contain_text("never leave it")

    # And it is not there at the next start.
    page.reload()
    page.wait_for_selector("#model:not(:empty)", state="attached", timeout=60_000)
    choose(page, leaf(leaves))
    assert page.locator("article .verdict").inner_text() == verdict
    context.close()


def test_a_folder_without_an_app_is_refused(tmp_path: Path) -> None:
    line = failure_line(run_command("serve", "--port", "0", "--web", tmp_path), 2)
    assert "holds no app" in line


@pytest.mark.app
def test_the_page_alone_has_no_phone_engine(
    early_exit_run: Path, browser: Browser, leaves: Path
) -> None:
    process = ServiceProcess(early_exit_run)
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(process.url)
    page.wait_for_selector("#model:not(:empty)", state="attached")
    assert process.get("/engine.json").json() == {"server": True, "phone": False}
    assert (
        page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
    )
    assert not page.is_checked("#keep")
    context.close()
    process.stop()
