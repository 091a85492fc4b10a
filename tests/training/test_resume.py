"""A stopped training that goes on ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import TrainingError
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training.run import Settings, train
from network_helpers import model_digest, silent, training_losses


class Stop(Exception):  # noqa: N818
    """Stands for a kill between two epochs."""


def test_the_same_seed_gives_the_same_run(
    trained: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    """With TensorBoard's log as well, which changes nothing."""
    out = tmp_path / "run"
    train(cache, split, tiny, out, settings=Settings(tensorboard=True), echo=silent)

    assert list((out / "tensorboard").glob("events.*"))
    assert training_losses(out) == training_losses(trained)
    assert model_digest(out) == model_digest(trained)


@pytest.mark.parametrize(
    "epochs_before_stop",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(2, marks=pytest.mark.slow),
        3,
        pytest.param(5, marks=pytest.mark.slow),
    ],
)
def test_resume_equals_an_uninterrupted_run(
    trained: Path,
    cache: Cache,
    split: Split,
    tiny: Recipe,
    tmp_path: Path,
    epochs_before_stop: int,
) -> None:
    out = tmp_path / "run"
    epochs = 0

    def echo(line: str) -> None:
        nonlocal epochs
        epochs += "(" in line
        if epochs == epochs_before_stop:
            raise Stop

    with pytest.raises(Stop):
        train(cache, split, tiny, out, echo=echo)
    assert not (out / "model.safetensors").exists()

    train(cache, split, tiny, out, resume=True, echo=silent)
    assert training_losses(out) == training_losses(trained)
    assert model_digest(out) == model_digest(trained)


def test_a_folder_holds_one_run(trained: Path, cache: Cache, split: Split, tiny: Recipe) -> None:
    with pytest.raises(TrainingError, match="holds a run already: go on with --resume"):
        train(cache, split, tiny, trained, echo=silent)

    other_recipe = load_recipe("default", [*TINY, "seed=1"])
    with pytest.raises(TrainingError, match="another recipe"):
        train(cache, split, other_recipe, trained, resume=True, echo=silent)

    fewer = Split(split.name, split.train[1:], split.validation, split.test)
    with pytest.raises(TrainingError, match="another split"):
        train(cache, fewer, tiny, trained, resume=True, echo=silent)

    # Another split with parts of the same sizes.
    train_part = (*split.train[1:], split.test[0])
    test_part = (*split.test[1:], split.train[0])
    exchanged = Split(split.name, train_part, split.validation, test_part)
    with pytest.raises(TrainingError, match="another split"):
        train(cache, exchanged, tiny, trained, resume=True, echo=silent)


def test_a_finished_run_stays_as_it_is(
    trained: Path, cache: Cache, split: Split, tiny: Recipe
) -> None:
    before = model_digest(trained)
    path = train(cache, split, tiny, trained, resume=True, echo=silent)
    assert path == trained / "model.safetensors"
    assert model_digest(trained) == before


def test_two_trainings_in_one_folder(
    cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    from filelock import FileLock

    message = "another training is at work"
    with FileLock(tmp_path / "lock"), pytest.raises(TrainingError, match=message):
        train(cache, split, tiny, tmp_path, echo=silent)
