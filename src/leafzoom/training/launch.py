"""Starting the processes of a training, and ending all of them when one ends.

Lightning Fabric starts a process for each device, or takes those that torchrun or SLURM started.
The first process alone prints. When a process fails, its error is handed to the first one, which
prints it as one line and ends the others.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import NoReturn

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import distributed
from torch.distributed.distributed_c10d import _get_default_store

from leafzoom.errors import LeafzoomError, TrainingError
from leafzoom.training.processes import LostProcessError, wait_for_all

__all__ = ["build_fabric", "is_first_process", "quieten_others", "running_together"]

_LONGEST_WAIT = timedelta(days=1)  # for the first process, which fits and writes alone
_WATCH_INTERVAL_S = 0.1
_GRACE_S = 10.0  # in which a process learns why another one has gone
_INTERRUPTED_EXIT_CODE = 130
_PARENT_VARIABLE = "LEAFZOOM_FIRST_PROCESS"
_ERROR_KEY = "leafzoom/error"
_FABRIC_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


def is_first_process(processes: int) -> bool:
    """Whether this is the first of the processes that train together.

    By the variables of whatever started them; one process alone is the first, whatever started it.
    """
    if processes == 1:
        return True
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def quieten_others(processes: int) -> None:
    """Let every process but the first print nothing, other than the traceback of a bug."""
    if is_first_process(processes):
        return

    def print_traceback(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        traceback.print_exception(kind, error, trace, file=sys.__stderr__)

    sys.excepthook = print_traceback
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, until the process ends


def build_fabric(accelerator: str, precision: str, *, devices: int = 1, nodes: int = 1) -> Fabric:
    """Devices and precision; nothing is started yet.

    Args:
        accelerator: `auto`, `cpu` or `gpu`.
        precision: of the numbers.
        devices: on each machine: GPUs, or processes on the CPU.
        nodes: machines.

    Raises:
        TrainingError: there is no such accelerator here, or fewer devices.
    """
    several = devices * nodes > 1
    if not several and TorchElasticEnvironment.detect() and os.environ.get("WORLD_SIZE") != "1":
        raise TrainingError(
            f"torchrun has started {os.environ.get('WORLD_SIZE')} processes: give their number on "
            "each machine as --devices, and the number of machines as --nodes"
        )
    try:
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=precision,  # type: ignore[arg-type]
            strategy=DDPStrategy(timeout=_LONGEST_WAIT) if several else "auto",
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        number = f" with --devices {devices}" if devices > 1 else ""
        raise TrainingError(
            f"--accelerator {accelerator}{number} is not available here ({reason})"
        ) from error


@contextmanager
def running_together(fabric: Fabric) -> Iterator[None]:
    """Start all processes of a training; they end together, and so do their errors.

    In the other processes an error ends the process without a word: the first one prints it.

    Raises:
        TrainingError: torchrun or SLURM started another number of processes, or a process on
            another machine has ended.
    """
    if not isinstance(fabric.strategy, DDPStrategy):
        yield
        return

    variables = {name: os.environ.get(name) for name in _FABRIC_VARIABLES}
    watch = _ParentWatch() if _is_started_by_first() else _ChildrenWatch(fabric)
    watch.start()
    try:
        _launch(fabric)
        yield
        wait_for_all(fabric)
        watch.stop()
        distributed.destroy_process_group()
    except BaseException as error:
        # The watch may end this process meanwhile, with a better reason.
        if isinstance(error, LostProcessError):
            time.sleep(_GRACE_S)
        watch.end()
        if fabric.is_global_zero:
            _raise_first(error)
        _leave(error)
    finally:
        _restore_variables(variables)


def _launch(fabric: Fabric) -> None:
    """Start the processes, or join those that were started from outside."""
    if not _is_started_by_first():
        os.environ[_PARENT_VARIABLE] = str(os.getpid())
    chatter = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in chatter]
    for logger in chatter:
        logger.setLevel(logging.WARNING)
    try:
        fabric.launch()
    except ValueError as error:  # of the number of processes that a cluster started
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"--devices and --nodes do not suit what is running: {reason}"
        ) from error
    finally:
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)
        if not _is_started_by_first():
            os.environ.pop(_PARENT_VARIABLE, None)


def _restore_variables(variables: Mapping[str, str | None]) -> None:
    """Undo what Fabric has set for the processes that it started."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _is_started_by_first() -> bool:
    """Whether the first process on this machine has started this one."""
    return os.environ.get(_PARENT_VARIABLE) == str(os.getppid())


