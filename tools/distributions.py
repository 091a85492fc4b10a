"""The wheel and the source distribution of a commit, always the same bytes.

    python -m tools.distributions dist

They are built from `git archive`, so that nothing else in the working tree gets in. Times are those
of the commit, and permissions do not depend on the umask. The bytes depend on the version of
setuptools, which is the installed one: constraints.txt names it.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from leafzoom.storage import make_folder, sha256_of, write_bytes

__all__ = ["build"]

ROOT = Path(__file__).resolve().parents[1]

_BUILD_SCRIPT = (
    "import os, sys\n"
    "os.umask(0o022)\n"
    "out = sys.argv[1]\n"  # setuptools changes the arguments
    "from setuptools import build_meta\n"
    "build_meta.build_wheel(out)\n"
    "build_meta.build_sdist(out)\n"
)
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755


def build(out: Path, commit: str = "HEAD") -> list[Path]:
    """Build both distributions of a commit.

    Args:
        out: the folder that they are put into.
        commit: in git's words.

    Returns:
        The wheel, then the source distribution.
    """
    archive = _git("archive", "--format=tar", commit)
    seconds = int(_git("log", "-1", "--format=%ct", commit))
    make_folder(out)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(tree, filter="data")

        built = Path(folder) / "built"
        built.mkdir()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(seconds), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-c", _BUILD_SCRIPT, str(built)]
        subprocess.run(command, cwd=tree, env=environment, stdout=sys.stderr, check=True)

        (wheel,) = built.glob("*.whl")
        (source,) = built.glob("*.tar.gz")
        contents = {
            out / wheel.name: wheel.read_bytes(),
            out / source.name: _repacked(source, seconds),
        }
    for path, content in contents.items():
        write_bytes(path, content)
    return list(contents)


def _git(*words: str) -> bytes:
    """The output of git."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


def _repacked(source: Path, seconds: int) -> bytes:
    """A source distribution with one time, one owner and plain permissions.

    setuptools writes the time of the build into it.
    """
    plain = io.BytesIO()
    with (
        tarfile.open(source) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.type = member.type
            entry.size = member.size
            entry.mtime = seconds
            entry.mode = _FOLDER_MODE if member.isdir() else _FILE_MODE
            new.addfile(entry, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(plain.getvalue(), mtime=seconds)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="The folder that they are put into.")
    parser.add_argument("--commit", default="HEAD", help="What they are built of.")
    arguments = parser.parse_args()
    for path in build(arguments.out, arguments.commit):
        print(f"{sha256_of(path)}  {path}")


if __name__ == "__main__":
    main()
