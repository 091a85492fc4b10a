"""Trainings killed at random moments and gone on with, compared with one that was left alone.

    python tests/reliability/kill_and_resume.py --kills 100 --seed 0 --out FILE

One process imports everything once, with one thread; each attempt is a fork of it that runs the command line's
`train --resume`. Half of the kills come from outside, after a random share of a random stage; half come from within,
at a random step of a random write of that stage (half a file is there, all of it but not synced, not renamed, renamed
but what it replaces not yet removed), by SIGKILL to itself. Every kill is followed by another attempt; a run's last
attempt is left alone, and its files have to be, bit for bit, those of a training in a process of its own that nobody
killed. Half of the runs save after every batch instead of every ten minutes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # before torch and numpy are imported; then a fork has no other thread to lose
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
from small import SMALL

import leafzoom.inference.export
from leafzoom import cli
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.training import phases, run, stages

STAGES = ("start", "fine-tuning", "warm-up", "classifiers", "APNs", "fusion", "export")
LONGEST = 300.0  # seconds of one attempt
STEPS = ("half written", "not synced", "not renamed", "renamed")
_LAYOUT = struct.Struct(f"=BBB61s{len(STAGES)}I")  # stage, inside a write, step, file, writes of each stage


class Place:
    """Where an attempt is, in memory that it shares with the process that watches it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _LAYOUT.size)
        self.clear()

    def clear(self) -> None:
        """Nothing has begun."""
        self.put(0, 0, 0, "", [0] * len(STAGES))

    def put(self, stage: int, writing: int, step: int, file: str, writes: list[int]) -> None:
        """Say all of it."""
        self._memory[:] = _LAYOUT.pack(stage, writing, step, file.encode()[-61:], *writes)

    def get(self) -> tuple[int, int, int, str, list[int]]:
        """What `put` said."""
        stage, writing, step, file, *writes = _LAYOUT.unpack(self._memory[:])
        return stage, writing, step, file.rstrip(b"\0").decode(), writes


@dataclass(frozen=True)
class Doom:
    """An attempt ends in a stage: after `seconds` of it, or at a step of its `write`th write."""

    stage: int
    seconds: float = 0.0
    write: int = 0
    step: int = 0


def watch(place: Place, doom: Doom | None) -> None:
    """Tell in this process's `place` where it is, and end it at a step of a write."""

    def entering(stage: int, call: Callable[..., Any]) -> Callable[..., Any]:
        def told(*arguments: Any, **options: Any) -> Any:
            _, *rest = place.get()
            place.put(stage, *rest)  # type: ignore[arg-type]
            return call(*arguments, **options)

        return told

    for stage, phase in enumerate(
        (phases.FineTuningPhase, phases.WarmUpPhase, phases.ClassifierPhase, phases.ApnPhase), start=1
    ):
        phase.begin = entering(stage, phase.begin)  # type: ignore[attr-defined]
    run.fit_heads = entering(5, run.fit_heads)
    cli._export = entering(6, cli._export)

    write_bytes, fsync, replace = Path.write_bytes, os.fsync, Path.replace

    def at(step: int, file: str | None = None) -> bool:
        """A write has come to a step: whether this is the end."""
        stage, writing, _, before, writes = place.get()
        if not writing:  # this is the first step of a write
            writes[stage] += 1
        place.put(stage, 1, step, file or before, writes)
        return bool(doom and doom.write == writes[stage] and (doom.stage, doom.step) == (stage, step))

    def ended() -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def half(self: Path, content: bytes) -> int:
        if at(0, self.name):
            with self.open("wb") as file:
                file.write(content[: len(content) // 2])
            ended()
        return write_bytes(self, content)

    def unsynced(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode) and at(1):
            ended()
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        if at(2, self.name):
            ended()
        found = replace(self, target)
        if at(3):
            ended()
        stage, _, _, _, writes = place.get()
        place.put(stage, 0, 0, "", writes)
        return found

    Path.write_bytes, os.fsync, Path.replace = half, unsynced, renamed  # type: ignore[assignment,method-assign]


def attempt(arguments: list[str], place: Place, doom: Doom | None, log: Path) -> int:
    """Fork a process that trains; what it says goes to the end of a file."""
    place.clear()
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        watch(place, doom)
        cli.cli.main(arguments, standalone_mode=False)
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(process: int, place: Place, doom: Doom | None) -> tuple[int, dict[int, float]]:
    """Wait for an attempt's end, or bring it about; its status, and how long it was in each stage at first."""
    begun: dict[int, float] = {}
    spent: dict[int, float] = {}
    last = -1
    latest = time.monotonic() + LONGEST
    while True:
        if time.monotonic() > latest:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise TimeoutError(f"an attempt did not end within {LONGEST:.0f} s, in stage {STAGES[place.get()[0]]}")
        ended, status = os.waitpid(process, os.WNOHANG)
        now, stage = time.monotonic(), place.get()[0]
        if stage != last or ended:
            if last >= 0:
                spent.setdefault(last, now - begun[last])
            begun.setdefault(stage, now)
            last = stage
        if ended:
            return status, spent
        if doom and not doom.write and stage >= doom.stage and now - begun[stage] >= doom.seconds:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.001)


def outcome(folder: Path) -> dict[str, str]:
    """What has to be the same in every run: the hashes of its weights, and its losses."""
    found = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("backbone.safetensors", "model.safetensors")
    }
    with (folder / "log.csv").open() as file:
        found["losses"] = " ".join(row["value"] for row in csv.DictReader(file) if "loss" in row["key"])
    return found


