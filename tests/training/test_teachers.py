"""Teachers of soft labels: other networks than the training's own, one or several."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import SET_TINY, TINY, failure_line, run_command
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.table import read_table
from leafzoom.errors import ModelError, RecipeError, TrainingError
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.run import Settings, train
from leafzoom.training.soft_labels import soft_targets, with_soft_labels
from leafzoom.training.teachers import find_teachers, load_teachers
from network_helpers import model_digest, silent

TAUGHT = (
    *TINY,
    "fine_tuning.epochs=0",
    "warm_up.epochs=0",
    "model.proposals=centre",
    "alternation.rounds=0",
    "alternation.classifier_epochs=1",
    "alternation.soft_labels=0.4",
)

# Another backbone, source size, input size and number of scales, and test-time augmentation.
OTHER = (
    *TAUGHT,
    "alternation.soft_labels=0",
    "alternation.frozen_stages=0",
    "data.source_size=80",
    "model.backbone=test_resnet",
    "model.input_size=32",
    "model.scales=2",
    "model.apn_normalise=none",
    "model.batch_norm=keep",
    "prediction.tta=2",
)

SourceSizes = Callable[[int], Cache]


class Stop(Exception):  # noqa: N818
    """Ends a training between two epochs."""


@pytest.fixture(scope="module")
def source_sizes(
    leaves: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> SourceSizes:
    """The same leaves at any size."""
    folder = tmp_path_factory.mktemp("sizes")

    def at_size(size: int) -> Cache:
        if size == cache.sources.shape[1]:
            return cache
        return build_cache(read_table(leaves), folder / str(size), size, workers=1)

    return at_size


@pytest.fixture(scope="module")
def other(
    source_sizes: SourceSizes, split: Split, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained run of another kind of network."""
    out = tmp_path_factory.mktemp("teachers") / "other"
    train(source_sizes(80), split, load_recipe("default", OTHER), out, echo=silent)
    return out