def _raise_first(error: BaseException) -> NoReturn:
    """Raise an error in the first process: that of another process, if that was what ended it."""
    message = _stored_error() if isinstance(error, LostProcessError) else None
    if message is not None:
        raise TrainingError(message) from error
    raise error


def _leave(error: BaseException) -> NoReturn:
    """End a process that is not the first, and leave its error for the first one."""
    if isinstance(error, LostProcessError):
        sys.exit(1)
    if isinstance(error, KeyboardInterrupt):
        sys.exit(_INTERRUPTED_EXIT_CODE)
    if isinstance(error, LeafzoomError | OSError | MemoryError):
        _store_error(str(error) or "out of memory: give it more, or close other programs")
        sys.exit(getattr(error, "exit_code", 1))
    raise error


def _store_error(message: str) -> None:
    """Leave a message for the first process, if there is none yet."""
    if distributed.is_initialized():
        store = _get_default_store()
        if not store.check([_ERROR_KEY]):
            store.set(_ERROR_KEY, message)


def _stored_error() -> str | None:
    """The message that another process has left; None without one."""
    if not distributed.is_initialized():
        return None
    store = _get_default_store()
    return store.get(_ERROR_KEY).decode() if store.check([_ERROR_KEY]) else None


class _ChildrenWatch(threading.Thread):
    """Watches the processes that Fabric has started on this machine.

    When one fails, the others are ended and the error is printed: in this process too, whatever it
    is doing, because it would wait for the one that is gone.
    """

    def __init__(self, fabric: Fabric) -> None:
        super().__init__(daemon=True, name="leafzoom-processes")
        self.fabric = fabric
        self.children: list[subprocess.Popen[bytes]] = []
        self._stopped = threading.Event()
        self._ending = threading.Lock()

    def run(self) -> None:
        """Watch until the end."""
        while not self._stopped.wait(_WATCH_INTERVAL_S):
            self._adopt()
            for number, child in enumerate(self.children, start=1):
                status = child.poll()
                if status and self._ending.acquire(blocking=False):
                    self._end_all(number, status)

    def stop(self) -> None:
        """Stop watching processes that end by themselves."""
        self._ending.acquire()
        self._stopped.set()

    def end(self) -> None:
        """Stop watching, and end the processes that still run."""
        self.stop()
        self._adopt()
        self._end_children()

    def _adopt(self) -> None:
        """Take over the processes that Fabric watches.

        Fabric's own watch kills this process with them, before it can print why.
        """
        launched = getattr(self.fabric.strategy.launcher, "procs", [])
        while launched:
            self.children.append(launched.pop(0))

    def _end_children(self) -> None:
        """End the other processes on this machine."""
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            try:
                child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def _end_all(self, number: int, status: int) -> NoReturn:
        """End everything because of a process that has failed."""
        message = _failure(number + 1, len(self.children) + 1, status)
        first = self.fabric.is_global_zero
        if first or not distributed.is_initialized():
            print(f"leafzoom: {message}", file=sys.stderr, flush=True)
        else:
            _store_error(message)

        self._end_children()
        is_interrupted = status in (_INTERRUPTED_EXIT_CODE, -signal.SIGINT)
        os._exit(_INTERRUPTED_EXIT_CODE if is_interrupted else 1)


class _ParentWatch(threading.Thread):
    """Ends this process when the one that has started it is gone."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="leafzoom-parent")
        self.parent = os.getppid()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Watch until the end."""
        while not self._stopped.wait(_WATCH_INTERVAL_S):
            if os.getppid() != self.parent:
                if os.environ.get("LOCAL_RANK") == "1":
                    line = "the first process of the training was killed: go on with --resume"
                    print(f"leafzoom: {line}", file=sys.__stderr__, flush=True)
                os._exit(1)

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def end(self) -> None:
        """Stop watching: this process ends anyway."""
        self.stop()


def _failure(number: int, count: int, status: int) -> str:
    """Why a process with an exit status other than 0 has ended."""
    message = _stored_error()
    if message is not None:
        return message
    if status in (_INTERRUPTED_EXIT_CODE, -signal.SIGINT):
        return "interrupted"

    which = f"process {number} of {count}"
    if status < 0:
        name = signal.Signals(-status).name
        return f"{which} was killed ({name}): is there too little memory? Go on with --resume"
    return f"{which} has failed (exit status {status}): go on with --resume"
