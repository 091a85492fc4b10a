"""The documentation site builds without a warning, and needs no other host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\s\">]*)"
)
IN_STYLES = re.compile(r"(?:url\(|@import )\s*[\"']?((?:https?:)?//[^\s\"')]*)")
LARGEST_PICTURE = 150_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; warnings (missing pages, anchors, references) are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_it(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    assert pages <= built
    assert len(pages) > 40


def test_it_loads_nothing_from_other_hosts(site: Path) -> None:
    loaded = {}
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        pattern = LOADED if path.suffix == ".html" else IN_STYLES
        found = pattern.findall(path.read_text(encoding="utf-8"))
        if found:
            loaded[path.name] = found
    assert loaded == {}


def test_nothing_is_left_unrendered(site: Path) -> None:
    """Tables, folded parts and snippets."""
    for path in site.rglob("*.html"):
        text = re.sub(
            r"<(pre|code)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        assert "|---|" not in text, path
        assert "--8<--" not in text, path
        assert "&lt;details" not in text, path


def test_pictures_are_small() -> None:
    pictures = [*(ROOT / "docs").rglob("*.webp"), *(ROOT / "docs").rglob("*.png")]
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > LARGEST_PICTURE] == []
