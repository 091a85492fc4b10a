"""Kill trainings at random moments, resume them, and compare them with an uninterrupted one:

    python tests/reliability/kill_and_resume.py --kills 100 --seed 0 --out FILE

One process imports everything once, with one thread. Each attempt is a fork of it that runs the
command line's `train --resume`. Half of the kills come from outside, after a random share of a
random stage. Half come from within, at a random step of a random write of that stage (half of the
file is there; all of it but not synced; not renamed; renamed, but what it replaces not yet
removed), by SIGKILL to itself. Another attempt follows every kill. A run's last attempt is left
alone, and its files have to equal, bit for bit, those of an uninterrupted training in a process of
its own. Half of the runs save after every batch instead of every ten minutes.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    # Before torch and numpy are imported: then there is no thread that a fork would lose.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import leafzoom.inference.export  # noqa: F401, imported once, not in every fork
from leafzoom.cli import cli
from leafzoom.commands import train as train_command
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.training import run, stage_loop
from leafzoom.training.apn_phase import ApnPhase
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.phases import FineTuningPhase
from leafzoom.training.warm_up import WarmUpPhase
from reliability.small import SMALL

STAGES = ("start", "fine-tuning", "warm-up", "classifiers", "APNs", "fusion", "export")
STEPS = ("half written", "not synced", "not renamed", "renamed")
HALF_WRITTEN, NOT_SYNCED, NOT_RENAMED, RENAMED = range(len(STEPS))

PHASES = (FineTuningPhase, WarmUpPhase, ClassifierPhase, ApnPhase)  # from stage 1 on
FUSION = STAGES.index("fusion")
EXPORT = STAGES.index("export")

MAX_ATTEMPT_SECONDS = 300.0
MAX_KILLS_PER_RUN = 12
SAVE_INTERVALS_S = (0.0, 600.0)
POLL_SECONDS = 0.001

_MAX_FILE_NAME = 61  # bytes of it that a position keeps
_LAYOUT = struct.Struct(f"=BBB{_MAX_FILE_NAME}s{len(STAGES)}I")


# Where an attempt is.


@dataclass(frozen=True)
class Position:
    """Where an attempt is.

    `stage`, `step`: indices of `STAGES` and `STEPS`; the step is of the write of `file`, if
    `is_writing`. `writes`: how many writes each stage has begun.
    """

    stage: int = 0
    is_writing: bool = False
    step: int = 0
    file: str = ""
    writes: tuple[int, ...] = (0,) * len(STAGES)


class SharedPosition:
    """A position in memory that an attempt shares with the process that watches it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _LAYOUT.size)
        self.set(Position())

    def set(self, position: Position) -> None:
        """Replace the position."""
        file = position.file.encode()[-_MAX_FILE_NAME:]
        self._memory[:] = _LAYOUT.pack(
            position.stage, position.is_writing, position.step, file, *position.writes
        )

    def get(self) -> Position:
        """The last position that was set."""
        stage, is_writing, step, file, *writes = _LAYOUT.unpack(self._memory[:])
        name = file.rstrip(b"\0").decode()
        return Position(stage, bool(is_writing), step, name, tuple(writes))


@dataclass(frozen=True)
class Kill:
    """Where an attempt ends: after `seconds` of a stage, or at a step of the stage's `write`th
    write.
    """

    stage: int
    seconds: float = 0.0
    write: int = 0
    step: int = 0

    @property
    def is_at_a_write(self) -> bool:
        """Whether the attempt ends itself, instead of being ended from outside."""
        return self.write > 0

    def is_due(self, stage: int, seconds: float) -> bool:
        """Whether an attempt that has been in a stage for some seconds is ended from outside."""
        return not self.is_at_a_write and stage >= self.stage and seconds >= self.seconds

    def is_at(self, position: Position) -> bool:
        """Whether a position in a write is where the attempt ends."""
        writes = position.writes[position.stage]
        is_same_step = (self.stage, self.step) == (position.stage, position.step)
        return self.write == writes and is_same_step


# Inside an attempt.