def left_over(folder: Path) -> list[str]:
    """Files that a finished run should not have."""
    partial = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    return partial + [path.name for path in sorted(folder.glob("states/state-*"))[:-2]]


def killed(base: Path, place: Place, arguments: list[str], kills: int, seed: int) -> dict[str, Any]:
    """Kill so often, and say what happened."""
    draw = random.Random(seed)
    alone = base / "alone" / "run"
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "leafzoom.cli", *arguments, "--out", str(alone)],
                   check=True, capture_output=True)  # fmt: skip
    wanted = outcome(alone)
    first = base / "first" / "run"
    status, seconds = wait(attempt([*arguments, "--out", str(first)], place, None, base / "log"), place, None)
    assert status == 0, (base / "log").read_text()
    assert outcome(first) == wanted, "a fork trains otherwise than a process of its own"
    writes = place.get()[4]
    by_stage: Counter[str] = Counter()
    by_step: Counter[str] = Counter()
    of_files: Counter[str] = Counter()
    wrong: list[str] = []
    runs = 0
    while sum(by_stage.values()) < kills and not wrong:
        runs += 1
        out, log = base / str(runs) / "run", base / f"{runs}.log"
        stages._SAVE_SECONDS = draw.choice((0.0, 600.0))
        plan: list[Doom | None] = []
        for stage in sorted(draw.choices(range(len(STAGES)), k=min(12, kills - sum(by_stage.values())))):
            if draw.random() < 0.5 or not writes[stage]:
                plan.append(Doom(stage, seconds=draw.random() * seconds.get(stage, 0.0)))
            else:
                plan.append(Doom(stage, write=draw.randint(1, writes[stage]), step=draw.randrange(len(STEPS))))
        for doom in [*plan, None]:
            status, _ = wait(attempt([*arguments, "--resume", "--out", str(out)], place, doom, log), place, doom)
            if status == 0:
                break
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                wrong.append(f"run {runs}: status {status}: {log.read_text()[-2000:]}")
                break
            stage, writing, step, file, _ = place.get()
            by_stage[STAGES[stage]] += 1
            if writing and doom and doom.write:  # a kill at a moment in time may find the file whole already
                by_step[STEPS[step]] += 1
                of_files[kind(file)] += 1
        if wrong:
            break
        if outcome(out) != wanted:
            wrong.append(f"run {runs}: other weights or losses than the run that was left alone")
        if left_over(out):
            wrong.append(f"run {runs}: left {', '.join(left_over(out))}")
    return {
        "kills": sum(by_stage.values()),
        "gone on with": sum(by_stage.values()) if not wrong else None,
        "runs": runs,
        "runs whose weights and losses equal the uninterrupted run's": runs if not wrong else None,
        "by stage": {stage: by_stage[stage] for stage in STAGES},
        "while a file was written": sum(by_step.values()),
        "by step of the write": {step: by_step[step] for step in STEPS},
        "by file": dict(sorted(of_files.items())),
        "wrong": wrong,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "model_sha256": wanted["model.safetensors"],
    }


def kind(file: str) -> str:
    """Which of a run's files a partial file was to become."""
    for name in ("state", "model.safetensors", "backbone.safetensors", "model.onnx", "run.json"):
        if name in file:
            return name
    return "others (log, zooms, split, recipe, selection)"


def main() -> None:
    """Kill, and write what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    assert leafzoom.inference.export  # imported before the fork, not in every one
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        leaves = write_leaves(base / "leaves", 48, size=64, seed=0)
        changes = [word for change in SMALL for word in ("--set", change)]
        arguments = ["train", "--data", str(leaves), "--recipe", "default", "--cache", str(base / "cache"), *changes]
        found = killed(base, Place(), arguments, options.kills, options.seed)
    text = json.dumps(found, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
