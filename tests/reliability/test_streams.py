"""Every command under every odd terminal, folder and user: it works or says one line.

One process a condition runs all commands, in the way of the console script.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import SET_TINY
from leafzoom.cli import SUMMARIES

# Runs commands one after the other: argv[1] has them in JSON, argv[2] gets each one's end. Files
# that it opens before the command does may not take the number of a closed stream. A service ends
# by a signal, once it is ready.
DRIVER = """
import json, os, signal, socket, sys, threading, time, traceback, urllib.request
from leafzoom.cli import main
from leafzoom.streams import prepare_streams
prepare_streams()

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

def end_service(port):
    while True:
        time.sleep(0.1)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
        except OSError:
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        return

with open(sys.argv[1], "rb") as file:
    commands = json.loads(os.fsdecode(file.read()))
with open(sys.argv[2], "w", encoding="utf-8", errors="backslashreplace") as ends:
    for words in commands:
        if "PORT" in words:
            port = free_port()
            words[words.index("PORT")] = str(port)
            threading.Thread(target=end_service, args=(port,), daemon=True).start()
        sys.argv = ["leafzoom", *words]
        code, trace = 0, ""
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            trace = traceback.format_exc()
        json.dump([words[0], code, trace], ends)
        ends.write("\\n")
"""

# A user whom the system does not know, as containers have them.
UNKNOWN_USER = """
import os, pwd
os.environ.pop("HOME", None)
def unknown(*arguments):
    raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = unknown
"""

PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclass(frozen=True)
class Condition:
    """How the commands are started: `redirection` in the shell's words."""

    environment: dict[str, str] = field(default_factory=dict)
    redirection: str = ""
    prelude: str = ""
    folder: bytes = b"leaves"


CONDITIONS = {
    "cp1252": Condition({**PLAIN, "PYTHONIOENCODING": "cp1252"}, folder="苹果".encode()),
    "ascii": Condition({**PLAIN, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, folder=b"\xc3\xa9"),
    "C locale": Condition({**PLAIN, "LC_ALL": "C"}, folder="苹果".encode()),
    "folder of no text": Condition(folder=b"caf\xe9 \xff"),
    "folder of no text, cp1252": Condition({"PYTHONIOENCODING": "cp1252"}, folder=b"caf\xe9"),
    "closed stdout": Condition(redirection=">&-"),
    "closed stderr": Condition(redirection="2>&-"),
    "all closed": Condition(redirection="<&- >&- 2>&-"),
    "unknown user": Condition({"LEAFZOOM_CACHE": "", "HOME": ""}, prelude=UNKNOWN_USER),
    "cache in ~": Condition({"LEAFZOOM_CACHE": "~/leaf-cache"}),
    "narrow terminal": Condition({"COLUMNS": "20"}),
    "no terminal type": Condition({"TERM": "", "COLUMNS": "0"}),
}

# Importing PyTorch takes seconds, and a training half a minute: two times two of the hardest
# conditions stand for all.
HARDEST = {
    "folder of no text, cp1252, cache in ~": Condition(
        {"PYTHONIOENCODING": "cp1252", "LEAFZOOM_CACHE": "~/leaf-cache"}, folder=b"caf\xe9"
    ),
    "all closed, unknown user": Condition(
        {"LEAFZOOM_CACHE": "", "HOME": ""}, "<&- >&- 2>&-", UNKNOWN_USER
    ),
}
CASES = [
    *(pytest.param(name, False, id=f"{name}-without PyTorch") for name in CONDITIONS),
    *(pytest.param(name, True, id=f"{name}-all", marks=pytest.mark.slow) for name in HARDEST),
]

CHEAP = [["--help"], ["--version"], *([name, "--help"] for name in SUMMARIES)]


def run_commands(
    condition: Condition, commands: list[list[str]], tmp_path: Path
) -> tuple[list[tuple[str, int, str]], str]:
    """Each command's name, exit status and traceback; and all that standard error got."""
    (tmp_path / "commands.json").write_bytes(
        json.dumps(commands, ensure_ascii=False).encode("utf-8", "surrogateescape")
    )
    script = tmp_path / "driver.py"
    script.write_text(condition.prelude + DRIVER, encoding="utf-8")

    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(tmp_path)}
    environment |= condition.environment
    words = f"{sys.executable} {script} commands.json ends.json {condition.redirection}"
    done = subprocess.run(
        words, shell=True, cwd=tmp_path, env=environment, capture_output=True, check=False
    )

    text = (tmp_path / "ends.json").read_text(encoding="utf-8")
    ends = [tuple(json.loads(line)) for line in text.splitlines()]
    return ends, done.stderr.decode(errors="replace")


