"""What does Ray cost on one machine? python -m experiments.ray_scale [--photos N] [--size PX]

Renders leaves, and diagnoses N/10 and N of them with the local engine and with Ray, all with one
model and all cores, one after the other. Compares the whole times (Ray's start included), and the
memory of the driver and of the workers at both sizes; and the times of the photos that the larger
size has more, without the start of either engine. Then kills a worker of a third run with Ray
in the middle, and counts rows that are lost or doubled. Writes results/experiments/ray.json. 20,000
photos take an hour of two idle cores. A tenth of the photos are rendered; the others are links to
them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.process_watch import WatchedRun, answers_at, run_watched
from experiments.publishing import write_result
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.storage import write_json
from tools.provenance import machine, short_commit

__all__ = ["linked_photos", "main", "measure"]

_SHARE_RENDERED = 10
_SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Render, run, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.photos, options.size, options.model)
    result = {
        "name": "ray",
        "command": f"python -m experiments.ray_scale --photos {options.photos} "
        f"--size {options.size}",
        "commit": short_commit("src"),
        "machine": machine(),
        "photo_px": options.size,
        **measured,
    }
    if options.out:
        write_json(options.out, result)
    else:
        write_result("ray", result)
    print(result)


def measure(folder: Path, count: int, size: int, model: str) -> dict[str, Any]:
    """All runs: two sizes, two engines, and one with a killed worker."""
    rendered = write_leaves(
        folder / "rendered", max(1, count // _SHARE_RENDERED), size=size, seed=_SEED
    )
    few = linked_photos(rendered, folder / "few", max(1, count // 10))
    many = linked_photos(rendered, folder / "many", count)

    sizes = {}
    seconds = {}
    for name, photos in (("few", few), ("many", many)):
        local = run_watched(
            ["predict", str(photos), "--model", model, "--format", "csv"], folder / "x"
        )
        ray = _run_ray(folder, photos, model)
        sizes[name] = _row(photos, local, ray)
        seconds[name] = (local.seconds, ray.seconds)

    # What a further photo costs, without the start of either engine.
    local_further, ray_further = np.subtract(seconds["many"], seconds["few"])

    return {
        "sizes": sizes,
        "further_photos_ratio": round(float(local_further / ray_further), 3),
        "driver_growth": round(sizes["many"]["ray_driver_mb"] / sizes["few"]["ray_driver_mb"], 2),
        "killed_worker": _killed_worker(folder, many, model),
    }


def linked_photos(rendered: Path, folder: Path, count: int) -> Path:
    """A folder of so many photos, which are links to the rendered ones."""
    folder.mkdir()
    originals = sorted((rendered / "train_images").glob("*.jpg"))
    for number in range(count):
        os.link(originals[number % len(originals)], folder / f"{number:07}.jpg")
    return folder


def _run_ray(
    folder: Path, photos: Path, model: str, watch: Callable[[], str | None] = lambda: None
) -> WatchedRun:
    out = folder / "answers"
    shutil.rmtree(out, ignore_errors=True)
    words = ["predict", str(photos), "--model", model, "--engine", "ray", "--out", str(out)]
    return run_watched(words, folder / "x", watch)


def _row(photos: Path, local: WatchedRun, ray: WatchedRun) -> dict[str, Any]:
    """A size's figures; seconds are of a machine that may have other work, so only ratios stay."""
    return {
        "photos": sum(1 for _ in photos.iterdir()),
        "throughput_ratio": round(local.seconds / ray.seconds, 3),
        "exit_codes": [local.exit_code, ray.exit_code],
        "local_mb": local.peak_mb["driver"],
        "ray_driver_mb": ray.peak_mb["driver"],
        "ray_worker_mb": ray.peak_mb.get("worker"),
        "ray_service_mb": ray.peak_mb.get("service"),
    }


def _killed_worker(folder: Path, photos: Path, model: str) -> dict[str, Any]:
    """The rows of a run whose worker is killed after the first answers."""
    answers = folder / "answers"

    def watch() -> str | None:
        return "worker" if any(answers.glob("answers-*")) else None

    run = _run_ray(folder, photos, model, watch)
    rows = Counter(answers_at(answers))
    expected = {str(path) for path in photos.iterdir()}
    return {
        "killed": run.killed,
        "exit_code": run.exit_code,
        "photos": len(expected),
        "rows": sum(rows.values()),
        "lost": len(expected - set(rows)),
        "doubled": sum(count > 1 for count in rows.values()),
    }


if __name__ == "__main__":
    main()
