"""Does a device give the CPU's answers? python -m tools.devices PHOTOS --device NAME

Diagnoses up to --count photos of a folder on the CPU and on the device, with the model that ships,
and compares the answers, the probabilities and the boxes. The two take turns, and the ratio of
their times is recorded. Writes an entry NAME of results/devices.json. Needs an ONNX Runtime that is
built for the device. Takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from leafzoom.inference.devices import CPU, DEVICES
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.paths import model_path
from leafzoom.photo_files import find_photos
from leafzoom.storage import write_json
from tools.model_digest import model_digest
from tools.provenance import ROOT, machine, short_commit

__all__ = ["compare_answers", "main"]

_RESULT = ROOT / "results" / "devices.json"
_ROUNDS = 5
_BATCH = 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Diagnose twice, compare, time, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--device", required=True, choices=[n for n in DEVICES if n != "auto"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, default=_RESULT)
    options = parser.parse_args(arguments)

    photos = find_photos([options.photos])[: options.count]
    networks = {
        name: open_network(options.model, device=name)
        for name in dict.fromkeys([CPU, options.device])
    }
    answers = {
        name: list(Predictor(network).predict_many(photos)) for name, network in networks.items()
    }
    entry = {
        "command": f"python -m tools.devices PHOTOS --device {options.device} "
        f"--count {options.count}",
        "commit": short_commit("src"),
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
        **compare_answers(answers[CPU], answers[options.device]),
        "time_ratio": _time_ratio(networks[CPU], networks[options.device]),
    }

    # Entries of another model are not kept: a file is of one model.
    result = {"name": "devices", "model_digest": model_digest(model_path(options.model))}
    if options.out.exists():
        earlier = json.loads(options.out.read_text())
        if earlier.get("model_digest") == result["model_digest"]:
            result = earlier
    write_json(options.out, {**result, options.device: entry})
    print(json.dumps(entry, indent=1))


def compare_answers(
    expected: Sequence[Prediction | FailedPhoto], answers: Sequence[Prediction | FailedPhoto]
) -> dict[str, Any]:
    """How near the answers of a device are to those of the CPU, over the photos that can be read.

    Raises:
        ValueError: another number of photos, or none that can be read.
    """
    pairs = [
        (first, second)
        for first, second in zip(expected, answers, strict=True)
        if isinstance(first, Prediction) and isinstance(second, Prediction)
    ]
    if not pairs:
        raise ValueError("no photo can be read")

    same = sum(_decision(first) == _decision(second) for first, second in pairs)
    return {
        "photos": len(pairs),
        "same_answers": same,
        "max_probability_difference": max(_probability_difference(*pair) for pair in pairs),
        "max_box_difference_px": max(_box_difference(*pair) for pair in pairs),
    }


def _decision(prediction: Prediction) -> tuple[object, ...]:
    return prediction.verdict, prediction.labels, prediction.likely


def _probability_difference(first: Prediction, second: Prediction) -> float:
    """The greatest difference over labels."""
    differences = [
        abs(probability - second.probabilities[label])
        for label, probability in first.probabilities.items()
    ]
    return round(max(differences), 6)


def _box_difference(first: Prediction, second: Prediction) -> float:
    """The greatest difference of an edge in pixels of the photo, over the looks."""
    differences = np.subtract(_boxes(first), _boxes(second))
    return round(float(np.abs(differences).max()), 2)


def _boxes(prediction: Prediction) -> list[tuple[float, float, float, float]]:
    return [scale.box for scale in prediction.scales]


def _time_ratio(cpu: Network, device: Network) -> float:
    """The device's time for a batch over the CPU's: the median of rounds, in turns."""
    side = cpu.manifest.source_size
    sources = np.random.default_rng(0).integers(0, 256, (_BATCH, side, side, 3), np.uint8)
    cpu(sources)
    device(sources)

    ratios = []
    for _ in range(_ROUNDS):
        cpu_seconds = _seconds(cpu, sources)
        ratios.append(_seconds(device, sources) / cpu_seconds)
    return round(float(np.median(ratios)), 2)


def _seconds(network: Network, sources: Any) -> float:
    start = time.perf_counter()
    network(sources)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
