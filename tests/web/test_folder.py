"""`leafzoom export --web`: what it writes, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conftest import failure_line, run_command
from leafzoom.errors import LeafzoomError
from leafzoom.serve.guard import APP_HEADERS
from leafzoom.web.folder import POLICY, write_web_folder
from leafzoom.web.runtime import RUNTIME_SHA256, RUNTIME_VERSION, read_runtime


def listed(folder: Path) -> list[dict[str, object]]:
    text = (folder / "app-files.js").read_text(encoding="utf-8")
    content = json.loads(text.removeprefix("self.APP = ").rstrip().removesuffix(";"))
    return content["files"]


def test_every_file_is_listed_with_its_digest(app_folder: Path) -> None:
    entries = {str(entry["path"]): entry for entry in listed(app_folder)}
    present = {
        str(path.relative_to(app_folder)) for path in app_folder.rglob("*") if path.is_file()
    }
    assert present - entries.keys() == {"app-files.js", "engine.json", "service-worker.js"}
    assert entries.keys() <= present
    for name, entry in entries.items():
        content = (app_folder / name).read_bytes()
        assert len(content) == entry["bytes"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert "MIT License" in (app_folder / "runtime" / "LICENSE.txt").read_text()


def test_the_same_model_gives_the_same_version(
    early_exit_run: Path, app_folder: Path, runtime: Path, tmp_path: Path
) -> None:
    write_web_folder(early_exit_run / "model.onnx", tmp_path / "app", runtime)
    first = (app_folder / "app-files.js").read_bytes()
    assert (tmp_path / "app" / "app-files.js").read_bytes() == first


def test_a_folder_with_other_files_is_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = run_command("export", "bundled", "--web", tmp_path, "--runtime", runtime)
    assert "holds other files" in failure_line(result, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_second_export_removes_its_own_old_files_and_no_others(
    early_exit_run: Path, app_folder: Path, runtime: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    shutil.copytree(app_folder, folder)
    (folder / "_headers").write_text("of the host")
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (folder / "old.js").write_text("former")
    text = (folder / "app-files.js").read_text()
    entries = '{"path": "old.js"}, {"path": "../outside.txt"}, '
    (folder / "app-files.js").write_text(text.replace('"files": [', f'"files": [{entries}', 1))

    write_web_folder(early_exit_run / "model.onnx", folder, runtime)
    assert not (folder / "old.js").exists()
    assert (folder / "_headers").read_text() == "of the host"
    assert outside.read_text() == "mine"


def test_a_checkpoint_is_no_model_for_the_app(early_exit_run: Path, tmp_path: Path) -> None:
    path = early_exit_run / "model.safetensors"
    result = run_command("export", path, "--web", tmp_path / "app")
    assert "needs an exported model" in failure_line(result, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--web", "app", "--out", "m.onnx"], "goes with --runtime alone"),
        (["--out", "m.onnx", "--runtime", "x.tgz"], "--runtime goes with --web alone"),
        ([], "name the file to write by --out"),
    ],
)
def test_options_that_contradict_each_other(options: list[str], words: str) -> None:
    assert words in failure_line(run_command("export", "bundled", *options), 2)


def test_a_missing_runtime_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    result = run_command("export", "bundled", "--web", tmp_path / "app")
    line = failure_line(result, 1)
    assert f"npm pack onnxruntime-web@{RUNTIME_VERSION}" in line
    assert not (tmp_path / "app").exists()


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "other.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name in RUNTIME_SHA256:
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = 4
            package.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises(LeafzoomError, match="has the SHA-256"):
        read_runtime(archive)

    archive.write_bytes(b"no archive")
    with pytest.raises(LeafzoomError, match="is not the npm package"):
        read_runtime(archive)


def test_the_app_needs_no_pytorch(app_folder: Path, runtime: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from leafzoom.cli import main\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'timm', 'safetensors'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "main()\n"
    )
    out = tmp_path / "app"
    command = [sys.executable, "-c", script, "export", "bundled"]
    command += ["--web", str(out), "--runtime", str(runtime)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "model" / "first-look.onnx").is_file()
    assert re.search(r"\d+ files, [\d.]+ MB", done.stderr)


class _Page(HTMLParser):
    """Collects what a page loads, and what its policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.policies: list[str] = []
        self.inline: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(attributes["content"] or "")
        self.inline += [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in attributes:
            self.inline.append("script")
        self.addresses += [attributes.get(name) or "" for name in ("src", "href")]


def test_the_policy_is_strict_and_the_page_keeps_to_it(app_folder: Path) -> None:
    page = _Page()
    page.feed((app_folder / "index.html").read_text(encoding="utf-8"))
    assert page.policies == [POLICY]
    assert page.inline == []
    assert not [address for address in page.addresses if "//" in address]
    for policy in (POLICY, APP_HEADERS["Content-Security-Policy"]):
        assert "'unsafe-inline'" not in policy
        assert "'unsafe-eval'" not in policy.replace("'wasm-unsafe-eval'", "")
        assert "default-src 'none'" in policy
