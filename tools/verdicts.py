"""Measure the verdicts of a model:
python -m tools.verdicts DATA --other NAME=FOLDER... [--model M] [--split PART] [--out FILE]

How many leaves of a part of DATA are rejected: upright, turned by a quarter, in grey, and blurred.
How many leaves from elsewhere, in colour and in grey (--elsewhere NAME=FOLDER, which has images and
labels.csv). How many other pictures are rejected: those below the folders (one of each group of
near-duplicates) and 120 rendered scenes. Names every picture that passed as a leaf. Takes minutes
and needs the photographs. Writes results/verdicts.json. The wallpapers came from Debian's packages
(dpkg -x), the sample pictures from scikit-learn, scikit-image and mahotas; none is in this
repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leafzoom.dataset.audit import duplicate_groups, near_duplicates
from leafzoom.errors import PhotoError
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network
from leafzoom.inference.verdict import SelectivePrediction, selective_predictions
from leafzoom.model_file.paths import model_path
from leafzoom.photo import SUFFIXES, read_source
from tools.evaluation_data import LabelledPart, in_grey, open_data, read_labelled_folder, read_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit
from tools.scenes import render_scenes

__all__ = ["main", "parser", "read_pictures", "verdicts_of_leaves", "verdicts_of_pictures"]

_SCENES = 120
_BLURS_PX = (1, 2, 4, 8)
_CHANGED_STEP = 8  # every eighth leaf is blurred or made grey
_BATCH_SIZE = 16


@dataclass(frozen=True)
class Pictures:
    """Pictures that are no leaves: names, and sources uint8 [n, S, S, 3]."""

    names: list[str]
    sources: NDArray[np.uint8]


def main() -> None:
    """Measure and write."""
    arguments = parser().parse_args()
    network = open_network(arguments.model)
    manifest = network.manifest

    cache = open_data(arguments.data, manifest.source_size)
    leaves = read_part(cache, arguments.split, manifest)
    folders = dict(_name_and_folder(option) for option in arguments.other)

    elsewhere = dict(_name_and_folder(option) for option in arguments.elsewhere)

    of_leaves = _measure_leaves(network, leaves)
    for name, folder in elsewhere.items():
        part = read_labelled_folder(folder, manifest.labels.names, manifest.source_size)
        of_leaves[name] = verdicts_of_leaves(network, part)
        of_leaves[f"{name}, in grey"] = verdicts_of_leaves(
            network, LabelledPart(in_grey(part.sources), part.targets)
        )
    of_others = _measure_others(network, folders)

    options = " ".join(
        [f"--elsewhere '{name}=…'" for name in elsewhere]
        + [f"--other '{name}=…'" for name in folders]
    )
    result = {
        "name": "verdicts",
        "model": manifest.name,
        "note": f"{len(leaves)} photographs ({arguments.split}), blurred and grey ones every "
        "eighth; other pictures without near-duplicates",
        "command": f"python -m tools.verdicts DATA --split {arguments.split} {options}",
        "commit": commit(),
        "model_digest": model_digest(model_path(arguments.model)),
        "leaves": of_leaves,
        "other": of_others,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    for name, figures in {**of_leaves, **of_others}.items():
        print(name, {key: value for key, value in figures.items() if key != "passed as leaves"})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("data", type=Path)
    options.add_argument("--other", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--elsewhere", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--model", default="bundled")
    options.add_argument("--split", default="inner-report")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "verdicts.json")

    return options


def verdicts_of_leaves(network: Network, leaves: LabelledPart) -> dict[str, Any]:
    """Shares of the verdicts, and how often the best answer is right: of all leaves, and of those
    that get a diagnosis. Of the diseased leaves, the share that is diagnosed as healthy.
    """
    predictions = _predict(network, leaves.sources)
    verdicts = np.array([prediction.verdict for prediction in predictions])
    answers = np.array([prediction.label_vector for prediction in predictions])
    correct = (answers == leaves.targets).all(axis=1)
    diagnosed = verdicts == "diagnosis"

    # Diseased leaves that are called healthy: the worst mistake for a grower.
    healthy = network.manifest.labels.names.index("healthy")
    diseased = leaves.targets[:, healthy] == 0
    missed = diseased & diagnosed & (answers[:, healthy] == 1)

    return {
        "photographs": len(leaves),
        "not_a_leaf": float((verdicts == "not_a_leaf").mean()),
        "unsure": float((verdicts == "unsure").mean()),
        "exact_match": float(correct.mean()),
        "diseased": int(diseased.sum()),
        "diseased_called_healthy": int(missed.sum()),
        "exact_match_of_diagnoses": float(correct[diagnosed].mean()) if diagnosed.any() else None,
    }


def verdicts_of_pictures(network: Network, pictures: Pictures) -> dict[str, Any]:
    """The share of pictures that are rejected, the share without a diagnosis, and those that passed
    as leaves by name.
    """
    predictions = _predict(network, pictures.sources)

    passed = []
    for name, prediction in zip(pictures.names, predictions, strict=True):
        if prediction.verdict != "not_a_leaf":
            passed.append(f"{name} ({prediction.ood_score:.2f}, {prediction.verdict})")

    count = len(predictions)
    diagnosed = sum(prediction.verdict == "diagnosis" for prediction in predictions)
    return {
        "pictures": count,
        "not_a_leaf": 1 - len(passed) / count,
        "no_diagnosis": 1 - diagnosed / count,
        "passed as leaves": passed,
    }


def read_pictures(folder: Path, size: int) -> Pictures:
    """The pictures below a folder, one of each group of near-duplicates.

    Args:
        folder: searched with all folders in it; what cannot be read is printed and left out.
        size: S, side of the sources in pixels.
    """
    names = []
    sources = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or path.is_symlink():
            continue

        try:
            sources.append(read_source(path, size).pixels)
        except PhotoError as error:
            print(f"left out: {error}")
            continue
        names.append(str(path.relative_to(folder)))

    # The first picture of each group of near-duplicates.
    stacked = np.stack(sources)
    groups = duplicate_groups(len(stacked), near_duplicates(stacked))
    _, first_of_group = np.unique(groups, return_index=True)
    return Pictures([names[index] for index in first_of_group], stacked[first_of_group])


def _measure_leaves(network: Network, leaves: LabelledPart) -> dict[str, dict[str, Any]]:
    """The verdicts on leaves as they are, turned by a quarter, in grey, and blurred."""
    turned = LabelledPart(np.rot90(leaves.sources, axes=(1, 2)), leaves.targets)
    figures = {
        "upright": verdicts_of_leaves(network, leaves),
        "turned by a quarter": verdicts_of_leaves(network, turned),
    }

    # Changed ones, of which fewer are enough.
    few = LabelledPart(leaves.sources[::_CHANGED_STEP], leaves.targets[::_CHANGED_STEP])
    figures["in grey"] = verdicts_of_leaves(
        network, LabelledPart(in_grey(few.sources), few.targets)
    )
    size = network.manifest.source_size
    for sigma_px in _BLURS_PX:
        blurred = LabelledPart(_blur(few.sources, sigma_px), few.targets)
        figures[f"blurred by {sigma_px} px of {size}"] = verdicts_of_leaves(network, blurred)
    return figures


def _measure_others(network: Network, folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """The verdicts on rendered scenes and on the pictures of some folders."""
    size = network.manifest.source_size
    names = [f"scene {number}" for number in range(_SCENES)]
    scenes = Pictures(names, np.stack(list(render_scenes(_SCENES, size))))

    figures = {"rendered scenes": verdicts_of_pictures(network, scenes)}
    for name, folder in folders.items():
        figures[name] = verdicts_of_pictures(network, read_pictures(folder, size))
    return figures


def _predict(network: Network, sources: NDArray[np.uint8]) -> Sequence[SelectivePrediction]:
    """The predictions for sources [n, S, S, 3]."""
    predictions: list[SelectivePrediction] = []
    for start in range(0, len(sources), _BATCH_SIZE):
        arrays = network(np.ascontiguousarray(sources[start : start + _BATCH_SIZE]))
        predictions += selective_predictions(arrays, network.manifest)
    return predictions


def _blur(sources: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Sources [n, S, S, 3] blurred by a Gaussian."""
    blur = ImageFilter.GaussianBlur(sigma_px)
    return np.stack([np.asarray(Image.fromarray(source).filter(blur)) for source in sources])


def _name_and_folder(option: str) -> tuple[str, Path]:
    """The parts of NAME=FOLDER."""
    name, _, folder = option.partition("=")
    return name, Path(folder)


if __name__ == "__main__":
    main()
