"""Take the picture of the page for the documents: python -m tools.page_picture

Writes docs/page.webp: `leafzoom serve` with the shipped model, and a rendered leaf on it. Takes ten
seconds; needs `leafzoom[dev]` and Debian's chromium.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from leafzoom.dataset.synthetic import render_leaves
from tools.provenance import ROOT

__all__ = ["main", "parser"]

_CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_LEAF_SEED = 5
_LEAF_INDEX = 3  # with spots that the shipped model takes for those of a disease
_LEAF_PX = 768
_VIEWPORT = (1000, 860)
_SHOWN_PX = 1250  # down to the probabilities of all looks
_WEBP_QUALITY = 80


def main() -> int:
    """Take the picture; returns the exit status."""
    parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        leaf = Path(folder) / "leaf.jpg"
        *_, last = render_leaves(_LEAF_INDEX + 1, size=_LEAF_PX, seed=_LEAF_SEED)
        Image.fromarray(last.pixels).save(leaf, quality=92)
        with _service() as address:
            picture = _picture_of(address, leaf)
    picture.save(ROOT / "docs" / "page.webp", quality=_WEBP_QUALITY)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(
        prog="python -m tools.page_picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def _service() -> Iterator[str]:
    """The address of a running service."""
    command = [sys.executable, "-m", "leafzoom", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        address = None
        while address is None:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("leafzoom serve ended before it had an address")
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
        yield address[0]
    finally:
        process.terminate()
        process.wait()


def _picture_of(address: str, leaf: Path) -> Image.Image:
    """The page with the diagnosis of a leaf."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_CHROMIUM_ARGUMENTS
        )
        width, height = _VIEWPORT
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        page.set_input_files("#choose", leaf)
        page.locator("article .verdict").wait_for(timeout=60_000)
        page.wait_for_timeout(1500)
        shot = page.screenshot(full_page=True)
        browser.close()

    return Image.open(io.BytesIO(shot)).convert("RGB").crop((0, 0, width, _SHOWN_PX))


if __name__ == "__main__":
    sys.exit(main())
