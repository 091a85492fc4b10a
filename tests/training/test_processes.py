"""Two processes that share each batch train what one process trains."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from conftest import SET_TINY, TINY, failure_line, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.errors import TrainingError
from leafzoom.model.build import build_backbone
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.checks import check_shares
from leafzoom.training.launch import build_fabric, is_first_process
from leafzoom.training.processes import has_batch_norms, synchronise_batch_norms
from network_helpers import model_digest, small_racnn, training_losses
from two_processes import CASES, Gradients, all_gradients, in_processes, train_together

# No batch norms that update, and nothing that each process draws for itself.
TOGETHER = (
    *TINY,
    "fine_tuning.epochs=0",
    "model.drop_rate=0",
    "alternation.box_jitter=0",
    "alternation.rounds=1",
    "alternation.classifier_epochs=1",
    "alternation.weight_average=0.9",
    "data.train_limit=25",
)
EPOCHS = 4  # of a warm-up, two classifier epochs and the APN epoch between them


@pytest.fixture(scope="module")
def alone() -> dict[str, Gradients]:
    """The gradients of one process."""
    return all_gradients(1)


@pytest.fixture(scope="module")
def together() -> list[dict[str, Gradients]]:
    """Those of each of two processes."""
    results = in_processes(all_gradients, 2)
    assert all(isinstance(result, dict) for result in results), results
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_logged_means_are_those_of_one_process(
    alone: dict[str, Gradients], together: list[dict[str, Gradients]], name: str
) -> None:
    expected = alone[name]
    assert any(np.abs(gradient).max() > 0 for gradient in expected.values())
    for result in together:
        assert result[name].keys() == expected.keys()
        for key, gradient in expected.items():
            tolerance = 1e-4 * float(np.abs(gradient).max()) + 1e-7
            np.testing.assert_allclose(result[name][key], gradient, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def run_together(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes."""
    out = tmp_path_factory.mktemp("together") / "run"
    first, second = in_processes(train_together, cache, TOGETHER, out, 2)
    assert isinstance(first, list), first
    assert sum("(" in line for line in first) == EPOCHS
    assert second == []
    return out


@pytest.mark.slow
def test_a_run_of_two_processes_ends_where_one_ends(
    run_together: Path, cache: Cache, tmp_path: Path
) -> None:
    """Its losses, its metrics and its weights; rounding is all that differs."""
    out = tmp_path / "run"
    train_together(cache, TOGETHER, out, 1)

    assert logged_values(run_together).keys() == logged_values(out).keys()
    for key, value in logged_values(out).items():
        assert logged_values(run_together)[key] == pytest.approx(value, rel=2e-2, abs=2e-2), key

    record = json.loads((run_together / "run.json").read_text())
    expected = json.loads((out / "run.json").read_text())
    assert record["processes"] == 2
    assert record["status"] == "finished"
    for head, scores in expected["metrics"]["inner-select"].items():
        assert record["metrics"]["inner-select"][head] == pytest.approx(scores, abs=0.05), head

    tensors = load_checkpoint(run_together / "model.safetensors").tensors
    for name, tensor in load_checkpoint(out / "model.safetensors").tensors.items():
        if name.startswith(("scale", "apn")):
            tolerance = 2e-2 * float(tensor.abs().max()) + 1e-4
            torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=tolerance, msg=name)


@pytest.mark.slow
def test_two_processes_go_on_where_two_stopped(
    run_together: Path, cache: Cache, tmp_path: Path
) -> None:
    """Bit for bit; one process is refused."""
    out = tmp_path / "run"
    stopped, lost = in_processes(train_together, cache, TOGETHER, out, 2, 2)
    assert stopped[-1] == "stopped"
    assert "SystemExit" in lost

    with pytest.raises(TrainingError, match=r"trained by 2 at once, and .* is 1"):
        train_together(cache, TOGETHER, out, 1)

    resumed, _ = in_processes(train_together, cache, TOGETHER, out, 2)
    assert "going on with stage 3, epoch 2" in resumed
    assert training_losses(out) == training_losses(run_together)
    assert model_digest(out) == model_digest(run_together)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (signal.SIGKILL, 1, "process 2 of 2 was killed (SIGKILL)"),
        (signal.SIGINT, 130, "leafzoom: interrupted"),
    ],
)
def test_processes_end_together_with_one_line(
    leaves: Path, tmp_path: Path, sent: signal.Signals, status: int, words: str
) -> None:
    """The second is killed, or Ctrl+C reaches both."""
    out = tmp_path / "run"
    changes = [word for change in TOGETHER[len(TINY) :] for word in ("--set", change)]
    more = ["--set", "alternation.classifier_epochs=500", "--devices", "2", "--accelerator", "cpu"]
    command = [sys.executable, "-m", "leafzoom", "train", "--data", leaves, "--recipe", "default"]
    with subprocess.Popen(
        [*command, "--out", out, *SET_TINY, *changes, *more],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    ) as process:
        stderr = process.stderr or []
        lines = list(takewhile(lambda line: "warm_up 1/" not in line, stderr))
        children = children_of(process.pid)
        interrupted = sent == signal.SIGINT
        os.kill(-process.pid if interrupted else children[0], sent)
        lines += list(stderr)

    assert process.returncode == status
    (line,) = [line for line in lines if line.startswith("leafzoom:")]
    assert words in line
    assert "Traceback" not in "".join(lines)
    wait_until_gone(children[0])


