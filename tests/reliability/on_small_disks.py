"""Trainings, caches and diagnoses on a file system that is too small, then read-only: on_small_disks.py FOLDER RUN

To be run in a mount namespace of its own (`unshare --map-root-user --mount`), where it may mount. Everything that
fails has to end in one line and exit 1, to leave what was there before whole, and to go on once there is room. RUN is
the same training, finished where there was room. Prints
what it found as one line of JSON; exit 1 and a traceback where something is not so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from small import SMALL

from leafzoom.cli import cli
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.training.state import load_state

CHANGES = [word for change in SMALL for word in ("--set", change)]


def mount(where: Path, options: str) -> None:
    """Mount a tmpfs, or change one that is mounted."""
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(where)], check=True)


def run(*arguments: str | Path) -> Result:
    """The command line."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def one_line(result: Result, *says: str) -> str:
    """The only line that starts with `leafzoom:`, of a command that failed as it should."""
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("leafzoom: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0], result.stderr
    for part in says:
        assert part in lines[0], lines[0]
    return lines[0]


def training(base: Path, whole: Path, data: Path, cache: Path) -> dict[str, object]:
    """A disk that is full again and again, with a little more room each time; then a read-only one."""
    arguments = ("train", "--data", data, "--recipe", "default", "--cache", cache, *CHANGES)
    disk = base / "disk"
    mount(disk, "size=64k")
    lines = []
    before = None
    for size in ("256k", "3m", "8m", "13m", "15m", "40m"):
        mount(disk, f"remount,size={size}")
        result = run(*arguments, "--out", disk / "run", "--resume")
        assert not list(disk.rglob("*.partial"))
        if result.exit_code == 0:
            break
        lines.append(one_line(result, "No space left on device"))
        stored = load_state(disk / "run" / "states")  # whole, and not from before what was there
        if before and stored:
            assert (stored.cursor.stage, stored.cursor.epoch) >= (before.cursor.stage, before.cursor.epoch)
        before = stored or before
    assert result.exit_code == 0, result.output
    equal = all(
        (disk / "run" / name).read_bytes() == (whole / name).read_bytes()
        for name in ("model.safetensors", "backbone.safetensors")
    )
    mount(disk, "remount,ro")
    one_line(run(*arguments, "--out", disk / "run", "--resume"), "Read-only file system", "choose another one")
    one_line(run(*arguments, "--out", disk / "new"), "Read-only file system")
    return {"full while training": len(lines), "before a state": before is None, "equal in the end": equal}


def caches(base: Path, data: Path) -> None:
    """A cache on a full disk, then on one with room, then on a read-only one."""
    disk = base / "cache-disk"
    mount(disk, "size=64k")
    small = disk / "cache"
    one_line(run("prepare", "--data", data, "--cache", small, "--source-size", "64"), "free", "make room")
    subprocess.run(["mount", "-o", "remount,size=800k", str(disk)], check=True)
    assert run("prepare", "--data", data, "--cache", small, "--source-size", "64").exit_code == 0
    mount(disk, "remount,ro")
    assert (
        run("prepare", "--data", data, "--cache", small, "--source-size", "64").exit_code == 0
    )  # there is nothing to write
    one_line(run("prepare", "--data", data, "--cache", disk / "new", "--source-size", "64"), "Read-only file system")


def diagnoses(base: Path, whole: Path, data: Path) -> None:
    """predict --out on a disk that fills up; the second call has room and does the rest."""
    disk = base / "out-disk"
    mount(disk, "size=300k")
    photos = data / "train_images"
    command = ("predict", photos, "--model", whole, "--format", "jsonl", "--out", disk / "out")
    one_line(run(*command))
    mount(disk, "remount,size=40m")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert len((disk / "out" / "predictions.jsonl").read_text().splitlines()) == 48
    assert not list(disk.rglob("*.partial"))
    mount(disk, "remount,ro")
    one_line(run(*command), "Read-only file system")


def main() -> None:
    """All of it, below a folder."""
    base, whole = Path(sys.argv[1]), Path(sys.argv[2])
    data = write_leaves(base / "leaves", 48, size=64, seed=0)
    mount(data, "size=20m")
    write_leaves(data, 48, size=64, seed=0)
    mount(data, "remount,ro")  # photographs may well be on a read-only disk
    found = training(base, whole, data, base / "cache")
    caches(base, data)
    diagnoses(base, whole, data)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
