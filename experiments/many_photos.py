"""Does the local path carry many photos? python -m experiments.many_photos [--photos N]

Diagnoses N small photos into a folder twice: once in one go, while the memory is watched at tenths
of the way, and once with --kills K kills (SIGKILL) at moments spread over the way, each followed by
the same command. Compares the two folders' CSV byte for byte. Writes
results/experiments/many-photos.json. 100,000 photos take hours of two cores, and some gigabytes for
their pictures; --model takes a smaller model.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.process_watch import run_watched
from experiments.publishing import write_result
from leafzoom.storage import write_json
from tools.provenance import machine, short_commit

__all__ = ["main", "measure"]

_SIZE = (48, 32)
_COLOURS = 1000
_PHOTOS = 100_000
_KILLS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Make photos, run twice, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=_PHOTOS)
    parser.add_argument("--kills", type=int, default=_KILLS)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.photos, options.kills, options.model)
    result = {
        "name": "many-photos",
        "command": f"python -m experiments.many_photos --photos {options.photos} "
        f"--kills {options.kills}",
        "commit": short_commit("src"),
        "machine": machine(),
        **measured,
    }
    if options.out:
        write_json(options.out, result)
    else:
        write_result("many-photos", result)
    print(result)


def measure(folder: Path, count: int, kills: int, model: str) -> dict[str, Any]:
    """Both ways, compared."""
    photos = _make_photos(folder / "photos", count)
    words = ["predict", str(photos), "--model", model, "--format", "csv", "--out"]
    whole = folder / "whole"
    watch = _MemoryAtTenths(whole, count)
    whole_run = run_watched([*words, str(whole)], folder / "whole.csv", watch)

    # Each attempt is killed a little further on the way; the last one ends by itself.
    resumed = folder / "resumed"
    done_at_kill = []
    for number in range(1, kills + 1):
        target = count * number // (kills + 1)
        when = _Reached(resumed, target)
        run = run_watched([*words, str(resumed)], folder / "x", when)
        done_at_kill.append(_pictures(resumed) if run.killed else None)
    last = run_watched([*words, str(resumed)], folder / "resumed.csv")

    same = (whole / "predictions.csv").read_bytes() == (resumed / "predictions.csv").read_bytes()
    return {
        "photos": count,
        "exit_codes": [whole_run.exit_code, last.exit_code],
        "memory_mb_at_tenths": watch.memory_mb,
        "peak_mb": whole_run.peak_mb["driver"],
        "kills": sum(done is not None for done in done_at_kill),
        "pictures_at_kills": done_at_kill,
        "resumed_equals_whole": same,
    }


class _MemoryAtTenths:
    """Notes the memory of the run when a tenth more of the photos is done; kills nothing."""

    def __init__(self, out: Path, count: int) -> None:
        self._out = out
        self._step = max(1, count // 10)
        self.memory_mb: list[float] = []

    def __call__(self) -> None:
        if _pictures(self._out) >= self._step * (len(self.memory_mb) + 1):
            self.memory_mb.append(_child_memory_mb())


class _Reached:
    """Kills the run once so many pictures are there."""

    def __init__(self, out: Path, target: int) -> None:
        self._out = out
        self._target = target

    def __call__(self) -> str | None:
        return "driver" if _pictures(self._out) >= self._target else None


def _pictures(out: Path) -> int:
    """How many diagnoses are drawn so far."""
    try:
        return sum(entry.name.endswith(".png") for entry in os.scandir(out))
    except OSError:
        return 0


def _child_memory_mb() -> float:
    """The resident memory of this process's largest child."""
    own = os.getpid()
    sizes = [0.0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == own:
            sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return round(max(sizes))


def _make_photos(folder: Path, count: int) -> Path:
    """Small photos of one colour each; those beyond a thousand are links."""
    folder.mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (_COLOURS, 3))
    for number in range(count):
        path = folder / f"{number:07}.jpg"
        if number < _COLOURS:
            red, green, blue = colours[number].tolist()
            Image.new("RGB", _SIZE, (red, green, blue)).save(path)
        else:
            os.link(folder / f"{number % _COLOURS:07}.jpg", path)
    return folder


if __name__ == "__main__":
    main()
