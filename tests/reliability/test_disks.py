"""Disks that are full or read-only, on a small file system (see on_small_disks.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent / "on_small_disks.py"


def skip_without_mounts(folder: Path) -> None:
    """Skip where an ordinary user cannot mount a file system of their own."""
    if shutil.which("unshare"):
        mount = 'mount -t tmpfs -o size=1m none "$0"'
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    pytest.skip("needs unshare and tmpfs, which cannot be had here")


@pytest.mark.slow
def test_full_and_read_only_disks(
    exported: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    skip_without_mounts(tmp_path)
    script = [sys.executable, SCRIPT, tmp_path, exported.parent]
    command = ["unshare", "--map-root-user", "--mount", *script]

    # Weights are the same to the last bit only with as many threads as the finished run had.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stdout + process.stderr

    counts = json.loads(process.stdout.splitlines()[-1])
    for name, value in counts.items():
        record_property(name, value)
    assert counts["full while training"] >= 3
    assert counts["equal in the end"] is True