@pytest.fixture(scope="module")
def other_labels(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run's model under other names of labels."""
    checkpoint = load_checkpoint(trained / "model.safetensors")
    labels = checkpoint.manifest.labels
    names = ("mildew", *labels.names[1:])
    path = tmp_path_factory.mktemp("labels") / "mildew.safetensors"
    manifest = replace(checkpoint.manifest, labels=replace(labels, names=names))
    save_checkpoint(path, checkpoint.tensors, manifest)
    return path


def test_targets_are_the_mean_of_teachers_of_any_kind(
    trained: Path,
    other: Path,
    cache: Cache,
    split: Split,
    source_sizes: SourceSizes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of an exported model teaches like its run, and run.json names both teachers."""
    from leafzoom.training import stages

    parts = []
    make = with_soft_labels

    def noted(*arguments: object) -> object:
        parts.append(make(*arguments))  # type: ignore[arg-type]
        return parts[-1]

    monkeypatch.setattr(stages, "with_soft_labels", noted)
    models = (str(trained / "model.onnx"), str(other))
    settings = Settings(teachers=models, source_sizes=source_sizes)
    lines: list[str] = []
    recipe = load_recipe("default", TAUGHT)
    train(cache, split, recipe, tmp_path / "run", settings=settings, echo=lines.append)

    # What each network answers by itself, from sources of its own size.
    names = set(split.train)
    rows = np.array([row for row, name in enumerate(cache.table.image_names) if name in names])
    answers = []
    for run, head, size in ((trained, "fusion123", 96), (other, "fusion12", 80)):
        network = TorchNetwork(load_checkpoint(run / "model.safetensors"))
        answers.append(network(np.asarray(source_sizes(size).sources[rows])).probabilities[head])
    assert np.abs(answers[0] - answers[1]).max() > 0.01

    (part,) = parts
    hard = cache.table.targets(load_checkpoint(trained / "model.safetensors").manifest.labels)
    expected = soft_targets(hard, rows, (answers[0] + answers[1]) / 2, 0.4)
    assert part.targets == pytest.approx(expected, abs=1e-5)

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [teacher["name"] for teacher in record["teachers"]] == ["run", "other"]
    assert len({teacher["sha256"] for teacher in record["teachers"]}) == 2
    timed = [line for line in lines if line.startswith("soft labels of")]
    assert [line.split(":")[0] for line in timed] == [
        f"soft labels of {name} for {len(rows)} photographs" for name in ("run", "other")
    ]


def test_init_teaches_as_before_where_it_is_the_teacher(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    """Bit for bit, and with the same stored file."""
    recipe = load_recipe("default", TAUGHT)
    init = str(trained / "model.safetensors")
    runs = [tmp_path / name / "run" for name in ("init", "teacher")]
    train(cache, split, recipe, runs[0], init=init, echo=silent)
    train(
        cache, split, recipe, runs[1], init=init, settings=Settings(teachers=(init,)), echo=silent
    )

    assert model_digest(runs[0]) == model_digest(runs[1])
    files = [sorted(path.name for path in run.glob("soft-labels-*.npy")) for run in runs]
    assert files[0] == files[1]
    assert len(files[0]) == 1


def test_resume_needs_the_same_teachers(
    trained: Path,
    other: Path,
    cache: Cache,
    split: Split,
    source_sizes: SourceSizes,
    tmp_path: Path,
) -> None:
    recipe = load_recipe("default", TAUGHT)
    both = Settings(teachers=(str(trained), str(other)), source_sizes=source_sizes)
    whole = tmp_path / "whole" / "run"
    train(cache, split, recipe, whole, settings=both, echo=silent)

    def stop(line: str) -> None:
        if line.startswith("soft labels of other"):
            raise Stop

    # Stopped after both teachers have answered, before the first epoch.
    run = tmp_path / "stopped" / "run"
    with pytest.raises(Stop):
        train(cache, split, recipe, run, settings=both, echo=stop)
    assert len(list(run.glob("soft-labels-*.npy"))) == 2

    for teachers in ((str(trained),), (str(other), str(trained))):
        settings = Settings(teachers=teachers, source_sizes=source_sizes)
        with pytest.raises(TrainingError, match=r"other teachers \(--teacher\)"):
            train(cache, split, recipe, run, resume=True, settings=settings, echo=silent)

    lines: list[str] = []
    train(cache, split, recipe, run, resume=True, settings=both, echo=lines.append)
    assert not [line for line in lines if "soft labels of" in line]
    assert model_digest(run) == model_digest(whole)


def test_a_teacher_that_cannot_teach_is_an_error_before_anything_is_written(
    leaves: Path, trained: Path, other_labels: Path, cache: Cache, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray((trained / "model.safetensors").read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)

    known = ", ".join(load_checkpoint(trained / "model.safetensors").manifest.labels.names)
    named = ", ".join(load_checkpoint(other_labels).manifest.labels.names)
    messages = {
        other_labels: f"it knows {named}, and this training is of {known}",
        damaged: f"{damaged} is damaged",
        tmp_path / "none": f"the model {tmp_path / 'none'} does not exist",
        trained / "backbone.safetensors": "holds backbone and no scale1",
    }
    for teacher, message in messages.items():
        out = tmp_path / "run"
        result = run_command(
            *("train", "--data", leaves, "--recipe", "default", "--cache", cache.folder),
            *("--out", out, "--teacher", trained, "--teacher", teacher),
            *(*SET_TINY, "--set", "alternation.soft_labels=0.4"),
        )
        assert message in failure_line(result, 1)
        assert not out.exists()


def test_teachers_without_soft_labels_are_refused(trained: Path) -> None:
    recipe = load_recipe("default", TINY)
    (checkpoint,) = load_teachers([str(trained)])
    with pytest.raises(RecipeError, match=r"alternation\.soft_labels is 0: set their weight"):
        find_teachers(recipe, (checkpoint,), None, checkpoint.manifest.labels, None)


def test_without_caches_of_other_sizes_a_teacher_needs_the_trainings(
    other: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("default", TAUGHT)
    settings = Settings(teachers=(str(other),))
    with pytest.raises(ModelError, match=r"cannot teach.*80 px.*96 px"):
        train(cache, split, recipe, tmp_path / "run", settings=settings, echo=silent)
    assert not (tmp_path / "run").exists()


def test_the_command_decodes_the_photographs_at_the_teachers_size(
    leaves: Path, other: Path, cache: Cache, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    out = tmp_path / "run"
    changes = [word for change in TAUGHT for word in ("--set", change)]
    result = run_command(
        *("train", "--data", leaves, "--recipe", "default", "--cache", folder, "--out", out),
        *("--teacher", other, *changes),
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "cache-80" / "sources.u8").stat().st_size == 60 * 80 * 80 * 3
    assert "soft labels of other" in result.stderr
