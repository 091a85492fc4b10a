"""Trainings, caches and diagnoses on a file system that is too small, then read-only:

    unshare --map-root-user --mount python on_small_disks.py FOLDER RUN

It needs a mount namespace of its own, where it may mount. Everything that fails has to end in one
line and exit 1, to keep what was there before, and to go on once there is room. RUN is the same
training, finished where there was room. Prints its figures as one line of JSON; exits with 1 and a
traceback where an assertion fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from leafzoom.cli import cli
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.training.state import State, load_state
from reliability.small import SMALL

PHOTOGRAPHS = 48
SOURCE_SIZE = "64"
TRAINING_DISK_SIZES = ("256k", "3m", "8m", "13m", "15m", "40m")


@dataclass(frozen=True)
class Inputs:
    """What all parts use: a folder for the disks, the finished run, the photographs."""

    base: Path
    finished_run: Path
    data: Path


def main() -> None:
    """Check everything, below a folder."""
    base = Path(sys.argv[1])
    data = write_leaves(base / "leaves", PHOTOGRAPHS, size=64, seed=0)

    # Photographs may well be on a read-only disk.
    mount(data, "size=20m")
    write_leaves(data, PHOTOGRAPHS, size=64, seed=0)
    mount(data, "remount,ro")

    inputs = Inputs(base, Path(sys.argv[2]), data)
    figures = check_training(inputs)
    check_caches(inputs)
    check_diagnoses(inputs)
    print(json.dumps(figures))


def check_training(inputs: Inputs) -> dict[str, object]:
    """A disk that is full again and again, with a little more room each time; then read-only."""
    disk = inputs.base / "disk"
    mount(disk, "size=64k")

    failures = 0
    before: State | None = None
    for size in TRAINING_DISK_SIZES:
        mount(disk, f"remount,size={size}")
        result = train(inputs, disk / "run", "--resume")
        assert not list(disk.rglob("*.partial"))
        if result.exit_code == 0:
            break
        failures += 1
        require_one_line(result, "No space left on device")

        # A stored state is complete, and no older than the one before it.
        stored = load_state(disk / "run" / "states")
        if before and stored:
            assert progress_of(stored) >= progress_of(before)
        before = stored or before
    assert result.exit_code == 0, result.output

    is_equal = all(
        (disk / "run" / name).read_bytes() == (inputs.finished_run / name).read_bytes()
        for name in ("model.safetensors", "backbone.safetensors")
    )

    mount(disk, "remount,ro")
    resumed = train(inputs, disk / "run", "--resume")
    require_one_line(resumed, "Read-only file system", "choose another one")
    require_one_line(train(inputs, disk / "new"), "Read-only file system")
    return {
        "full while training": failures,
        "before a state": before is None,
        "equal in the end": is_equal,
    }


def check_caches(inputs: Inputs) -> None:
    """A cache on a full disk, then on one with room, then on a read-only one."""
    disk = inputs.base / "cache-disk"
    mount(disk, "size=64k")
    cache = disk / "cache"
    require_one_line(prepare(inputs, cache), "free", "make room")

    mount(disk, "remount,size=800k")
    assert prepare(inputs, cache).exit_code == 0

    # A complete cache needs no write.
    mount(disk, "remount,ro")
    assert prepare(inputs, cache).exit_code == 0
    require_one_line(prepare(inputs, disk / "new"), "Read-only file system")


def check_diagnoses(inputs: Inputs) -> None:
    """`predict --out` on a disk that fills up; the second call has room and does the rest."""
    disk = inputs.base / "out-disk"
    mount(disk, "size=300k")
    require_one_line(predict(inputs, disk / "out"))

    mount(disk, "remount,size=40m")
    result = predict(inputs, disk / "out")
    assert result.exit_code == 0, result.output
    lines = (disk / "out" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == PHOTOGRAPHS
    assert not list(disk.rglob("*.partial"))

    mount(disk, "remount,ro")
    require_one_line(predict(inputs, disk / "out"), "Read-only file system")


# Commands.


def train(inputs: Inputs, out: Path, *options: str) -> Result:
    """The smallest training, with its cache beside the disks."""
    arguments: list[str | Path] = ["train", "--data", inputs.data, "--recipe", "default"]
    arguments += ["--cache", inputs.base / "cache", "--out", out, *options]
    for change in SMALL:
        arguments += ["--set", change]
    return run(*arguments)


def prepare(inputs: Inputs, cache: Path) -> Result:
    """Build a cache."""
    return run("prepare", "--data", inputs.data, "--cache", cache, "--source-size", SOURCE_SIZE)


def predict(inputs: Inputs, out: Path) -> Result:
    """Diagnose all photographs."""
    photos = inputs.data / "train_images"
    options = ("--model", inputs.finished_run, "--format", "jsonl", "--out", out)
    return run("predict", photos, *options)


def run(*arguments: str | Path) -> Result:
    """The command line."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


# Helpers.


def mount(folder: Path, options: str) -> None:
    """Mount a tmpfs, or change one that is mounted."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


def require_one_line(result: Result, *parts: str) -> None:
    """Require a command that failed with one line from leafzoom, its last, with these parts."""
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(
        result.exception
    )

    lines = [line for line in result.stderr.splitlines() if line.startswith("leafzoom: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0], result.stderr
    for part in parts:
        assert part in lines[0], lines[0]


def progress_of(state: State) -> tuple[int, int]:
    """Stage and epoch of a state."""
    return state.cursor.stage, state.cursor.epoch


if __name__ == "__main__":
    main()
