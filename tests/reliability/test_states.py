"""States of a training: atomic, checksummed, and replaced by the one before if damaged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from leafzoom import storage
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import TrainingError
from leafzoom.recipe import Recipe
from leafzoom.training.run import train
from leafzoom.training.state import Cursor, State, load_state, save_state
from reliability.damage import (
    FLIPS,
    Stop,
    damaged_contents,
    flip_bit_of_file,
    no_echo,
    same_weights,
    train_until,
)


def make_state(epoch: int) -> State:
    """A state after an epoch, with one module."""
    return State(
        cursor=Cursor(1, epoch, 2, {"loss": 0.5}),
        tensors={"m": {"w": torch.ones(300) * epoch}},
        optimizations={},
        best=None,
        log=[],
        seconds={},
    )


def saved_cursor(folder: Path) -> Cursor:
    """The cursor of the last state that is whole."""
    state = load_state(folder)
    assert state is not None
    return state.cursor


def test_a_damaged_state_is_named_and_the_one_before_it_used(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """However it is damaged; and the next state does not replace the last one that is whole."""
    assert load_state(tmp_path) is None
    saved = tmp_path / "saved"
    for epoch in (1, 2):
        save_state(saved, make_state(epoch))
    first, last = sorted(saved.iterdir())

    damages = list(damaged_contents(last.read_bytes(), FLIPS))
    for number, (description, content) in enumerate(damages):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        (folder / last.name).write_bytes(content)

        lines: list[str] = []
        state = load_state(folder, lines.append)
        assert state is not None
        assert state.cursor == Cursor(1, 1, 2, {"loss": 0.5}), description
        assert len(lines) == 1, description
        assert last.name in lines[0], description
        assert "damaged" in lines[0], description
    record_property("damaged, named and passed over", len(damages))

    save_state(folder, make_state(3))
    assert first.name in {path.name for path in folder.glob("*.pt")}
    assert saved_cursor(folder).epoch == 3

    # A folder of damaged states is not taken for an empty one, not even the second time.
    for path in folder.glob("*.pt"):
        path.write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"every state in .* is damaged"):
            load_state(folder)


def test_only_two_states_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 5):
        save_state(tmp_path, make_state(epoch))
    names = sorted(path.name[:12] for path in tmp_path.iterdir())
    assert names == ["state-000003", "state-000004"]


def test_a_state_of_another_leafzoom_is_refused_clearly(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"cursor": {"stage": 1}, "of": "tomorrow"}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:16]
    (tmp_path / f"state-000001-{digest}.pt").write_bytes(content)

    message = r"state-000001-.*\.pt was written by another leafzoom"
    with pytest.raises(TrainingError, match=message):
        load_state(tmp_path)


def test_a_training_goes_on_from_the_state_before_a_damaged_one(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(sources, parts, small, run, epochs=4)
    last = sorted(run.glob("states/*.pt"))[-1]
    flip_bit_of_file(last, last.stat().st_size // 2, bit=2)

    run_json = run / "run.json"
    account = json.loads(run_json.read_text())
    account["start_weights"] = "those of the start"
    run_json.write_text(json.dumps(account))

    lines: list[str] = []
    train(sources, parts, small, run, resume=True, echo=lines.append)
    assert [line for line in lines if last.name in line and "damaged" in line]
    assert same_weights(run, whole)
    assert json.loads(run_json.read_text())["start_weights"] == "those of the start"


def test_a_disk_that_fails_for_a_moment_costs_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2):
        save_state(tmp_path, make_state(epoch))
    before = sorted(tmp_path.iterdir())

    def fail(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    message = r"state-000002-.*\.pt cannot be read .*check the disk, then --resume"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(TrainingError, match=message):
            load_state(tmp_path)

    assert sorted(tmp_path.iterdir()) == before
    assert saved_cursor(tmp_path).epoch == 2


def test_what_interrupted_writes_left_is_swept_away(
    sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(sources, parts, small, run, epochs=1)
    for name in (".run.json.71.partial", "states/.state-000009-0123456789abcdef.pt.71.partial"):
        (run / name).write_bytes(b"half")
    (run / "mine.partial").write_bytes(b"of the user")

    def stop(line: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(sources, parts, small, run, resume=True, echo=stop)
    assert [path.name for path in run.rglob("*.partial")] == ["mine.partial"]


@pytest.mark.slow
def test_a_damaged_picture_of_the_zooms_ends_no_training(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(sources, parts, small, run, epochs=4)
    first = sorted(run.glob("zooms/*.png"))[0]
    first.write_bytes(first.read_bytes()[:2000])

    train(sources, parts, small, run, resume=True, echo=no_echo)
    assert same_weights(run, whole)


def test_a_rename_is_on_the_disk_before_anything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is synced before the rename and the folder after it."""
    events: list[str] = []
    fsync = os.fsync
    replace = Path.replace

    def record_sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder synced" if is_folder else "file synced")
        fsync(descriptor)

    def record_rename(self: Path, target: Path) -> Path:
        events.append("renamed")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_rename)
    storage.write_text(tmp_path / "a", "new")
    assert events == ["file synced", "renamed", "folder synced"]
