"""The page of a review in Chromium: by keyboard, on a phone, in the dark, and by axe."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from leafzoom.review.decisions import DecisionFile, read_decisions
from leafzoom.review.items import Review
from leafzoom.review.service import create_review_app
from leafzoom.serve.server import listen

CHROMIUM = shutil.which("chromium")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

on_desktop = pytest.mark.parametrize("page", ["desktop"], indirect=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not here")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def decisions(tmp_path: Path) -> DecisionFile:
    return DecisionFile(tmp_path / "review.csv")


@pytest.fixture
def address(queue: Review, decisions: DecisionFile) -> Iterator[str]:
    """The address of a running service."""
    listener = listen("127.0.0.1", 0)
    app = create_review_app(queue, decisions)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)

    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=["desktop", "phone"])
def page(address: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page; errors in the console and requests to other sites fail the test."""
    is_phone = request.param == "phone"
    context = browser.new_context(
        viewport={"width": 360, "height": 740} if is_phone else {"width": 1180, "height": 900},
        has_touch=is_phone,
        color_scheme="dark" if is_phone else "light",
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda note: note.type == "error" and complaints.append(note.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def note_foreign_request(asked: Request) -> None:
        if not asked.url.startswith((address, "data:")):
            complaints.append(asked.url)

    page.on("request", note_foreign_request)
    page.goto(address)
    page.wait_for_selector("#views img")
    yield page

    # Chromium reports requests that fail this way.
    unexpected = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert unexpected == []
    context.close()


def name(page: Page) -> str:
    return page.locator("#name").inner_text()


@on_desktop
def test_a_review_by_keyboard_alone(page: Page, queue: Review, decisions: DecisionFile) -> None:
    """Every kind of decision, without a mouse; the file has each when the page says so."""
    status = page.locator("#status")
    items = queue.items
    page.keyboard.press("g")
    expect(status).to_contain_text("Saved for")
    page.keyboard.press("a")
    expect(status).to_contain_text(items[1].image_name)
    page.keyboard.press("u")
    expect(status).to_contain_text(items[2].image_name)
    page.keyboard.press("x")
    expect(status).to_contain_text(items[3].image_name)

    # Labels of one's own, by numbers.
    ticked = set(items[4].suggested)
    for number in range(len(queue.labels)):
        is_wanted = number == 0
        if (queue.labels[number] in ticked) != is_wanted:
            page.keyboard.press(str(number + 1))
    page.keyboard.press("s")
    expect(status).to_contain_text(items[4].image_name)

    decided = {row.decision.image_name: row.decision for row in read_decisions(decisions.path)}
    assert decided[items[0].image_name].choice == "keep"
    assert set(decided[items[1].image_name].labels) == set(items[1].suggested)
    assert decided[items[2].image_name].choice == "unsure"
    assert decided[items[3].image_name].choice == "leave_out"
    assert decided[items[4].image_name].labels == (queue.labels[0],)

    # Back and forth, and a decision taken back.
    page.keyboard.press("k")
    assert name(page) == items[4].image_name
    page.keyboard.press("z")
    expect(status).to_contain_text("taken back")
    assert items[4].image_name not in DecisionFile(decisions.path).all()
    page.keyboard.press("j")
    assert name(page) == items[5].image_name


@on_desktop
def test_tab_reaches_every_control_and_focus_is_seen(page: Page) -> None:
    reached = []
    page.locator("#kind").focus()
    for _ in range(30):
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if page.evaluate("document.activeElement !== document.body"):
            assert outline != "none", reached
    controls = {"kind", "open", "previous", "next", "keep", "accept", "save", "unsure", "leave"}
    assert controls | {"evidence", "keys"} <= set(reached)


@on_desktop
def test_keys_can_be_turned_off(page: Page, queue: Review, decisions: DecisionFile) -> None:
    page.locator("#keys").uncheck()
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert name(page) == queue.items[0].image_name
    assert not decisions.path.exists()


@on_desktop
def test_a_reload_goes_on_where_it_was(page: Page, queue: Review) -> None:
    page.keyboard.press("g")
    expect(page.locator("#status")).to_contain_text("Saved for")
    page.reload()
    expect(page.locator("#name")).to_have_text(queue.items[1].image_name)
    expect(page.locator("#progress")).to_contain_text(f"1 of {len(queue.items)} decided")


@on_desktop
def test_kinds_are_filtered_and_evidence_is_shown(page: Page, queue: Review) -> None:
    page.select_option("#kind", "unlabelled")
    shown = name(page)
    assert shown in {item.image_name for item in queue.items if "unlabelled" in item.kinds}
    expect(page.locator("#keep")).to_be_disabled()

    with page.expect_response(lambda answer: "evidence=" in answer.url) as answer:
        page.locator("#name").click()
        page.keyboard.press("e")
    assert answer.value.status == 200
    expect(page.locator("#status")).to_contain_text("tinted")


def test_a_decision_that_is_not_saved_is_said(page: Page, queue: Review) -> None:
    page.context.route("**/api/decisions/*", lambda route: route.abort())
    page.locator("#unsure").click()
    expect(page.locator("#status")).to_contain_text("Not saved")
    assert name(page) == queue.items[0].image_name


def test_axe_has_nothing_serious_to_say(page: Page) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    report = page.evaluate(f"async () => {{ {axe}; return await axe.run() }}")

    violations = [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in report["violations"]
    ]
    assert violations == []
    assert report["passes"]


def test_nothing_is_wider_than_the_page(page: Page, tmp_path: Path) -> None:
    """The pictures are for people: kept where LEAFZOOM_SHOTS names a folder."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    size = page.viewport_size
    assert size
    folder = Path(os.environ.get("LEAFZOOM_SHOTS", tmp_path))
    path = folder / f"review-{size['width']}.png"
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 10_000