def instrument(shared: SharedPosition, kill: Kill | None) -> None:
    """Make this process report its position, and end it at its kill's step of a write."""
    for stage, phase in enumerate(PHASES, start=1):
        phase.begin = _entering(shared, stage, phase.begin)  # type: ignore[method-assign]
    run.fit_heads = _entering(shared, FUSION, run.fit_heads)
    train_command.export_checkpoint = _entering(shared, EXPORT, train_command.export_checkpoint)

    write_bytes = Path.write_bytes
    fsync = os.fsync
    rename = Path.replace

    def watched_write_bytes(self: Path, content: bytes) -> int:
        if _comes_to(shared, kill, HALF_WRITTEN, self.name):
            with self.open("wb") as file:
                file.write(content[: len(content) // 2])
            _end()
        return write_bytes(self, content)

    def watched_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not is_folder and _comes_to(shared, kill, NOT_SYNCED):
            _end()
        fsync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        if _comes_to(shared, kill, NOT_RENAMED, self.name):
            _end()
        renamed = rename(self, target)
        if _comes_to(shared, kill, RENAMED):
            _end()

        # This write is over.
        position = shared.get()
        shared.set(Position(stage=position.stage, writes=position.writes))
        return renamed

    Path.write_bytes = watched_write_bytes  # type: ignore[assignment,method-assign]
    os.fsync = watched_fsync  # type: ignore[assignment]
    Path.replace = watched_rename  # type: ignore[assignment,method-assign]


def _entering(
    shared: SharedPosition, stage: int, function: Callable[..., Any]
) -> Callable[..., Any]:
    """The function, with which a stage begins."""

    def call(*arguments: Any, **options: Any) -> Any:
        shared.set(replace(shared.get(), stage=stage))
        return function(*arguments, **options)

    return call


def _comes_to(shared: SharedPosition, kill: Kill | None, step: int, file: str = "") -> bool:
    """Report a step of a write; whether the attempt ends here."""
    position = shared.get()
    writes = list(position.writes)
    if not position.is_writing:  # the first step of a write
        writes[position.stage] += 1

    position = Position(
        stage=position.stage,
        is_writing=True,
        step=step,
        file=file or position.file,
        writes=tuple(writes),
    )
    shared.set(position)
    return kill is not None and kill.is_at(position)


def _end() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL did not end the process")


# Outside an attempt.


@dataclass(frozen=True)
class Attempts:
    """How attempts of a run are made: `arguments` of `leafzoom`, a log, the shared position."""

    arguments: tuple[str, ...]
    log: Path
    shared: SharedPosition

    def attempt(self, kill: Kill | None) -> Attempt:
        """Train in a fork of this process until it ends or is killed."""
        return self._wait(self._start(kill), kill)

    def _start(self, kill: Kill | None) -> int:
        """Fork a process that trains; its output goes to the end of the log."""
        self.shared.set(Position())
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process

        status = 1
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            instrument(self.shared, kill)
            cli.main(list(self.arguments), standalone_mode=False)
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self, process: int, kill: Kill | None) -> Attempt:
        """Wait for a process's end, or kill it where that is to come from outside."""
        begun: dict[int, float] = {}
        seconds: dict[int, float] = {}
        last_stage = -1
        deadline = time.monotonic() + MAX_ATTEMPT_SECONDS

        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            now = time.monotonic()
            position = self.shared.get()
            stage = position.stage

            if stage != last_stage or ended:
                if last_stage >= 0:
                    seconds.setdefault(last_stage, now - begun[last_stage])
                begun.setdefault(stage, now)
                last_stage = stage

            if ended:
                return Attempt(status, seconds, position)
            if now > deadline:
                _kill_at_deadline(process, stage)
            if kill and kill.is_due(stage, now - begun[stage]):
                os.kill(process, signal.SIGKILL)
            time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Attempt:
    """An attempt that has ended.

    `status`: as `os.waitpid` returns it. `seconds`: how long its first time in each stage took.
    `position`: its last one.
    """

    status: int
    seconds: dict[int, float]
    position: Position

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


def _kill_at_deadline(process: int, stage: int) -> NoReturn:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise TimeoutError(
        f"an attempt has to end within {MAX_ATTEMPT_SECONDS:.0f} s and is in stage {STAGES[stage]}"
    )


# Runs.


@dataclass
class Tally:
    """What was killed where, and what was wrong afterwards."""

    runs: int = 0
    by_stage: Counter[str] = field(default_factory=Counter)
    by_step: Counter[str] = field(default_factory=Counter)
    by_file: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many attempts were killed."""
        return self.by_stage.total()

    def add(self, kill: Kill | None, position: Position) -> None:
        """Count an attempt that was killed."""
        self.by_stage[STAGES[position.stage]] += 1

        # A kill from outside may find the file complete already, so it has no step.
        if position.is_writing and kill and kill.is_at_a_write:
            self.by_step[STEPS[position.step]] += 1
            self.by_file[kind_of_file(position.file)] += 1

    def to_dict(self) -> dict[str, Any]:
        """The figures of results/reliability.json."""
        is_right = not self.wrong
        return {
            "kills": self.kills,
            "gone on with": self.kills if is_right else None,
            "runs": self.runs,
            "runs whose weights and losses equal the uninterrupted run's": (
                self.runs if is_right else None
            ),
            "by stage": {stage: self.by_stage[stage] for stage in STAGES},
            "while a file was written": self.by_step.total(),
            "by step of the write": {step: self.by_step[step] for step in STEPS},
            "by file": dict(sorted(self.by_file.items())),
            "wrong": self.wrong,
        }


def kill_and_compare(base: Path, arguments: Sequence[str], kills: int, seed: int) -> dict[str, Any]:
    """Kill runs as often as asked, and compare each with an uninterrupted one.

    Args:
        base: a folder for all runs.
        arguments: of `leafzoom train`, without --out.
        kills: how many.
        seed: of where they come.
    """
    started = time.monotonic()
    draw = random.Random(seed)
    shared = SharedPosition()

    # What every run has to end as, and what can be killed on the way.
    expected = _train_uninterrupted(base / "alone" / "run", arguments)
    first = _train_in_a_fork(base, arguments, shared, expected)

    tally = Tally()
    while tally.kills < kills and not tally.wrong:
        tally.runs += 1
        out = base / str(tally.runs) / "run"
        log = base / f"{tally.runs}.log"

        # The forks take over the interval.
        stage_loop._SAVE_INTERVAL_S = draw.choice(SAVE_INTERVALS_S)

        plan = _plan_kills(draw, first, min(MAX_KILLS_PER_RUN, kills - tally.kills))
        attempts = Attempts((*arguments, "--resume", "--out", str(out)), log, shared)
        _run_with_kills(attempts, plan, tally)
        if not tally.wrong:
            tally.wrong += _differences(out, expected, tally.runs)

    return {
        **tally.to_dict(),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "model_sha256": expected["model.safetensors"],
    }


def _train_uninterrupted(out: Path, arguments: Sequence[str]) -> dict[str, str]:
    """The result of a training in a process of its own."""
    command = [sys.executable, "-m", "leafzoom", *arguments, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return result_of(out)


def _train_in_a_fork(
    base: Path, arguments: Sequence[str], shared: SharedPosition, expected: dict[str, str]
) -> Attempt:
    """An attempt that is left alone, which shows how long each stage takes and what it writes."""
    out = base / "first" / "run"
    log = base / "log"
    attempt = Attempts((*arguments, "--out", str(out)), log, shared).attempt(None)
    assert attempt.status == 0, log.read_text()
    assert result_of(out) == expected, "a fork trains differently from a process of its own"
    return attempt


def _plan_kills(draw: random.Random, first: Attempt, count: int) -> list[Kill]:
    """Kills of one run, in the order of its stages.

    Args:
        draw: decides where they come.
        first: an attempt that was left alone.
        count: how many.
    """
    kills = []
    for stage in sorted(draw.choices(range(len(STAGES)), k=count)):
        writes = first.position.writes[stage]

        # From outside after some seconds, or from within at a write.
        if draw.random() < 0.5 or not writes:
            seconds = draw.random() * first.seconds.get(stage, 0.0)
            kills.append(Kill(stage, seconds=seconds))
        else:
            write = draw.randint(1, writes)
            kills.append(Kill(stage, write=write, step=draw.randrange(len(STEPS))))
    return kills


def _run_with_kills(attempts: Attempts, plan: Sequence[Kill], tally: Tally) -> None:
    """Attempt a run until it is finished: one attempt a kill, and a last one without."""
    for kill in [*plan, None]:
        attempt = attempts.attempt(kill)

        # A kill may come too late.
        if attempt.status == 0:
            return

        if not attempt.was_killed:
            log = attempts.log.read_text()[-2000:]
            tally.wrong.append(f"run {tally.runs}: status {attempt.status}: {log}")
            return
        tally.add(kill, attempt.position)


def _differences(out: Path, expected: dict[str, str], number: int) -> list[str]:
    """What is wrong with a finished run's folder."""
    differences = []
    if result_of(out) != expected:
        differences.append(f"run {number}: weights or losses differ from the uninterrupted run's")

    files = superfluous_files(out)
    if files:
        differences.append(f"run {number}: left {', '.join(files)}")
    return differences


def result_of(folder: Path) -> dict[str, str]:
    """What has to be equal in all runs: the hashes of the weights, and the losses."""
    result = {}
    for name in ("backbone.safetensors", "model.safetensors"):
        result[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()

    with (folder / "log.csv").open() as file:
        losses = [row["value"] for row in csv.DictReader(file) if "loss" in row["key"]]
    result["losses"] = " ".join(losses)
    return result


def superfluous_files(folder: Path) -> list[str]:
    """Files that a finished run should not have."""
    partial_files = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    states = sorted(folder.glob("states/state-*"))
    return partial_files + [path.name for path in states[:-2]]


def kind_of_file(file: str) -> str:
    """Which of a run's files a partial file was to become."""
    for name in ("state", "model.safetensors", "backbone.safetensors", "model.onnx", "run.json"):
        if name in file:
            return name
    return "others (log, zooms, split, recipe, selection)"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path)

    return options


def main() -> None:
    """Kill, and write the figures."""
    options = parser().parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        leaves = write_leaves(base / "leaves", 48, size=64, seed=0)
        arguments = ["train", "--data", str(leaves), "--recipe", "default"]
        arguments += ["--cache", str(base / "cache")]
        for change in SMALL:
            arguments += ["--set", change]
        figures = kill_and_compare(base, arguments, options.kills, options.seed)

    text = json.dumps(figures, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(1 if figures["wrong"] else 0)


if __name__ == "__main__":
    main()
