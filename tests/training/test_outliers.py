"""training/outliers.py: `train --negatives`, and the detector that a training starts with."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.drawing import save_png
from leafzoom.errors import TrainingError
from leafzoom.fitting.outlier_detector import detector_accepting
from leafzoom.inference.loading import open_network
from leafzoom.model.build import load_outlier_detector
from leafzoom.model.ood_detector import OutlierDetector
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.outliers import find_negatives
from leafzoom.training.run import Settings, train
from network_helpers import silent

OWN_LEAVES = [*TINY[:5], "alternation.batch_size=12"]
SIZE = 64


def noise(seed: int) -> Image.Image:
    """A picture that shows no leaf: coarse coloured noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIZE, SIZE))


@pytest.fixture(scope="module")
def negatives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of other pictures, 16 each, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("negatives")
    for kind, first in (("noise", 0), ("rooms", 100)):
        (folder / kind).mkdir()
        for number in range(16):
            noise(first + number).save(folder / kind / f"{number}.png")
    (folder / "rooms" / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def own_run(
    trained: Path,
    cache: Cache,
    split: Split,
    negatives: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[str]]:
    """A run of `own-leaves` with negatives, and the lines that it printed."""
    out = tmp_path_factory.mktemp("own") / "run"
    lines: list[str] = []
    train(
        cache,
        split,
        load_recipe("own-leaves", OWN_LEAVES),
        out,
        init=str(trained / "model.safetensors"),
        settings=Settings(negatives=negatives),
        echo=lines.append,
    )
    return out, lines


def scores(network_path: Path, sources: np.ndarray) -> np.ndarray:
    """The out-of-distribution scores of sources."""
    return open_network(str(network_path))(sources).ood_score


def test_a_training_with_negatives_refuses_other_pictures(
    own_run: tuple[Path, list[str]], cache: Cache
) -> None:
    out, _ = own_run
    others = np.stack([np.asarray(noise(seed)) for seed in range(500, 540)])

    assert (scores(out / "model.safetensors", others) > 1).mean() > 0.9
    assert (scores(out / "model.safetensors", np.asarray(cache.sources[:40])) > 1).mean() < 0.1


def test_the_figures_by_kind_and_unreadable_pictures_are_printed(
    own_run: tuple[Path, list[str]],
) -> None:
    text = "\n".join(own_run[1])
    assert "negatives, noise: " in text
    assert "of 16 pass a detector that was fitted without this kind" in text
    assert "broken.jpg" in text


def test_the_detector_at_the_start_is_kept_while_the_first_scale_is(
    own_run: tuple[Path, list[str]], cache: Cache, split: Split, tmp_path: Path
) -> None:
    start = own_run[0] / "model.safetensors"
    kept = tmp_path / "kept"
    recipe = load_recipe("own-leaves", OWN_LEAVES)
    train(cache, split, recipe, kept, init=str(start), echo=silent)

    # Fine-tuned scales see differently, so their start's detector is no use.
    tuned = tmp_path / "tuned"
    recipe = load_recipe("own-leaves", [*OWN_LEAVES, "few_photographs.below=0", *TINY[5:]])
    train(cache, split, recipe, tuned, init=str(start), echo=silent)

    before = load_checkpoint(start).part("outliers")
    after = load_checkpoint(kept / "model.safetensors").part("outliers")
    assert all(torch.equal(before[name], after[name]) for name in ("shift", "scale", "weight"))
    assert after["bias"] <= before["bias"]
    assert load_outlier_detector(load_checkpoint(tuned / "model.safetensors")) is None


def test_the_reference_holds_the_scores_that_the_network_gives(
    own_run: tuple[Path, list[str]], cache: Cache, split: Split
) -> None:
    start = own_run[0] / "model.safetensors"
    manifest = load_checkpoint(start).manifest
    names = set(split.train + split.validation)
    rows = [row for row, name in enumerate(cache.table.image_names) if name in names]

    found = scores(start, np.asarray(cache.sources[rows]))
    reference = manifest.reference
    assert reference is not None
    bins = np.searchsorted(reference.ood_edges, found, side="left")
    counts = np.sum([histogram.ood_score for histogram in reference.answers], axis=0)
    assert np.abs(np.bincount(bins, minlength=len(counts)) - counts).sum() <= 4  # rounding at edges


def one_feature_detector() -> OutlierDetector:
    """A detector whose score is the exponential of the only feature."""
    detector = OutlierDetector(1)
    detector.weight.fill_(1.0)
    return detector


def test_the_limit_is_raised_for_leaves_that_lie_beyond_it() -> None:
    leaves = np.linspace(-3, 1, 100, dtype=np.float32)[:, None]
    detector = detector_accepting(one_feature_detector(), leaves)
    assert detector is not None
    assert (detector(torch.from_numpy(leaves)) > 1).float().mean() <= 0.01
    assert float(detector.bias) == pytest.approx(-1, abs=0.05)


def test_the_limit_is_not_lowered_and_a_detector_of_other_things_is_dropped() -> None:
    near = np.full((30, 1), -2, np.float32)
    detector = detector_accepting(one_feature_detector(), near)
    assert detector is not None
    assert float(detector.bias) == 0
    assert detector_accepting(one_feature_detector(), np.full((30, 1), 2, np.float32)) is None


def test_a_folder_that_cannot_serve_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is no folder"):
        find_negatives(tmp_path / "missing", silent)
    noise(0).save(tmp_path / "one.png")
    with pytest.raises(TrainingError, match="has 1 pictures and 20 are needed"):
        find_negatives(tmp_path, silent)


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    """20 pictures under odd names and in a linked folder, beside what is no picture."""
    elsewhere = tmp_path / "disk"
    folder = tmp_path / "others"
    for path in (elsewhere, folder / "rooms", folder / "@eaDir"):
        path.mkdir(parents=True)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked again").symlink_to(elsewhere)

    for number in range(18):
        noise(number).save(elsewhere / f"{number}.JPG")
    noise(18).save(folder / "rooms" / "a.jfif", "JPEG")
    noise(19).save(folder / "b.jpe", "JPEG")

    # None of these is a picture to learn from.
    noise(20).save(folder / "@eaDir" / "b.jpe", "JPEG")
    noise(21).save(folder / "._b.png", "PNG")
    save_png(noise(22), folder / "drawn.png")
    noise(23).save(folder / "scan.tif")
    return folder


def test_the_folder_is_searched_as_predict_searches(odd_folder: Path) -> None:
    lines: list[str] = []

    found = find_negatives(odd_folder, lines.append)

    kinds = Counter(negative.kind for negative in found)
    assert kinds == {"linked": 18, "rooms": 1, "others": 1}
    (line,) = lines
    assert line == (
        f"--negatives {odd_folder}: passed over: 1 picture of another format (1 .tif; convert to "
        "JPEG to read), 1 picture that leafzoom has drawn, 1 hidden file, 1 hidden folder "
        "(1 @eaDir), 1 linked folder that was read already"
    )


def test_an_archive_serves_too(negatives: Path, tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "others"), "zip", negatives)

    found = find_negatives(Path(path), silent)

    assert Counter(negative.kind for negative in found) == {"noise": 16, "rooms": 17}
    assert not (tmp_path / "others").exists()


def test_a_folder_that_cannot_be_listed_stops_the_training_at_its_start(
    odd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refusing(folder: Path) -> object:
        if folder.name == "rooms":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr("leafzoom.photo_files.os.scandir", refusing)

    with pytest.raises(TrainingError, match=r"others/rooms in --negatives cannot be read"):
        find_negatives(odd_folder, silent)


def test_the_command_names_the_folder(leaves: Path, tmp_path: Path) -> None:
    result = run_command(
        "train", "--data", leaves, "--recipe", "default", "--out", tmp_path / "run",
        "--negatives", tmp_path / "none",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "none is no folder" in result.output
