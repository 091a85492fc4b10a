"""What is left of trainings, caches and model files after damage, a full disk, a dead helper, a loss that is NaN."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SMALL

from leafzoom import storage
from leafzoom.dataset import cache as cache_module
from leafzoom.dataset.cache import Cache, build_cache, open_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, LeafzoomError, ModelError, TrainingError
from leafzoom.inference.model_file import open_network
from leafzoom.model.checkpoint import load_checkpoint
from leafzoom.onnx_file import read_onnx
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training import phases, stages
from leafzoom.training.run import train
from leafzoom.training.state import Cursor, State, load_state, save_state

HERE = Path(__file__).parent
FLIPS = 200


def silent(_: str) -> None:
    """Say nothing."""


class Stop(Exception):  # noqa: N818
    """Ends a training between two epochs."""


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file's content cut off, emptied, ended by zeros, and with one bit flipped at random places."""
    draw = random.Random(seed)
    for share in range(0, 100, 5):
        yield f"cut at {share} %", content[: len(content) * share // 100]
    yield "cut by one byte", content[:-1]
    yield "its last page zeros", content[:-4096] + bytes(min(4096, len(content)))
    for _ in range(count):
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place}", bytes(changed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaves for the smallest training."""
    return write_leaves(tmp_path_factory.mktemp("small"), 48, size=64, seed=0)