def commands_with_torch(folder: Path, leaves: Path) -> list[list[str]]:
    """Every command that takes PyTorch, from photographs in the odd folder to a comparison."""
    data_folder = folder.with_name(f"{folder.name} data")  # `folder` itself is predicted
    shutil.copytree(leaves, data_folder)
    data = ["--data", str(data_folder)]
    run = str(folder / f"run {folder.name}")
    photos = [str(photo) for photo in sorted(folder.glob("*.jpg"))]
    return [
        ["recipes"],
        ["recipes", "default"],
        ["prepare", *data, "--source-size", "96", "--out", str(folder / "photographs")],
        ["train", *data, "--recipe", "default", "--out", run, *SET_TINY],
        ["evaluate", run, *data, "--zooms", "0", "--out", str(folder / "report")],
        ["export", run, "--out", str(folder / "model.onnx")],
        ["compare", run, str(folder / "run"), "--out", str(folder / "comparison")],
        ["predict", *photos, "--model", run, "--out", str(folder / "new results")],
        ["drift", str(folder / "new results"), "--model", run, "--out", str(folder / "drift.png")],
    ]


@pytest.mark.parametrize(("name", "with_torch"), CASES)
def test_every_command_works(
    name: str, with_torch: bool, trained: Path, leaves: Path, tmp_path: Path
) -> None:
    condition = (CONDITIONS | HARDEST)[name]
    folder = tmp_path / os.fsdecode(condition.folder)
    folder.mkdir()
    for number in (1, 2):
        shutil.copy(leaves / "train_images" / f"leaf-0000{number}.jpg", folder)
    shutil.copytree(trained, folder / "run")
    model = ["--model", str(folder / "run")]

    commands = [
        *CHEAP,
        ["info", str(folder / "run")],
        ["predict", str(folder), *model],
        ["predict", str(folder), *model, "--format", "json"],
        ["predict", str(folder), *model, "--format", "csv"],
        ["predict", str(folder), *model, "--out", str(folder / "results")],
        ["drift", str(folder / "results"), *model],
        ["serve", "--port", "PORT", *model],
    ]
    if with_torch:
        commands += commands_with_torch(folder, leaves)
    ends, stderr = run_commands(condition, commands, tmp_path)

    assert [end for end in ends if end[1:] != (0, "")] == [], stderr[-2000:]
    assert len(ends) == len(commands)
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr

    # What the results say, whatever the terminal could show.
    results = (folder / "results" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["verdict"] != "" for line in results] == [True, True]
    if name == "cache in ~" and with_torch:
        assert (tmp_path / "home" / "leaf-cache").is_dir()


@pytest.mark.parametrize(("name", "with_torch"), CASES)
def test_every_commands_failure_is_one_line(name: str, with_torch: bool, tmp_path: Path) -> None:
    condition = (CONDITIONS | HARDEST)[name]
    folder = tmp_path / os.fsdecode(condition.folder)
    missing = str(folder / "none")
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "run.json").write_text("{}", encoding="utf-8")  # of an earlier demo
    commands = [
        ["drift", missing],
        ["info", missing],
        ["predict", missing],
        ["predict", str(tmp_path)],
        ["serve", "--model", missing],
    ]
    if with_torch:
        commands += [
            ["demo", "--out", str(folder)],
            ["compare", missing, "--out", str(tmp_path / "out")],
            ["evaluate", missing, "--data", missing, "--out", str(tmp_path / "out")],
            ["export", missing, "--out", str(tmp_path / "model.onnx")],
            ["prepare", "--data", missing],
            ["recipes", "no-such-recipe"],
            ["train", "--data", missing, "--recipe", "default", "--out", str(tmp_path / "run")],
        ]
    ends, stderr = run_commands(condition, commands, tmp_path)

    assert [end[0] for end in ends] == [words[0] for words in commands]
    assert [end for end in ends if end[2]] == []
    assert [end for end in ends if end[1] not in (1, 2)] == []
    assert "Traceback" not in stderr
    if "2>&-" not in condition.redirection:
        assert len([line for line in stderr.splitlines() if line]) == len(commands)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["--help", "info", "recipes", "predict --help"])
def test_a_full_disk_behind_standard_output_is_one_line(words: str) -> None:
    command = f"{sys.executable} -m leafzoom {words} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("leafzoom: ")
    assert "No space left on device" in line


@pytest.mark.parametrize("words", ["--help", "info", "recipes"])
def test_a_reader_that_has_gone_is_no_message(words: str) -> None:
    command = f"{sys.executable} -m leafzoom {words} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert done.stderr == ""
