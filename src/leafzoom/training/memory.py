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

# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_STATUS = Path("/proc/self/status")
_INTERVAL_S = 0.05


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees: the next batch finds it mapped already.

    glibc gives large blocks back to the system at once, and the system clears every page again for
    the next batch (`python -m benchmarks.run --only kept_memory` measures what that costs). It
    holds for the whole process. Does nothing without glibc.
    """
    if sys.platform != "linux":
        return

    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt

        # Older ones take no more than 32 MiB. The second setting alone would be worse than neither.
        if mallopt(_M_MMAP_THRESHOLD, 2**31 - 1) or mallopt(_M_MMAP_THRESHOLD, 2**25):
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _release_memory() -> None:
    """Give freed memory back to the system: what is measured next is then its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class MemoryWatch:
    """The peak memory of this process while the watch is on, read twenty times a second.

    `process_mb`: its own pages, without files that are mapped into it (the cache), in MB of 10⁶
    bytes; None where the system does not say (only Linux does). `device_mb`: what PyTorch held on a
    GPU; None without one.
    """

    def __init__(self, device: torch.device) -> None:
        self.process_mb: float | None = None
        self.device_mb: float | None = None
        self._device = device
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        _release_memory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._device.type == "cuda":
            self.device_mb = torch.cuda.max_memory_allocated(self._device) / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._read()

    def _read(self) -> None:
        try:
            lines = _STATUS.read_text(encoding="ascii").splitlines()
        except OSError:
            return

        # Anonymous pages only: the system can drop those of mapped files at any time.
        for line in lines:
            if line.startswith("RssAnon:"):
                kib = int(line.split()[1])
                self.process_mb = max(self.process_mb or 0.0, kib * 1024 / 1e6)
