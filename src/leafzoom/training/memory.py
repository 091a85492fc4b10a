"""How much memory a stage takes at its most, and keeping what is freed for the next batch."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

__all__ = ["MemoryWatch", "keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_STATUS = Path("/proc/self/status")
_SECONDS = 0.05


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, so that the next batch finds it mapped already.

    glibc gives large blocks back to the system at once, and the system clears every page anew for the next batch
    (`benchmarks/run --only kept_memory` measures what that costs). It holds for the whole process. Does nothing
    without glibc.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        # Older ones take no more than 32 MiB. The second setting alone would be worse than neither.
        if mallopt(_M_MMAP_THRESHOLD, 2**31 - 1) or mallopt(_M_MMAP_THRESHOLD, 2**25):
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _give_back_memory() -> None:
    """Give freed memory back to the system, so that what is measured next is its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class MemoryWatch:
    """The most memory that this process had while the watch was on, looked at twenty times a second.

    `process_mb`: its own pages, without files that are mapped into it (the cache), in MB of 10⁶ bytes; None where
    the system does not say (only Linux does). `device_mb`: what PyTorch held on a GPU; None without one.
    """

    def __init__(self, device: torch.device) -> None:
        self.process_mb: float | None = None
        self.device_mb: float | None = None
        self._device = device
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        _give_back_memory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._device.type == "cuda":
            self.device_mb = torch.cuda.max_memory_allocated(self._device) / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            lines = _STATUS.read_text(encoding="ascii").splitlines()
        except OSError:
            return
        own = [line for line in lines if line.startswith("RssAnon:")]
        if own:
            self.process_mb = max(self.process_mb or 0.0, int(own[0].split()[1]) * 1024 / 1e6)
