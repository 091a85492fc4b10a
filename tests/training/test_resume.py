"""A stopped training that goes on ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import TrainingError
from leafzoom.model_file.checkpoint import load_checkpoint, tensors_digest
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training.run import Settings, train
from network_helpers import model_digest, silent, training_losses
from whole_trainings import assert_resumes_alike


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


# All that a recipe can add to what a photograph teaches.
MORE = (
    *TINY,
    "fine_tuning.input_sizes=[32, 64]",
    "fine_tuning.weight_average=0.9",
    "augmentation.mix=0.5",
    "alternation.rounds=1",
    "alternation.classifier_epochs=1",
    "alternation.label_smoothing=0.1",
    "alternation.combination_loss=0.5",
    "alternation.weight_average=0.9",
)


@pytest.fixture(scope="module")
def more(cache: Cache, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of that recipe that was not stopped."""
    out = tmp_path_factory.mktemp("more") / "run"
    train(cache, split, load_recipe("default", MORE), out, echo=silent)
    return out


@pytest.mark.parametrize(
    "states_before_stop",
    [
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(6, marks=pytest.mark.slow),
        13,
        pytest.param(20, marks=pytest.mark.slow),
    ],
)
def test_resume_in_the_middle_of_an_epoch_with_all_additions(
    more: Path, cache: Cache, split: Split, tmp_path: Path, states_before_stop: int
) -> None:
    """A state is saved after every batch: of four an epoch, over five epochs."""
    recipe = load_recipe("default", MORE)
    out = tmp_path / "run"
    assert_resumes_alike(more, cache, split, recipe, out, states_before_stop=states_before_stop)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["authors", "demo", "joint-loss", "own-leaves", "paper"])
def test_recipes_with_other_fits_and_objectives_resume_bit_for_bit(
    name: str, cache: Cache, split: Split, tmp_path: Path
) -> None:
    """Stopped in the fine-tuning, and after the last epoch. The other recipes have the same."""
    recipe = load_recipe(name, [*TINY, "alternation.frozen_stages=0", "few_photographs.below=0"])
    finished = tmp_path / "finished" / "run"  # a model has the name of its folder
    lines: list[str] = []
    train(cache, split, recipe, finished, echo=lines.append)
    epochs = sum("(" in line for line in lines)

    for epochs_before_stop in (1, epochs):
        out = tmp_path / str(epochs_before_stop) / "run"
        done = 0

        def echo(line: str, last: int = epochs_before_stop) -> None:
            nonlocal done
            done += "(" in line
            if done == last:
                raise Stop

        with pytest.raises(Stop):
            train(cache, split, recipe, out, echo=echo)
        train(cache, split, recipe, out, resume=True, echo=silent)
        assert training_losses(out) == training_losses(finished)
        assert model_digest(out) == model_digest(finished)


def test_additions_that_are_off_change_nothing(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    """Given as their defaults, and with another way of mixing no batches."""
    off = (
        "fine_tuning.input_sizes=[64]",
        "fine_tuning.weight_average=0",
        "augmentation.mix=0",
        "augmentation.mix_method=mixup",
        "augmentation.mix_alpha=0.2",
        "alternation.label_smoothing=0",
        "alternation.combination_loss=0",
        "alternation.weight_average=0",
    )
    out = tmp_path / "run"
    train(cache, split, load_recipe("default", [*TINY, *off]), out, echo=silent)

    assert training_losses(out) == training_losses(trained)
    tensors = load_checkpoint(out / "model.safetensors").tensors
    expected = load_checkpoint(trained / "model.safetensors").tensors
    assert tensors_digest(tensors) == tensors_digest(expected)
