"""Nothing phones home and nothing is left below HOME: commands among a resolver that logs.

Each command runs in namespaces of its own, whose only network is a loopback with a name server
that writes down what is asked (name_watch.py), with a fresh and empty HOME.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from leafzoom.model_file.bundled import bundled_model
from reliability.name_watch import question_name, refusal
from reliability.small import SMALL

TESTS = Path(__file__).resolve().parents[1]
WATCH = Path(__file__).with_name("name_watch.py")
ISOLATION = ["unshare", "--map-root-user", "--net", "--mount"]

# What would switch something off, or move it out of HOME, is not handed on.
SILENCING = (
    *("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "DO_NOT_TRACK"),
    *("DISABLE_TELEMETRY", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("HF_HOME", "TORCH_HOME", "LEAFZOOM_CACHE"),
    # ONNX Runtime's client stays silent where one of these says that a build machine runs it.
    *("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL"),
    *("CODEBUILD_BUILD_ID", "TEAMCITY_VERSION"),
)
SECONDS = 30
"""How long something that phones home has for it; ONNX Runtime's client takes ten."""

TELEMETRY_SINCE = (1, 31)
SERVE = f"""
import sys, time
from pathlib import Path
from serve.service_process import ServiceProcess

model, photo = map(Path, sys.argv[1:])
service = ServiceProcess(model)
answer = service.post_photos((photo.name, photo.read_bytes()))
assert answer.status_code == 200, answer.text
time.sleep({SECONDS})
service.stop()
"""
RAW_SESSION = f"""
import sys, time
import onnxruntime

onnxruntime.InferenceSession(sys.argv[1])
time.sleep({SECONDS})
"""
LIBRARY = f"""
import sys, time
import leafzoom

leafzoom.load().predict(sys.argv[1])
time.sleep({SECONDS})
"""
TALKATIVE = """
import socket
from pathlib import Path

try:
    socket.getaddrinfo("telemetry.example.org", 443)
except OSError:
    (Path.home() / "first-run").touch()
"""


@dataclass(frozen=True)
class Traces:
    """What a command has left.

    Attributes:
        names: the names that it looked up.
        files: what is below HOME, relative to it.
    """

    names: list[str]
    files: list[str]


def check_namespaces() -> None:
    """Skip where a process may not have a network and a mount namespace of its own."""
    try:
        done = subprocess.run([*ISOLATION, "true"], capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("needs unshare (util-linux), which is not here")
    if done.returncode:
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")


def traces_of(
    folder: Path, *command: str | Path, environment: Mapping[str, str] | None = None
) -> Traces:
    """Run a command that must succeed, watched, with an empty HOME in `folder`."""
    check_namespaces()
    home = folder / "home"
    home.mkdir()
    log = folder / "names"
    log.touch()

    kept = {name: value for name, value in os.environ.items() if name not in SILENCING}
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    variables = {**kept, "HOME": str(home), "PYTHONPATH": path, **(environment or {})}

    words = [*ISOLATION, sys.executable, str(WATCH), str(log), *map(str, command)]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    files = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return Traces(log.read_text().splitlines(), files)


# The watch sees what it is for.


def test_a_question_is_read_and_refused() -> None:
    """The bytes of RFC 1035: number 7, recursion desired, one question of type A, class IN."""
    name = b"\x06events\x07example\x03org\x00"
    question = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01"

    assert question_name(question) == "events.example.org"
    answer = refusal(question + b"additional")
    assert answer[:4] == b"\x00\x07\x81\x83"
    assert answer[4:12] == b"\x00\x01" + bytes(6)
    assert answer[12:] == name + b"\x00\x01\x00\x01"


def test_the_watch_sees_names_and_files(tmp_path: Path) -> None:
    traces = traces_of(tmp_path, sys.executable, "-c", TALKATIVE)
    assert set(traces.names) == {"telemetry.example.org"}
    assert traces.files == ["first-run"]


@pytest.mark.slow
def test_the_watch_sees_the_telemetry_of_onnx_runtime(tmp_path: Path) -> None:
    """Native code, without what leafzoom sets; if this fails, the tests below prove nothing."""
    version = metadata.version("onnxruntime")
    if tuple(map(int, version.split(".")[:2])) < TELEMETRY_SINCE:
        pytest.skip(f"ONNX Runtime {version} has no telemetry client on Linux")

    traces = traces_of(tmp_path, sys.executable, "-c", RAW_SESSION, bundled_model())
    assert any("microsoft.com" in name for name in traces.names), traces
    assert any("onnxruntime" in file for file in traces.files), traces


# leafzoom.


@pytest.mark.slow
def test_a_service_with_an_upload_leaves_no_trace(leaves: Path, tmp_path: Path) -> None:
    photo = leaves / "train_images" / "leaf-00000.jpg"
    traces = traces_of(tmp_path, sys.executable, "-c", SERVE, bundled_model(), photo)
    assert traces == Traces([], [])


@pytest.mark.slow
def test_a_prediction_in_python_leaves_no_trace(leaves: Path, tmp_path: Path) -> None:
    """The process goes on for a while, as a notebook's does."""
    photo = leaves / "train_images" / "leaf-00000.jpg"
    assert traces_of(tmp_path, sys.executable, "-c", LIBRARY, photo) == Traces([], [])


def test_a_diagnosis_leaves_no_trace(leaves: Path, tmp_path: Path) -> None:
    photo = leaves / "train_images" / "leaf-00000.jpg"
    command = ["predict", photo, "--out", tmp_path / "out"]
    traces = traces_of(tmp_path, sys.executable, "-m", "leafzoom", *command)
    assert traces == Traces([], [])
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.slow
def test_a_training_and_its_evaluation_leave_no_trace(leaves: Path, tmp_path: Path) -> None:
    """Their cache goes where LEAFZOOM_CACHE says, and matplotlib's list of fonts with it."""
    run = tmp_path / "run"
    cache = tmp_path / "cache"
    train = ["train", "--data", leaves, "--recipe", "default", "--out", run, "--tensorboard"]
    for change in (*SMALL, "data.train_limit=20", "warm_up.epochs=0"):
        train += ["--set", change]
    evaluate = ["evaluate", run, "--data", leaves, "--out", tmp_path / "report"]

    for command in (train, evaluate):
        folder = tmp_path / str(command[0])
        folder.mkdir()
        words = [sys.executable, "-m", "leafzoom", *command]
        traces = traces_of(folder, *words, environment={"LEAFZOOM_CACHE": str(cache)})
        assert traces == Traces([], [])

    assert (run / "model.onnx").is_file()
    assert (tmp_path / "report" / "index.html").is_file()
    assert list((cache / "matplotlib").iterdir())


@pytest.mark.slow
def test_without_a_setting_only_the_cache_is_below_home(leaves: Path, tmp_path: Path) -> None:
    command = ["prepare", "--data", leaves, "--out", tmp_path / "report"]
    traces = traces_of(tmp_path, sys.executable, "-m", "leafzoom", *command)
    assert traces.names == []
    assert ".cache/leafzoom" in traces.files
    assert all(file == ".cache" or file.startswith(".cache/leafzoom") for file in traces.files)
