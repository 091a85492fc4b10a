"""Run the notebook of the documents, and write its page: python -m tools.notebook

docs/tutorials/notebook.ipynb gets its outputs, and docs/tutorials/notebook.md becomes the same as a
page, with pictures beside it. Takes half a minute; needs `leafzoom[train,docs]`.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

from tools.provenance import ROOT

__all__ = ["NOTEBOOK", "main", "parser", "run_notebook", "text_outputs"]

NOTEBOOK = ROOT / "docs" / "tutorials" / "notebook.ipynb"

_WRITTEN = "<!-- Written by python -m tools.notebook; do not edit. -->"
_CELL_TIMEOUT_SECONDS = 300
_WEBP_QUALITY = 80


def main() -> int:
    """Run and write; returns the exit status."""
    parser().parse_args()
    notebook = run_notebook()
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]
    NOTEBOOK.with_suffix(".md").write_text(_page(notebook), encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(
        prog="python -m tools.notebook",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_notebook() -> Any:
    """The notebook with the outputs of a run from its first cell to its last.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=_CELL_TIMEOUT_SECONDS, kernel_name="python3").execute()

    # What differs from run to run.
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def text_outputs(notebook: Any) -> list[str]:
    """What each cell of code prints."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [_printed(cell) for cell in cells]


def _printed(cell: Any) -> str:
    """What a cell of code prints."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def _page(notebook: Any) -> str:
    """The notebook as Markdown; its pictures become files."""
    parts = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue

        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if output.output_type == "stream":
                parts.append(f"```text\n{output.text.rstrip()}\n```")
            elif "image/png" in output.get("data", {}):
                picture = _write_picture(output.data["image/png"], number)
                parts.append(f"![What the cell above draws]({picture.name})")

    title, *rest = parts
    source = f"The notebook itself is [{NOTEBOOK.name}]({NOTEBOOK.name})."
    return "\n\n".join([title, _WRITTEN, source, *rest]) + "\n"


def _write_picture(png: str, number: int) -> Path:
    """A picture of a cell, as a file beside the page."""
    path = NOTEBOOK.with_name(f"notebook-{number}.webp")
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").save(path, quality=_WEBP_QUALITY)
    return path


if __name__ == "__main__":
    sys.exit(main())
