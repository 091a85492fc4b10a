"""Results in a folder, resumed after an interruption."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.results_folder import diagnose_into
from leafzoom.photo_files import find_photos

BATCH_SIZE = 3


class CountingNetwork:
    """A network that counts its photos, and may be interrupted after some."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.manifest = network.manifest
        self.source_sizes = network.source_sizes
        self.has_evidence = network.has_evidence
        self.device_name = network.device_name
        self.photos = 0
        self.interrupt_after: int | None = None

    def __call__(self, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays:
        if self.interrupt_after is not None and self.photos >= self.interrupt_after:
            raise KeyboardInterrupt
        self.photos += len(sources)
        return self.network(sources)


@pytest.fixture
def photos(leaves: Path, tmp_path: Path) -> list[Path]:
    """Twelve photos in a folder of their own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((leaves / "train_images").iterdir())[:12]:
        shutil.copy2(path, folder)
    return find_photos([folder])


@pytest.fixture
def network(trained: Path) -> CountingNetwork:
    return CountingNetwork(open_network(str(trained)))


@pytest.fixture
def predictor(network: CountingNetwork) -> Predictor:
    return Predictor(network, batch_size=BATCH_SIZE)


def predicted_photos(out: Path) -> list[str]:
    lines = (out / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["photo"] for line in lines]


def test_an_interrupted_folder_resumes(
    photos: list[Path], network: CountingNetwork, predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    network.interrupt_after = 6
    with pytest.raises(KeyboardInterrupt):
        diagnose_into(out, photos, predictor, model="a")
    assert len(list(out.glob("*.png"))) == 6
    assert not (out / "index.html").exists()

    network.interrupt_after = None
    network.photos = 0
    progress: list[int] = []
    diagnose_into(out, photos, predictor, model="a", progress=progress.append).close()

    assert network.photos == 6
    assert sum(progress) == 12
    assert predicted_photos(out) == [str(photo) for photo in photos]


def test_a_finished_folder_is_not_diagnosed_a_second_time(
    photos: list[Path], network: CountingNetwork, predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    diagnose_into(out, photos, predictor, model="a").close()
    lines = (out / "predictions.jsonl").read_text()
    network.photos = 0

    diagnose_into(out, photos, predictor, model="a").close()

    assert network.photos == 0
    assert (out / "predictions.jsonl").read_text() == lines


def test_only_a_changed_photo_is_diagnosed_a_second_time(
    photos: list[Path], network: CountingNetwork, predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    diagnose_into(out, photos, predictor, model="a").close()
    network.photos = 0
    os.utime(photos[4], (1, 1))

    journal = diagnose_into(out, photos[:8], predictor, model="a")

    assert network.photos == 1
    assert journal.count() == len(predicted_photos(out)) == 8
    journal.close()


def test_another_model_diagnoses_everything(
    photos: list[Path], network: CountingNetwork, predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    diagnose_into(out, photos, predictor, model="a").close()
    network.photos = 0

    diagnose_into(out, photos, predictor, model="b").close()

    assert network.photos == 12
    assert len(list(out.glob("*.png"))) == 12


def test_a_photo_that_disappears_before_it_is_drawn_is_a_failed_one(
    photos: list[Path], predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Prediction.save

    def save_after_deletion(self: Prediction, path: Path) -> None:
        photos[1].unlink(missing_ok=True)
        save(self, path)

    monkeypatch.setattr(Prediction, "save", save_after_deletion)

    journal = diagnose_into(tmp_path / "out", photos[:3], predictor, model="a")

    first, second, third = journal.results()
    journal.close()
    assert second.result == FailedPhoto(
        str(photos[1]), f"{photos[1]} does not exist: check the path"
    )
    assert second.picture is None
    assert isinstance(first.result, Prediction)
    assert isinstance(third.result, Prediction)
