"""The folder where large uploads wait: whether it can take one."""

from __future__ import annotations

import shutil
import tempfile

__all__ = ["temporary_folder_problem", "upload_advice"]

_PROBE_BYTES = 4096


def temporary_folder_problem(needed_bytes: int) -> str | None:
    """Why the temporary folder cannot take a file of so many bytes; None where it can."""
    # A file is written, as rights, a read-only disk and quotas show only then.
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        return upload_advice(error)

    if free_bytes < needed_bytes:
        return (
            f"the temporary folder {folder} has {free_bytes >> 20} MB left and an upload may need "
            f"{needed_bytes >> 20}: free some, or set TMPDIR to another folder and start again"
        )
    return None


def upload_advice(error: OSError) -> str:
    """What to do about an error of the temporary folder."""
    folder = tempfile.tempdir or "for uploads"
    return (
        f"the temporary folder {folder} cannot take an upload ({error.strerror or error}): "
        "free some space, or set TMPDIR to another folder and start again"
    )
