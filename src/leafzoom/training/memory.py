"""How much memory a stage takes at its most."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

__all__ = ["MemoryWatch"]

_STATUS = Path("/proc/self/status")
_SECONDS = 0.05


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
