"""Standard input, output and error of the command line, whatever the terminal or caller gives.

A closed stream is replaced by one that leads nowhere, so that no file takes its number. What an
encoding lacks is written as an escape. A reader that has gone, or a full disk, ends with one line.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["flush_output", "prepare_streams"]

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""Names and modes, by their file descriptors."""


def prepare_streams() -> None:
    """Open the streams that are closed, and let output escape what its encoding lacks."""
    for descriptor, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            _lead_nowhere(descriptor)
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> str | None:
    """Write what is left to standard output.

    Returns:
        None, or why it could not be written; empty if its reader has gone.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and print an error of its own.
        with suppress(OSError):
            _lead_nowhere(sys.stdout.fileno())

        reader_has_gone = isinstance(error, BrokenPipeError)
        return "" if reader_has_gone else error.strerror or str(error)
    return None


def _lead_nowhere(descriptor: int) -> None:
    """Make a file descriptor that of the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
