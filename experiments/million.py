"""What do the parts of a diagnosis cost? python -m experiments.million PHOTOS... [--device NAME]

Measures, for each folder of photos (small ones, and as cameras take them): bytes a photo, reading
and decoding, the first look alone, and all looks; and the share of all photos that stop after the
first look. On the CPU these are processor seconds of one thread: two runs beside other work
differed by a fifth. With --device they are seconds of the wall, on a machine that has no other
work. Writes the entry of the device in results/experiments/million.json; `python -m tools.tables`
makes the table of a million photos from it. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.publishing import result_path, write_result
from leafzoom.inference.devices import CPU, DEVICES
from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.photo import Source, read_source
from leafzoom.photo_files import FoundPhoto, find_photos
from leafzoom.storage import write_json
from tools.provenance import machine, short_commit

__all__ = ["main", "measure"]

_BATCH = 16
_ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--device", default=CPU, choices=DEVICES)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args(arguments)

    entry = {
        "command": f"python -m experiments.million PHOTOS... --count {options.count} "
        f"--device {options.device}",
        "commit": short_commit("src"),
        "machine": machine(),
        **measure(
            [find_photos([folder])[: options.count] for folder in options.photos],
            options.model,
            options.device,
        ),
    }
    path = options.out or result_path("million")
    result = json.loads(path.read_text()) if path.exists() else {"name": "million"}
    result[options.device] = entry
    if options.out:
        write_json(options.out, result)
    else:
        write_result("million", result)
    print(json.dumps(entry, indent=1))


def measure(folders: Sequence[Sequence[FoundPhoto]], model: str, device: str) -> dict[str, Any]:
    """The parts of each folder of photos, and the share of all that stops after the first look."""
    clock = time.process_time if device == CPU else time.perf_counter
    network = open_network(model, device=device, threads=1)
    can_exit = network.manifest.early_exit is not None
    predictor = Predictor(network, workers=1, early_exit=can_exit)

    result: dict[str, Any] = {
        "folders": [_measure_folder(photos, predictor, clock) for photos in folders]
    }
    if can_exit:
        photos = [photo for folder in folders for photo in folder]
        answers = [
            answer for answer in predictor.predict_many(photos) if isinstance(answer, Prediction)
        ]
        stopped = sum(len(answer.scales) == 1 for answer in answers)
        result["stop_share"] = round(stopped / len(answers), 3)
    return result


def _measure_folder(
    photos: Sequence[FoundPhoto], predictor: Predictor, clock: Callable[[], float]
) -> dict[str, Any]:
    """Milliseconds a photo of each part: the median over rounds."""
    network = predictor.network
    paths = [Path(str(photo)) for photo in photos]
    sources = [read_source(path, predictor.source_sizes) for path in paths]
    batch = _same_size([source.pixels for source in sources])

    def decode() -> None:
        for path in paths:
            read_source(path, predictor.source_sizes)

    result = {
        "photos": len(paths),
        "mean_bytes": round(float(np.mean([path.stat().st_size for path in paths]))),
        "mean_megapixels": round(float(np.mean([_pixels(source) for source in sources])) / 1e6, 2),
        "source_size": batch.shape[1],
        "decode_ms": _milliseconds(decode, len(paths), clock),
        "all_looks_ms": _milliseconds(lambda: network(batch), len(batch), clock),
    }
    if predictor.early_exit:
        first_ms = _milliseconds(lambda: network.first_look(batch), len(batch), clock)
        result["first_look_ms"] = first_ms
    return result


def _pixels(source: Source) -> int:
    width, height = source.photo_size
    return width * height


def _same_size(sources: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A batch of sources of the most frequent size."""
    sides = [len(source) for source in sources]
    side = max(set(sides), key=sides.count)
    return np.stack([source for source in sources if len(source) == side][:_BATCH])


def _milliseconds(work: Callable[[], object], photos: int, clock: Callable[[], float]) -> float:
    """Milliseconds a photo, the median over rounds after one that does not count."""
    work()
    durations = []
    for _ in range(_ROUNDS):
        start = clock()
        work()
        durations.append(clock() - start)
    return round(1000 * float(np.median(durations)) / photos, 2)


if __name__ == "__main__":
    main()