@pytest.fixture(scope="module")
def sources(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_cache(read_table(data), tmp_path_factory.mktemp("small-cache"), 64, workers=1)


@pytest.fixture(scope="module")
def parts(sources: Cache) -> Split:
    return training_split(sources, "inner-train")


@pytest.fixture
def small() -> Recipe:
    return load_recipe("default", SMALL)


@pytest.fixture(scope="module")
def whole(sources: Cache, parts: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing happened to."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(sources, parts, load_recipe("default", SMALL), run, say=silent)
    return run


def stopped(sources: Cache, parts: Split, recipe: Recipe, out: Path, after: int) -> None:
    """Train until so many epochs are done."""
    said = 0

    def say(line: str) -> None:
        nonlocal said
        said += "(" in line
        if said == after:
            raise Stop

    with pytest.raises(Stop):
        train(sources, parts, recipe, out, say=say)


def same_weights(run: Path, other: Path) -> bool:
    return (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


# Checkpoints


def state(epoch: int) -> State:
    return State(Cursor(1, epoch, 2, {"loss": 0.5}), {"m": {"w": torch.ones(300) * epoch}}, {}, {}, [], {})


def test_a_damaged_state_is_named_and_the_one_before_it_used(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """However it is damaged; and what is saved next does not push out the last whole one."""
    assert load_state(tmp_path) is None
    for epoch in (1, 2):
        save_state(tmp_path / "made", state(epoch))
    first, last = sorted((tmp_path / "made").iterdir())
    for number, (how, content) in enumerate(damaged(last.read_bytes(), FLIPS)):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "made", folder)
        (folder / last.name).write_bytes(content)
        said: list[str] = []
        found = load_state(folder, said.append)
        assert found is not None
        assert found.cursor == Cursor(1, 1, 2, {"loss": 0.5}), how
        assert [last.name in line and "damaged" in line for line in said] == [True], how
    record_property("damaged, named and passed over", number + 1)
    save_state(folder, state(3))
    assert first.name in {path.name for path in folder.glob("*.pt")}
    assert load_state(folder).cursor.epoch == 3  # type: ignore[union-attr]
    for path in folder.glob("*.pt"):
        path.write_bytes(b"short")
    for _ in range(2):  # not taken for an empty folder the second time
        with pytest.raises(TrainingError, match=r"every state in .* is damaged"):
            load_state(folder)


def test_only_two_states_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 5):
        save_state(tmp_path, state(epoch))
    assert [path.name[:12] for path in sorted(tmp_path.iterdir())] == ["state-000003", "state-000004"]


def test_a_state_of_another_leafzoom_is_refused_clearly(tmp_path: Path) -> None:
    import hashlib
    import io

    buffer = io.BytesIO()
    torch.save({"cursor": {"stage": 1}, "of": "tomorrow"}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    (tmp_path / f"state-000001-{digest}.pt").write_bytes(buffer.getvalue())
    with pytest.raises(TrainingError, match=r"state-000001-.*\.pt was written by another leafzoom"):
        load_state(tmp_path)


def test_a_training_goes_on_from_the_state_before_a_damaged_one(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stopped(sources, parts, small, run, after=4)
    last = sorted(run.glob("states/*.pt"))[-1]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(bytes(content))
    account = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**account, "start_weights": "those of the start"}))
    said: list[str] = []
    train(sources, parts, small, run, resume=True, say=said.append)
    assert [line for line in said if last.name in line and "damaged" in line]
    assert same_weights(run, whole)
    assert json.loads((run / "run.json").read_text())["start_weights"] == "those of the start"


def test_a_disk_that_fails_for_a_moment_costs_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in (1, 2):
        save_state(tmp_path, state(epoch))
    before = sorted(tmp_path.iterdir())
    real = Path.read_bytes

    def failing(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(TrainingError, match=r"state-000002-.*\.pt cannot be read .*see to the disk, then --resume"):
        load_state(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", real)
    assert sorted(tmp_path.iterdir()) == before
    found = load_state(tmp_path)
    assert found is not None
    assert found.cursor.epoch == 2


def test_what_interrupted_writes_left_is_swept_away(
    sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stopped(sources, parts, small, run, after=1)
    for name in (".run.json.71.partial", "states/.state-000009-0123456789abcdef.pt.71.partial"):
        (run / name).write_bytes(b"half")
    (run / "mine.partial").write_bytes(b"somebody's own")
    stopped(sources, parts, small, tmp_path / "other", after=1)
    with pytest.raises(Stop):
        train(sources, parts, small, run, resume=True, say=lambda _: (_ for _ in ()).throw(Stop()))
    assert [path.name for path in run.rglob("*.partial")] == ["mine.partial"]


def test_a_rename_is_on_the_disk_before_anything_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the rename and the folder after it: what a power cut leaves is old or new."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        events.append("folder synced" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file synced")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        events.append("renamed")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    storage.write_text(tmp_path / "a", "new")
    assert events == ["file synced", "renamed", "folder synced"]


@pytest.fixture(scope="module")
def exported(whole: Path, sources: Cache) -> Path:
    """The model file of the run that nothing happened to."""
    from leafzoom.inference.export import export_onnx

    export_onnx(load_checkpoint(whole / "model.safetensors"), whole / "model.onnx", np.asarray(sources.sources[:4]))
    return whole / "model.onnx"


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx"])
def test_a_damaged_model_file_is_detected_and_named(
    name: str, whole: Path, exported: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Any bit of it: either it is refused, or the bit belonged to nothing that is read."""

    def everything(path: Path) -> object:
        if name == "model.onnx":
            content, manifest = read_onnx(path)
            return content[: -len(b"leafzoom_sha256") - 70], manifest
        checkpoint = load_checkpoint(path)
        return {n: t.numpy().tobytes() for n, t in checkpoint.tensors.items()}, checkpoint.manifest

    wanted = everything(whole / name)
    refused = []
    path = tmp_path / name
    for how, content in damaged((whole / name).read_bytes(), FLIPS):
        path.write_bytes(content)
        try:
            assert everything(path) == wanted, how
        except ModelError as error:
            refused.append(str(error))
    record_property("damaged", FLIPS + 22)
    record_property("refused by name", len(refused))
    assert len(refused) > FLIPS
    assert all(str(path) in line and len(line.splitlines()) == 1 for line in refused)
    with pytest.raises(ModelError):
        open_network(str(path))


def test_a_model_file_without_a_checksum_is_still_read(whole: Path, exported: Path, tmp_path: Path) -> None:
    """Those made before there was one."""
    import onnx

    model = onnx.load(exported)
    kept = [entry for entry in model.metadata_props if entry.key != "leafzoom_sha256"]
    assert len(kept) == len(model.metadata_props) - 1
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "old.onnx")
    assert read_onnx(tmp_path / "old.onnx")[1] == read_onnx(exported)[1]


def test_a_finished_run_whose_model_is_damaged_makes_it_again(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1000] ^= 1
    (run / "model.safetensors").write_bytes(bytes(content))
    said: list[str] = []
    train(sources, parts, small, run, resume=True, say=said.append)
    assert [line for line in said if "model.safetensors is damaged" in line]
    assert same_weights(run, whole)
    (run / "model.safetensors").write_bytes(bytes(content))
    shutil.rmtree(run / "states")
    with pytest.raises(TrainingError, match=r"model\.safetensors is damaged.* and there is no state"):
        train(sources, parts, small, run, resume=True, say=silent)


def test_a_damaged_picture_of_the_zooms_ends_no_training(
    whole: Path, sources: Cache, parts: Split, small: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stopped(sources, parts, small, run, after=4)
    (first, *_) = sorted(run.glob("zooms/*.png"))
    first.write_bytes(first.read_bytes()[:2000])
    train(sources, parts, small, run, resume=True, say=silent)
    assert same_weights(run, whole)


def test_damaged_soft_labels_are_named_and_computed_again(
    whole: Path, sources: Cache, parts: Split, tmp_path: Path
) -> None:
    soft = load_recipe("default", [*SMALL, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"])
    init = str(whole / "model.safetensors")
    train(sources, parts, soft, tmp_path / "one" / "run", init=init, say=silent)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run = tmp_path / "two" / "run"
    (file,) = run.glob("soft-labels-*.npy")
    content = bytearray(file.read_bytes())
    content[-2] ^= 1  # a probability's last digits: nothing else would tell
    file.write_bytes(bytes(content))
    (run / "run.json").unlink()
    shutil.rmtree(run / "states")
    said: list[str] = []
    train(sources, parts, soft, run, init=init, say=said.append)
    assert [line for line in said if file.name in line and "damaged" in line]
    assert same_weights(run, tmp_path / "one" / "run")


# Caches


def test_a_cache_that_is_built_anew_says_why(data: Path, tmp_path: Path) -> None:
    table = read_table(data)
    said: list[str] = []
    built = build_cache(table, tmp_path, 64, workers=1, say=said.append)
    assert said == []
    with (tmp_path / "sources.u8").open("r+b") as file:
        file.seek(7 * 64 * 64 * 3)
        file.write(bytes([255 - int(built.sources[7, 0, 0, 0])]))
    assert build_cache(table, tmp_path, 64, workers=1, say=said.append).digest == built.digest
    assert len(said) == 1
    assert re.search(r"sources\.u8 is damaged at 'leaf-00007\.jpg': it is built anew", said[0])


def test_any_bit_of_a_caches_index_or_journal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """The cache is then as before, or it is refused and built anew: never another error, never other values."""
    monkeypatch.setattr(cache_module, "_CHUNK", 8)
    table = read_table(data)
    wanted = build_cache(table, tmp_path / "cache", 64, workers=1)
    index = (tmp_path / "cache" / "cache.json").read_bytes()
    refused = 0
    for how, content in damaged(index, FLIPS):
        (tmp_path / "cache" / "cache.json").write_bytes(content)
        try:
            found = open_cache(table, tmp_path / "cache", 64)
        except DataError:
            refused += 1
        else:
            assert (found.digest, found.photo_sizes.tolist()) == (wanted.digest, wanted.photo_sizes.tolist()), how
    record_property("damaged indexes", FLIPS + 22)
    record_property("refused, to be built anew", refused)
    assert refused > FLIPS

    half = tmp_path / "half"
    real, done = cache_module._decode_chunk, 0

    def some(task: tuple[int, list[Path], Path, int]) -> list[object]:
        nonlocal done
        done += 1
        if done > 4:
            raise KeyboardInterrupt
        return real(task)  # type: ignore[return-value]

    monkeypatch.setattr(cache_module, "_decode_chunk", some)
    with pytest.raises(KeyboardInterrupt):
        build_cache(table, half, 64, workers=1)
    monkeypatch.setattr(cache_module, "_decode_chunk", real)
    journal = (half / "journal.jsonl").read_bytes()
    for number, (how, content) in enumerate(damaged(journal, 60)):
        again = tmp_path / str(number)
        shutil.copytree(half, again)
        (again / "journal.jsonl").write_bytes(content)
        found = build_cache(table, again, 64, workers=1)
        assert found.digest == wanted.digest, how
        assert np.array_equal(found.photo_sizes, wanted.photo_sizes), how
        shutil.rmtree(again)
    record_property("damaged journals that gave the same cache", number + 1)
    (half / "journal.jsonl").write_bytes(journal.replace(b'"start": 8,', b'"start": 0,'))
    assert build_cache(table, half, 64, workers=1).digest == wanted.digest


def test_a_process_that_decodes_and_dies_is_one_line_and_the_build_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_CHUNK", 2)
    table = read_table(data)
    shot: list[int] = []

    def shoot() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not shot:
            started = [child for child in multiprocessing.active_children() if "Spawn" in type(child).__name__]
            # Both, as CPython's pool can wait for ever for one that it starts while another dies.
            if len(started) == 2 and started[0].pid:
                os.kill(started[0].pid, 9)
                shot.append(started[0].pid)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=shoot)
    thread.start()
    with pytest.raises(LeafzoomError, match=r"was ended.*too little memory.*run the command again") as error:
        build_cache(table, tmp_path, 64, workers=2)
    thread.join()
    assert shot
    assert len(str(error.value).splitlines()) == 1
    found = build_cache(table, tmp_path, 64, workers=1)
    assert len(found.sources) == 48


# The data set changes


def test_pixels_that_change_under_a_running_training_stop_it(
    whole: Path, data: Path, small: Recipe, tmp_path: Path
) -> None:
    """They are compared with their checksums whenever they are read; --resume builds the cache anew and goes on."""
    folder = tmp_path / "cache"
    cache = build_cache(read_table(data), folder, 64, workers=1)
    split = training_split(cache, "inner-train")
    victim = split.train[3]
    place = cache.table.images.index(victim) * 64 * 64 * 3 + 5000
    run = tmp_path / "run"
    said = 0

    def say(line: str) -> None:
        nonlocal said
        said += "(" in line
        if said == 2 and "(" in line:
            with (folder / "sources.u8").open("r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 16]))

    with pytest.raises(DataError, match=rf"{re.escape(repr(victim))} have changed .*--resume"):
        train(cache, split, small, run, say=say)
    again = build_cache(read_table(data), folder, 64, workers=1)
    train(again, split, small, run, resume=True, say=silent)
    assert same_weights(run, whole)


def test_photographs_or_labels_that_changed_between_runs_are_refused(
    whole: Path, data: Path, small: Recipe, tmp_path: Path
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    run = tmp_path / "run"

    def cached() -> tuple[Cache, Split]:
        cache = build_cache(read_table(own).require_clean(), tmp_path / "cache", 64, workers=1)
        return cache, Split.from_dict(json.loads((whole / "split.json").read_text()), whole)

    stopped(*cached(), small, run, after=2)
    photo, other = own / "train_images" / "leaf-00004.jpg", own / "train_images" / "leaf-00005.jpg"
    content, table = photo.read_bytes(), (own / "train.csv").read_text()
    photo.write_bytes(other.read_bytes())
    with pytest.raises(TrainingError, match="was trained with other photographs or labels"):
        train(*cached(), small, run, resume=True, say=silent)
    photo.write_bytes(content)  # restored, at another time
    lines = table.splitlines()
    (row,) = [number for number, line in enumerate(lines) if line.startswith("leaf-00004.jpg,")]
    (own / "train.csv").write_text("\n".join([*lines[:row], "leaf-00004.jpg,healthy", *lines[row + 1 :]]) + "\n")
    if lines[row] != "leaf-00004.jpg,healthy":
        with pytest.raises(TrainingError, match="was trained with other photographs or labels"):
            train(*cached(), small, run, resume=True, say=silent)
    (own / "train.csv").write_text(table)
    photo.unlink()
    with pytest.raises(DataError, match=r"train\.csv row \d+: 'leaf-00004.jpg' does not exist"):
        cached()
    photo.write_bytes(content)
    train(*cached(), small, run, resume=True, say=silent)
    assert same_weights(run, whole)


# Losses and weights that are no numbers


def spoiling(monkeypatch: pytest.MonkeyPatch, phase: type, at: int, value: float) -> list[int]:
    """The phase's `at`th step leaves this in a weight; its own loss was finite."""
    steps: list[int] = []
    step = phase.step  # type: ignore[attr-defined]

    def spoilt(self: object, *arguments: torch.Tensor) -> object:
        logged = step(self, *arguments)
        steps.append(1)
        if len(steps) == at:
            module = getattr(self, "backbone", None) or self.racnn.apns  # type: ignore[attr-defined]
            with torch.no_grad():
                weight = next(iter(module.parameters()))
                weight[(0,) * weight.ndim] = value
        return logged

    monkeypatch.setattr(phase, "step", spoilt)
    return steps


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [6, 8])  # in the middle of the second epoch, where a state is due; at its end
def test_weights_that_are_no_numbers_are_never_saved(
    sources: Cache, parts: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, value: float
) -> None:
    recipe = load_recipe("default", [*SMALL, "fine_tuning.epochs=2"])
    monkeypatch.setattr(stages, "_SAVE_SECONDS", 0.0)
    spoiling(monkeypatch, phases.FineTuningPhase, at, value)
    count = -(-len(parts.train) // 10)
    assert count == 4
    with pytest.raises(
        TrainingError, match=rf"fine_tuning 2/2 .* batch {at - 4} of 4 \(leaf-\d+\.jpg, .*\)"
    ) as error:
        train(sources, parts, recipe, tmp_path, say=silent)
    named = set(re.findall(r"leaf-\d+\.jpg", str(error.value)))
    assert named < set(parts.train)
    assert 8 < len(named) <= 10
    kept = load_state(tmp_path / "states")
    assert kept is not None
    assert (kept.cursor.stage, kept.cursor.epoch, kept.cursor.batch) == (0, 1, at - 5)
    for tensors in (kept.tensors["backbone"], kept.best["tensors"]):
        assert all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
    assert kept.best["epoch"] == 0
    assert np.isfinite(kept.best["loss"])
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_apn_that_is_no_number_stops_the_training(
    sources: Cache, parts: Split, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiling(monkeypatch, phases.WarmUpPhase, 4, float("nan"))
    with pytest.raises(TrainingError, match=r"warm_up 1/1 apn.* batch 4 of 4 \(leaf-"):
        train(sources, parts, small, tmp_path, say=silent)
    assert load_state(tmp_path / "states").cursor == Cursor(1)  # type: ignore[union-attr]


def test_a_loss_that_is_no_number_names_its_photographs_and_keeps_the_last_good_weights(
    sources: Cache, parts: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs whose batch gives an infinite loss, wherever in the training it comes."""
    step = phases.ClassifierPhase.step
    seen: list[int] = []

    def infinite(self: phases.ClassifierPhase, *arguments: torch.Tensor) -> dict[str, torch.Tensor]:
        logged = step(self, *arguments)
        seen.append(1)
        return {**logged, "loss_scale2": torch.tensor(float("inf"))} if len(seen) == 7 else logged

    monkeypatch.setattr(phases.ClassifierPhase, "step", infinite)
    recipe = load_recipe("default", SMALL)
    with pytest.raises(
        TrainingError, match=r"alternation 3/3 classifier: loss_scale2 is inf at batch 3 of 4 \(leaf-\d+\.jpg, "
    ):
        train(sources, parts, recipe, tmp_path, say=silent)
    kept = load_state(tmp_path / "states")
    assert kept is not None
    assert (kept.cursor.stage, kept.cursor.epoch) == (2, 2)
    assert kept.best["epoch"] == 0
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "training"
    assert not (tmp_path / "model.safetensors").exists()


# Disks


def test_full_and_read_only_disks(
    exported: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """On a small file system of its own; see on_small_disks.py."""
    can = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0"', str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run(can, capture_output=True, check=False).returncode:
        pytest.skip("needs unshare and tmpfs, which cannot be had here")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, HERE / "on_small_disks.py", tmp_path,
         exported.parent],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    for name, value in said.items():
        record_property(name, value)
    assert said["full while training"] >= 3
    assert said["equal in the end"] is True
