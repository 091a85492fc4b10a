"""The page behind a proxy with a prefix, where it asks for a token: in Debian's Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from serve.service_process import ServiceProcess
from serve.test_page import CHROMIUM, CHROMIUM_ARGUMENTS, choose, leaf
from serve.test_proxy import nginx_by_default

TOKEN = "in-the-orchard"


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address, through nginx."""
    process = ServiceProcess(trained, "--root-path", "/leafzoom", "--token", TOKEN)
    folder = tmp_path_factory.mktemp("proxy")
    try:
        with nginx_by_default(folder, process, folder) as proxy:
            yield proxy.url("/")
    finally:
        process.stop()


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty page as wide as a phone."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(
            viewport={"width": 400, "height": 800},
            reduced_motion="reduce",
        )
        yield page
        browser.close()


def keep_picture(page: Page, name: str) -> None:
    """For people to look at: kept where LEAFZOOM_SHOTS names a folder."""
    if "LEAFZOOM_SHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["LEAFZOOM_SHOTS"]) / name, full_page=True)


def sign_in(page: Page, token: str) -> None:
    page.fill("#token", token)
    page.click("button[type=submit]")


def test_from_the_token_to_the_zooms(page: Page, address: str, leaves: Path) -> None:
    page.goto(address)
    sign_in(page, "guess")
    assert "not the token" in page.locator("[role=alert]").inner_text()
    keep_picture(page, "sign-in.png")

    # The page listens for photos once its script has run, which the end of its loading waits for.
    sign_in(page, TOKEN)
    page.wait_for_selector("#choose", state="attached")
    page.wait_for_load_state("load")
    assert page.url == address

    choose(page, leaf(leaves))
    page.wait_for_selector("article")
    page.locator(".slider").focus()
    page.keyboard.press("End")
    assert page.locator(".caption").inner_text() == "the closest look"
    assert page.locator(".scales canvas").count() == 3
    keep_picture(page, "proxied.png")

    description = page.request.get(page.locator("footer a").evaluate("link => link.href"))
    assert description.status == 200


def test_an_address_with_the_token_opens_the_page(page: Page, address: str) -> None:
    """As a QR code has it; the token does not stay in the address."""
    page.goto(f"{address}?token={TOKEN}")
    page.wait_for_selector("#choose", state="attached")
    assert page.url == address
    page.wait_for_selector("#model:has-text('leafzoom')")


def test_axe_has_nothing_serious_to_say_of_the_sign_in(page: Page, address: str) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    page.goto(address)
    report = page.evaluate(f"async () => {{ {axe}; return await axe.run() }}")
    serious = [v["id"] for v in report["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert report["passes"]
