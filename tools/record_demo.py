"""Run `leafzoom demo` with several seeds, write results/demo.json and the README's picture:
python -m tools.record_demo [--seeds 1 2 3]

The recipe and the leaves were developed on seed 0. The first seed's diagnosis becomes
docs/zoom.webp (a rendered leaf, as all of the demo's). Everything is written at the end. The code
has to be committed. Takes as many minutes as three demos: about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from tools.provenance import ROOT, changes, commit, machine

__all__ = ["main", "parser"]

_WEBP_QUALITY = 88


def main() -> None:
    """Run the demos one after another, write the result."""
    seeds = parser().parse_args().seeds
    _require_committed_code()
    commit_at_start = commit()

    # Nothing is written before all demos have run.
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run_demo(seed, Path(folder) / str(seed)) for seed in seeds]
        _write_picture(Path(folder) / str(seeds[0]) / "diagnosis.png")

    note = (
        f"{len(runs)} seeds of leaves and training on {os.cpu_count()} CPU cores; "
        "developed on another seed"
    )
    result = {
        "name": "demo",
        "note": note,
        "commands": [f"leafzoom demo --seed {seed}" for seed in seeds],
        "commit": commit_at_start,
        "leafzoom": metadata.version("leafzoom"),
        "machine": machine(),
        "runs": runs,
    }
    path = ROOT / "results" / "demo.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.record_demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])

    return options


def _require_committed_code() -> None:
    changed = changes("src", untracked=True)
    if changed:
        sys.exit(f"figures belong to a commit, and these files differ from it:\n{changed}")


def _run_demo(seed: int, out: Path) -> dict[str, Any]:
    """The figures of one demo, in a process of its own."""
    command = [sys.executable, "-m", "leafzoom", "demo", "--seed", str(seed), "--out", str(out)]
    subprocess.run(command, check=True)
    figures: dict[str, Any] = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    return figures


def _write_picture(diagnosis: Path) -> None:
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    with Image.open(diagnosis) as picture:
        picture.convert("RGB").save(docs / "zoom.webp", quality=_WEBP_QUALITY)


if __name__ == "__main__":
    main()
