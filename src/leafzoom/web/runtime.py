"""The files of ONNX Runtime Web, from its npm package, whose content is pinned.

The package is fetched once, by `npm pack` (see docs/offline.md). leafzoom itself downloads nothing.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

from leafzoom.errors import LeafzoomError
from leafzoom.storage import cache_root

__all__ = ["RUNTIME_ARCHIVE", "RUNTIME_SHA256", "RUNTIME_VERSION", "read_runtime", "runtime_path"]

RUNTIME_VERSION = "1.30.0"
"""Of the npm package onnxruntime-web."""

RUNTIME_ARCHIVE = f"onnxruntime-web-{RUNTIME_VERSION}.tgz"
"""The name of the file that `npm pack` writes."""

RUNTIME_SHA256: Mapping[str, str] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""The files that the app takes out of it, and the SHA-256 of each."""

_MEMBER = "package/dist/{name}"
_MAX_BYTES = 64 * 2**20
_FOLDER = "web-runtime"


def runtime_path() -> Path:
    """Where the package is looked for when nobody names it."""
    return cache_root() / _FOLDER / RUNTIME_ARCHIVE


def read_runtime(archive: Path) -> dict[str, bytes]:
    """The content of the files that the app takes out of the npm package.

    Args:
        archive: the file that `npm pack` wrote.

    Raises:
        LeafzoomError: there is no such file, it is no such package, or a file in it has another
            SHA-256.
    """
    if not archive.is_file():
        raise LeafzoomError(
            f"the app needs ONNX Runtime Web, and {archive} does not exist: fetch it with "
            f"`npm pack onnxruntime-web@{RUNTIME_VERSION}`, and name the file by --runtime"
        )
    try:
        with tarfile.open(archive, "r:gz") as package:
            contents = {name: _member(package, name) for name in RUNTIME_SHA256}
    except (OSError, tarfile.TarError, KeyError, EOFError) as error:
        raise LeafzoomError(
            f"{archive} is not the npm package onnxruntime-web {RUNTIME_VERSION} ({error}): "
            f"fetch it with `npm pack onnxruntime-web@{RUNTIME_VERSION}`"
        ) from error

    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != RUNTIME_SHA256[name]:
            raise LeafzoomError(
                f"{name} in {archive} has the SHA-256 {digest}, and not that of onnxruntime-web "
                f"{RUNTIME_VERSION}, {RUNTIME_SHA256[name]}: fetch the package again"
            )
    return contents


def _member(package: tarfile.TarFile, name: str) -> bytes:
    """The content of one file; never more than a file of the runtime can have."""
    file = package.extractfile(_MEMBER.format(name=name))
    if file is None:
        raise KeyError(name)
    return file.read(_MAX_BYTES)
