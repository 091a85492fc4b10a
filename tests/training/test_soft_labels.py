"""Soft labels, and a training on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train
from leafzoom.training.soft_labels import soft_targets
from network_helpers import model_digest, silent


class Stop(Exception):  # noqa: N818
    """Ends a training between two epochs."""


def test_soft_labels_keep_the_side_that_the_label_is_on() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    probabilities = np.array([[0.0, 1.0], [0.5, 0.9]], np.float32)

    soft = soft_targets(targets, np.array([0, 2]), probabilities, 0.4)

    assert soft == pytest.approx(np.array([[0.6, 0.4], [0, 1], [0.8, 0.96]], np.float32))
    assert ((soft > 0.5) == (targets > 0)).all()


@pytest.mark.slow
def test_a_training_learns_from_them_and_resumes_from_stored_ones(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    hard = load_recipe("default", [*TINY, "fine_tuning.epochs=0"])
    soft = load_recipe("default", [*TINY, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"])
    init = str(trained / "model.safetensors")
    hard_run = tmp_path / "hard" / "run"
    soft_run = tmp_path / "soft" / "run"
    train(cache, split, hard, hard_run, init=init, echo=silent)
    train(cache, split, soft, soft_run, init=init, echo=silent)
    assert model_digest(soft_run) != model_digest(hard_run)

    # What is stored are the last fusion's probabilities.
    (file,) = soft_run.glob("soft-labels-*.npy")
    network = TorchNetwork(load_checkpoint(trained / "model.safetensors"))
    train_names = set(split.train)
    rows = [row for row, name in enumerate(cache.table.image_names) if name in train_names]
    expected = network(np.asarray(cache.sources[rows])).probabilities["fusion123"]
    assert np.load(file) == pytest.approx(expected, abs=1e-5)

    def stop(line: str) -> None:
        if "classifier" in line:
            raise Stop

    # Damaged, they are computed again.
    resumed_run = tmp_path / "resumed" / "run"
    with pytest.raises(Stop):
        train(cache, split, soft, resumed_run, init=init, echo=stop)
    (resumed_run / file.name).write_bytes(b"half")
    train(cache, split, soft, resumed_run, init=init, resume=True, echo=silent)
    assert model_digest(resumed_run) == model_digest(soft_run)
