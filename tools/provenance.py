"""Where a result comes from: the commit of the checkout, and the machine.

Every program that writes into `results/` records both.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TypedDict

__all__ = ["ROOT", "Machine", "changes", "commit", "machine", "short_commit"]

ROOT = Path(__file__).resolve().parents[1]


class Machine(TypedDict):
    """The machine of a measurement, as results store it; `cores` are those of the whole machine."""

    platform: str
    cores: int | None


def commit(*paths: str) -> str:
    """The full hash of the checked-out commit.

    Args:
        paths: relative to the repository's root. The hash ends in "+" if a tracked file below them
            differs from the commit; without paths it never does.
    """
    return _git("rev-parse", "HEAD").strip() + _mark(paths)


def short_commit(*paths: str) -> str:
    """As `commit`, abbreviated."""
    return _git("rev-parse", "--short", "HEAD").strip() + _mark(paths)


def changes(*paths: str, untracked: bool = False) -> str:
    """The files below some paths that differ from the commit, a line each; empty if none does.

    Args:
        paths: relative to the repository's root.
        untracked: whether files that git does not track count too.
    """
    untracked_files = "normal" if untracked else "no"
    return _git("status", "--porcelain", f"--untracked-files={untracked_files}", "--", *paths)


def machine() -> Machine:
    """The machine that this process runs on."""
    return {"platform": platform.platform(), "cores": os.cpu_count()}


def _mark(paths: tuple[str, ...]) -> str:
    return "+" if paths and changes(*paths) else ""


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return finished.stdout
