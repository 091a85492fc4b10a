"""Loggers: what each holds after a training, read by its own library; names and plug-ins."""

from __future__ import annotations

import ast
import json
import struct
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from conftest import SET_TINY, TINY, failure_line, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import LeafzoomError, MissingExtraError, TrainingError, UsageError
from leafzoom.recipe import load_recipe
from leafzoom.training import loggers
from leafzoom.training.loggers import RunLogger, logger_names, logger_openers
from leafzoom.training.run import Settings, train
from network_helpers import silent

METRIC = "alternation/classifier/select_loss"
STEPS = (3, 4)
PICTURE = "alternation/zooms"
RECIPE = {"seed": 7, "model": {"input_size": 64, "backbone": "test_efficientnet"}}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small PNG."""
    from PIL import Image

    path = tmp_path / "2-alternation-001.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file in a model's place."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def log_a_run(name: str, folder: Path, picture: Path, model: Path) -> None:
    """Log two epochs, between which the run is resumed, and the end."""
    (open_log,) = logger_openers([name])
    for step in STEPS:
        logger = open_log(folder, "first")
        logger.log_recipe(RECIPE)
        logger.log_metrics({METRIC: 1 / step}, step)
        logger.log_picture(PICTURE, picture, step)
        if step == STEPS[0]:
            logger.close()
    logger.log_model(model)
    logger.close()


def test_tensorboard(tmp_path: Path, picture: Path, model: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_a_run("tensorboard", tmp_path, picture, model)

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = {event.step: event.value for event in events.Scalars(METRIC)}
    assert values == pytest.approx({step: 1 / step for step in STEPS})
    assert [image.step for image in events.Images(PICTURE)] == list(STEPS)

    texts = [events.Tensors(tag)[-1].tensor_proto.string_val[0] for tag in events.Tags()["tensors"]]
    text = b"\n".join(texts).decode()
    assert '"backbone": "test_efficientnet"' in text
    assert str(model) in text


@pytest.mark.slow
def test_mlflow(
    tmp_path: Path, picture: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SQLite, as one run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("alembic", reason="the extra loggers is not installed")
    mlflow = pytest.importorskip("mlflow", reason="the extra loggers is not installed")

    log_a_run("mlflow", tmp_path, picture, model)

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("leafzoom")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["model/backbone"] == "test_efficientnet"

    history = client.get_metric_history(run.info.run_id, METRIC)
    assert [(entry.step, entry.value) for entry in history] == [(3, 1 / 3), (4, 1 / 4)]
    assert stored_files(tmp_path / "mlflow") >= {picture.name, model.name}


@pytest.mark.slow
def test_wandb(tmp_path: Path, picture: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, as two parts of one run."""
    wandb = pytest.importorskip("wandb", reason="the extra loggers is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    log_a_run("wandb", tmp_path, picture, model)
    wandb.teardown()  # waits for the process that writes

    run_id = (tmp_path / "wandb-run.txt").read_text()
    parts = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    assert len(parts) == 2
    records = [*wandb_records(parts[0]), *wandb_records(parts[1])]
    assert wandb_values(records) == pytest.approx([1 / step for step in STEPS])
    updates = chain.from_iterable(record.config.update for record in records)
    configuration = {item.key: json.loads(item.value_json) for item in updates}
    assert configuration["model"]["backbone"] == "test_efficientnet"

    assert model.name in "".join(str(record.artifact.manifest) for record in records)
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/media/images/*/*.png"))) == 2


def wandb_values(records: list[Any]) -> list[float]:
    """The values of the metric, in the order in which they were logged."""
    items = chain.from_iterable(record.history.item for record in records)
    return [float(item.value_json) for item in items if METRIC in (item.key, *item.nested_key)]


def wandb_records(path: Path) -> list[Any]:
    """The records of a run that was logged offline: wandb's messages in LevelDB's log format.

    Blocks of 32 KiB hold pieces with a header of 7 bytes: checksum, length, and whether a piece is
    whole (1), the first (2), one between (3) or the last (4). wandb itself reads them in Go.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content.startswith(b":W&B")
    records = []
    message = b""
    position = 7
    while position + 7 <= len(content):
        room = 2**15 - position % 2**15
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += 7 + length
        message += content[position - length : position]
        if kind in (1, 4):
            records.append(Record.FromString(message))
            message = b""
    return records


def stored_files(folder: Path) -> set[str]:
    """The names of all files below a folder."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_name_that_no_logger_has(leaves: Path, tmp_path: Path) -> None:
    command = ("train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "run")
    result = run_command(*command, *SET_TINY, "--logger", "nothing")
    assert "no logger 'nothing': there are csv, tensorboard, mlflow, wandb" in failure_line(
        result, 2
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_library_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(MissingExtraError, match=rf"--logger {name} needs .*leafzoom\[loggers\]"):
        logger_openers([name])


class Recorder:
    """A logger of another package."""

    opened: tuple[Path, str] | None = None
    calls: list[str]

    def __init__(self, folder: Path, name: str) -> None:
        Recorder.opened = (folder, name)
        Recorder.calls = []

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        Recorder.calls.append(f"recipe {recipe['model']['backbone']}")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        stages = {key.split("/")[0] for key in metrics}
        Recorder.calls.append(f"metrics {step} {'+'.join(stages)}")

    def log_picture(self, name: str, path: Path, step: int) -> None:
        assert path.is_file()
        Recorder.calls.append(f"picture {step} {name}")

    def log_model(self, path: Path) -> None:
        assert path.is_file()
        Recorder.calls.append(f"model {path.name}")

    def close(self) -> None:
        Recorder.calls.append("close")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points as other distributions have them."""
    group = "leafzoom.loggers"
    points = [
        EntryPoint("recorder", f"{__name__}:Recorder", group),
        EntryPoint("broken", "leafzoom_gone:open", group),
        EntryPoint("number", f"{__name__}:STEPS", group),
    ]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or this_module())
    monkeypatch.setattr(
        loggers, "entry_points", lambda **wanted: EntryPoints(points).select(**wanted)
    )


def this_module() -> Any:
    """This file as a module, under the name that it has here."""
    from types import SimpleNamespace

    return SimpleNamespace(Recorder=Recorder, STEPS=STEPS)


def test_a_plug_in_gets_all_of_a_training(
    plugins: None, cache: Cache, split: Split, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    changes = ("fine_tuning.epochs=1", "alternation.rounds=0", "alternation.classifier_epochs=1")
    recipe = load_recipe("default", [*TINY, *changes, "data.train_limit=12"])
    settings = Settings(loggers=("recorder", "csv"))
    train(cache, split, recipe, out, settings=settings, echo=silent)

    assert Recorder.opened == (out, "run")
    assert Recorder.calls == [
        "recipe test_efficientnet",
        "metrics 1 fine_tuning",
        "metrics 2 warm_up",
        "picture 2 warm_up/zooms",
        "metrics 3 alternation",
        "picture 3 alternation/zooms",
        "model model.safetensors",
        "close",
    ]


def test_plug_ins_are_named_and_broken_ones_refused(plugins: None) -> None:
    assert logger_names() == (
        "csv",
        "tensorboard",
        "mlflow",
        "wandb",
        "broken",
        "number",
        "recorder",
    )
    with pytest.raises(LeafzoomError, match="'broken' of leafzoom_gone:open cannot be loaded"):
        logger_openers(["broken"])
    with pytest.raises(LeafzoomError, match="is no function"):
        logger_openers(["number"])
    with pytest.raises(UsageError, match="no logger 'other'"):
        logger_openers(["recorder", "other"])


def test_libraries_of_loggers_are_imported_only_when_used() -> None:
    tree = ast.parse(Path(loggers.__file__).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = ast.unparse(ast.Module(imports, []))
    for library in ("mlflow", "wandb", "tensorboard", "lightning"):
        assert library not in names


def test_a_logger_that_fails_is_one_line(plugins: None, tmp_path: Path) -> None:
    (open_log,) = logger_openers(["recorder"])
    logger = open_log(tmp_path, "run")
    with pytest.raises(TrainingError, match=r"--logger recorder has failed \(KeyError: 'model'\)"):
        logger.log_recipe({})


def test_each_logger_is_opened_once() -> None:
    assert len(logger_openers(["tensorboard", "csv", "tensorboard"])) == 1
    protocol = {name for name in vars(RunLogger) if not name.startswith("_")}
    assert protocol == {name for name in vars(Recorder) if name.startswith(("log_", "close"))}
