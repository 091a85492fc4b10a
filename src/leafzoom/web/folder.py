"""The static folder of the app: page, model, runtime, and the list of all of them.

Any HTTPS host serves it. The service worker reads `app-files.js` first: what to keep for the time
without a network, with the SHA-256 of each file, and a version that changes with any of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from leafzoom import __version__
from leafzoom.errors import LeafzoomError, UsageError
from leafzoom.storage import make_folder, remove_partial, write_bytes
from leafzoom.web.model import web_model
from leafzoom.web.runtime import RUNTIME_VERSION, read_runtime

__all__ = ["FILE_LIST", "POLICY", "write_web_folder"]

FILE_LIST = "app-files.js"
"""The list of the app's files, a script of the service worker."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'"
)
"""The page's content security policy. `wasm-unsafe-eval` lets the runtime compile WebAssembly."""

_POLICY_PLACE = "<!-- policy -->"
_LEFT_OUT = ("sign-in.html",)
_ENGINE_FILE = "engine.json"
_WORKER_FILE = "service-worker.js"
_INDEX_FILE = "index.html"
_LIST_START = "self.APP = "
_VERSION_LENGTH = 16
_LICENCE_FILE = "runtime/LICENSE.txt"
_LICENCE = """ONNX Runtime Web {version}, https://onnxruntime.ai

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def write_web_folder(model: Path, out: Path, runtime: Path) -> dict[str, int]:
    """Write the app.

    Args:
        model: an `.onnx` file that leafzoom exported.
        out: the folder; made if it does not exist. One with other files than the app's is refused.
        runtime: the npm package of ONNX Runtime Web (see `read_runtime`).

    Returns:
        {file: bytes}, the paths relative to the folder.

    Raises:
        UsageError: the folder holds something else.
        LeafzoomError: the runtime is missing or another one; the folder cannot be written.
        ModelError: as `web_model`.
    """
    _require_own_folder(out)
    runtime_files = read_runtime(runtime)
    model_files, description = web_model(model)

    files = _page_files()
    files |= {f"model/{name}": content for name, content in model_files.items()}
    files |= {f"runtime/{name}": content for name, content in runtime_files.items()}
    files[_LICENCE_FILE] = _LICENCE.format(version=RUNTIME_VERSION).encode()
    files["model/model.json"] = _json(description)

    # What may differ between hosts, and the worker itself, are not in the list.
    listed = {name: files[name] for name in sorted(files) if name != _WORKER_FILE}
    files[FILE_LIST] = _file_list(listed, description["name"])
    files[_ENGINE_FILE] = _json({"server": False, "phone": True})

    _write(out, files)
    return {name: len(content) for name, content in files.items()}


def _page_files() -> dict[str, bytes]:
    """The page's files by name; the policy stands in the page, as a static host sends none."""
    folder = resources.files("leafzoom.serve") / "page"
    files = {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and entry.name not in _LEFT_OUT
    }
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    files[_INDEX_FILE] = files[_INDEX_FILE].replace(_POLICY_PLACE.encode(), meta.encode())
    return files


def _file_list(files: Mapping[str, bytes], model: str) -> bytes:
    """The script that names the files, with their sizes, digests and a version of all together."""
    entries = [
        {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]
    version = hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:_VERSION_LENGTH]
    app = {"version": version, "model": model, "leafzoom": __version__, "files": entries}
    return _LIST_START.encode() + _json(app).rstrip() + b";\n"


def _json(content: object) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _require_own_folder(out: Path) -> None:
    """Refuse a folder in which something else than an earlier app lies."""
    if out.is_file():
        raise UsageError(f"--web {out} is a file and has to be a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / FILE_LIST).is_file():
        raise UsageError(
            f"--web {out} holds other files, which the app could hide or replace: name a new folder"
        )


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files; what an earlier app had and this one lacks is removed.

    The list of files is written last: until then, an installed app does not see a new version.
    """
    make_folder(out)
    remove_partial(out)
    earlier = _listed_files(out)
    for name in sorted(files, key=lambda name: name == FILE_LIST):
        path = out / name
        make_folder(path.parent)
        write_bytes(path, files[name])

    # Files of others, such as a host's settings, stay.
    try:
        for name in earlier - files.keys():
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise LeafzoomError(f"cannot write to {out}: {error.strerror or error}") from error


def _listed_files(out: Path) -> set[str]:
    """The files of the app that lies in a folder, none of them outside it; none without an app."""
    try:
        text = (out / FILE_LIST).read_text(encoding="utf-8")
        content = json.loads(text.removeprefix(_LIST_START).rstrip().removesuffix(";"))
        names = {str(entry["path"]) for entry in content["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    folder = out.resolve()
    return {name for name in names if (folder / name).resolve().is_relative_to(folder)}