def heed_interrupts() -> None:
    """Undo what a shell does to a background job, in which tests may run: it ignores Ctrl+C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started (Linux)."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that may have lost its parent."""
    for _ in range(300):
        status = Path(f"/proc/{pid}/status")
        try:
            if re.search(r"^State:\s+Z", status.read_text(), re.MULTILINE):
                return
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} still runs")


def logged_values(run: Path) -> dict[str, float]:
    """Every logged value of a run, by epoch and key."""
    with (run / "log.csv").open() as file:
        return {f"{row['epoch']} {row['key']}": float(row["value"]) for row in csv.DictReader(file)}


class CpuProcesses:
    """A fabric of several processes, as far as checks look at it."""

    world_size = 2
    device = torch.device("cpu")


def check(*changes: str, photographs: int = 45) -> None:
    """Check what two processes on a CPU share."""
    recipe = load_recipe("default", [*TINY, *changes])
    backbone = build_backbone(recipe.model, 3)
    fabric: Any = CpuProcesses()
    check_shares(fabric, recipe, backbone, photographs, frozen=False)


def test_batch_norms_that_update_are_refused_on_a_cpu() -> None:
    check("fine_tuning.epochs=0")
    with pytest.raises(TrainingError, match=r"2 processes on a CPU .*\(fine_tuning\).*SyncBatchNo"):
        check()
    with pytest.raises(TrainingError, match=r'\(model.batch_norm = "keep"\)'):
        check("fine_tuning.epochs=0", "model.batch_norm=keep")


def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"alternation\.batch_size 1 gives one of 1"):
        check("fine_tuning.epochs=0", "alternation.batch_size=1")


def test_a_cal_is_refused() -> None:
    fabric: Any = CpuProcesses()
    backbone: Any = None
    with pytest.raises(TrainingError, match=r"2 processes cannot train a CAL: .* --devices 1"):
        check_shares(fabric, load_recipe("cal"), backbone, 45, frozen=False)


def test_batch_norms_are_synchronised_on_gpus() -> None:
    """Under the same names and with the same parameters, and they still fold."""
    backbone = small_racnn().backbones[0]
    parameters = dict(backbone.named_parameters())
    names = list(backbone.state_dict())

    class GpuProcesses(CpuProcesses):
        device = torch.device("cuda")

    fabric: Any = GpuProcesses()
    synchronise_batch_norms(fabric, backbone)
    norms = [module for module in backbone.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert norms
    assert has_batch_norms(backbone)
    assert list(backbone.state_dict()) == names
    for name, parameter in backbone.named_parameters():
        assert parameter is parameters[name]


@pytest.mark.parametrize(
    ("variables", "processes", "is_first"),
    [
        ({}, 4, True),
        ({"LOCAL_RANK": "2"}, 4, False),
        ({"RANK": "4", "LOCAL_RANK": "0"}, 8, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, 8, True),
        ({"SLURM_PROCID": "3"}, 4, False),
        ({"NODE_RANK": "1"}, 4, False),
        ({"SLURM_PROCID": "3"}, 1, True),
    ],
)
def test_the_first_process_is_known_by_its_variables(
    variables: dict[str, str],
    processes: int,
    is_first: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process(processes) == is_first


def test_torchrun_without_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(TrainingError, match="torchrun has started 4 processes"):
        build_fabric("cpu", "32-true")


def test_one_process_changes_no_batch_norm() -> None:
    backbone = small_racnn().backbones[0]
    synchronise_batch_norms(Fabric(accelerator="cpu", devices=1), backbone)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in backbone.modules())


def test_another_number_of_processes_is_refused_by_the_command_line(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    """A run of two cannot go on alone; the message names both numbers."""
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "processes": 2}))

    command = ("train", "--data", leaves, "--recipe", "default", "--out", out, *SET_TINY)
    line = failure_line(run_command(*command, "--resume"), 1)
    assert "trained by 2 at once, and --devices times --nodes is 1" in line
