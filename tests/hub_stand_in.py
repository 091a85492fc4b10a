"""A hub of models on the loopback: the part of its HTTP interface that leafzoom's client uses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["TOKEN", "HubStandIn", "Repository", "hub_environment", "run_leafzoom"]

TOKEN = "hf_loopback"

_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_MODEL_CALL = re.compile(
    r"/api/models/(?P<repository>[^/]+/[^/]+)/(?P<call>preupload|commit)/(?P<revision>[^/]+)"
)
_LFS_BATCH = re.compile(r"/(?P<repository>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
_MAX_REGULAR_BYTES = 4096


@dataclass
class Repository:
    """A repository: its files at each commit, and the commits that names stand for.

    `gated` lets nobody in.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def add(self, files: dict[str, bytes], *names: str) -> str:
        """Add a commit on top of `main`, and let names stand for it too."""
        latest = self.commits.get(self.names.get("main", ""), {})
        files = {**latest, **files}
        content = "".join(f"{name}{hashlib.sha1(files[name]).hexdigest()}" for name in files)
        commit = hashlib.sha1(f"{len(self.commits)}{content}".encode()).hexdigest()
        self.commits[commit] = files
        self.names |= dict.fromkeys(("main", *names), commit)
        return commit


class HubStandIn:
    """The server, from its creation to `stop`.

    Attributes:
        url: without a slash at its end.
        repositories: by OWNER/NAME.
        requests: the method and path of each request.
        is_broken: whether files are answered with 500.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.is_broken = False
        hub = self

        class Handler(_Handler):
            stand_in = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    stand_in: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        """A file's commit, digest and size."""
        self._resolve()

    def do_GET(self) -> None:
        """A file's content."""
        self._resolve()

    def do_PUT(self) -> None:
        """A large file's content."""
        content = self._body()
        digest = urlsplit(self.path).path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.stand_in.objects[digest] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        """A call of the interface."""
        content = self._body()
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and path != "/api/validate-yaml":
            self._answer(401, {"error": "Invalid username or password."})
            return

        calls: dict[str, Callable[[Any], None]] = {
            "/api/repos/create": self._create,
            "/api/validate-yaml": lambda _: self._answer(200, {"errors": [], "warnings": []}),
            "/verify": lambda _: self._answer(200, {}),
        }
        model_call = _MODEL_CALL.fullmatch(path)
        if path in calls:
            calls[path](json.loads(content))
        elif model_call and model_call["call"] == "preupload":
            self._preupload(json.loads(content))
        elif model_call:
            self._commit(model_call["repository"], content)
        elif _LFS_BATCH.fullmatch(path):
            self._lfs_batch(json.loads(content))
        else:
            self._answer(404, {"error": f"no call {path}"})

    def _create(self, content: dict[str, Any]) -> None:
        name = f"{content['organization']}/{content['name']}"
        answer = {"url": f"{self.stand_in.url}/{name}", "name": name}
        if name in self.stand_in.repositories:
            self._answer(409, {**answer, "error": "You already created this model repo"})
            return
        private = bool(content.get("private")) or content.get("visibility") == "private"
        self.stand_in.repositories[name] = Repository(private=private)
        self._answer(200, answer)

    def _preupload(self, content: dict[str, Any]) -> None:
        files = []
        for file in content["files"]:
            mode = "lfs" if file["size"] > _MAX_REGULAR_BYTES else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        self._answer(200, {"files": files})

    def _lfs_batch(self, content: dict[str, Any]) -> None:
        url = self.stand_in.url
        objects = []
        for entry in content["objects"]:
            upload = {"href": f"{url}/objects/{entry['oid']}"}
            actions = {"upload": upload, "verify": {"href": f"{url}/verify"}}
            objects.append({**entry, "actions": actions})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, content: bytes) -> None:
        files = {}
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.stand_in.objects[value["oid"]]
        commit = self.stand_in.repositories[name].add(files)
        url = f"{self.stand_in.url}/{name}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _resolve(self) -> None:
        """A file of a revision, or the error that a hub names in a header."""
        self.stand_in.requests.append(f"{self.command} {self.path}")
        match = _RESOLVE.fullmatch(urlsplit(self.path).path)
        if self.stand_in.is_broken:
            self._answer(500, {"error": "broken"})
            return
        if match is None:
            self._answer(404, {"error": "not found"})
            return

        repository = self.stand_in.repositories.get(match["repository"])
        if repository is None:
            self._answer(401, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        if repository.gated:
            self._answer(403, {"error": "restricted"}, {"X-Error-Code": "GatedRepo"})
            return

        revision = unquote(match["revision"])
        commit = repository.names.get(revision, revision)
        if commit not in repository.commits:
            self._answer(404, {"error": "not found"}, {"X-Error-Code": "RevisionNotFound"})
            return

        headers = {"X-Repo-Commit": commit}
        content = repository.commits[commit].get(unquote(match["file"]))
        if content is None:
            self._answer(404, {"error": "not found"}, {**headers, "X-Error-Code": "EntryNotFound"})
            return
        digest = hashlib.sha256(content).hexdigest()
        self._send(200, content, {**headers, "ETag": f'"{digest}"'})

    def _body(self) -> bytes:
        self.stand_in.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(
        self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        types = {"Content-Type": "application/json"}
        self._send(status, json.dumps(content).encode(), {**types, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def hub_environment(hub: str, home: Path) -> dict[str, str]:
    """The environment variables of a process whose hub is the one at a URL, with its own caches."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(home / "hub-client"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # the stand-in has plain HTTP alone
        "LEAFZOOM_CACHE": str(home / "cache"),
        "NO_PROXY": "127.0.0.1",
    }


def run_leafzoom(
    *words: str | Path, hub: str, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `leafzoom` in a process of its own; see `hub_environment`.

    Args:
        words: of the command line.
        hub: the hub's URL.
        home: of the caches.
        variables: of the environment.
    """
    environment = {**hub_environment(hub, home), **variables}
    command = [sys.executable, "-m", "leafzoom", *(str(word) for word in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
