"""Measure smaller and faster variants of a model:
python -m tools.variants DATA [--model M] [--split PART] [--every N] [--keep FOLDER] [--out FILE]

`float32`: weights stored in single precision. `int8 ...`: the backbones in eight-bit integers, with
some layers left in float32 (see `leafzoom.inference.quantization`), calibrated on photographs of
inner-train. Each against the model as it is: size, time in one process on one thread (interleaved,
median and quartiles of the ratios, batch 1 and 16), exact match of every head as `predict` decides,
what is lost of the answering head's exact match with its paired 95 % interval, and how far its
logits move. All variants are measured on every N-th photograph, the model itself and what
`leafzoom export --int8` writes on all of them. --keep keeps the variants' files, and reads those
that are there. Nothing else should run. Needs the photographs, 8 GB of memory and a quarter of an
hour. Writes results/variants.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from leafzoom.evaluation.bootstrap import percentile_interval, resample_means
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.quantization import (
    CALIBRATION_PHOTOGRAPHS,
    Layer,
    Ranges,
    activation_ranges,
    backbone_layers,
    first_layers,
    in_int8,
)
from leafzoom.labels import decide, log_odds
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.onnx_writer import finish_variant, in_single_precision, save_model
from leafzoom.model_file.paths import model_path
from tools.evaluation_data import LabelledPart, open_data, read_part, rows_of_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine

__all__ = ["EXPORTED", "main", "measure", "parser", "time_ratios"]

Probabilities = dict[str, NDArray[np.float32]]

EXPORTED = "int8, first two layers in float32"
"""The variant that `leafzoom export --int8` writes."""

_SHIPPED = "as it ships"
_SCORING_BATCH_SIZE = 16
_TIMED_BATCH_SIZES = (1, 16)
_ROUNDS = 7
_WARM_UP_ROUNDS = 1
_THREADS = 1
_PICTURE = 3  # channels
_LAST_BLOCK = 6  # of the backbone's stages
_NARROW_PHOTOGRAPHS = 32  # quantiles take long
_BEYOND = 1e-4  # the share of values beyond either end of a narrower range


@dataclass(frozen=True)
class _Choice:
    """What of the backbones is not quantized, and how the rest is.

    `in_float`: whether a layer stays in float32. `folds_clips`: whether clipping is folded into the
    convolution. `narrow`: whether ranges leave out the most extreme values.
    """

    in_float: Callable[[Layer], bool] = lambda layer: False
    folds_clips: bool = True
    narrow: bool = False


def main() -> None:
    """Make, measure, write."""
    arguments = parser().parse_args()
    path = model_path(arguments.model)
    manifest = OnnxNetwork(path).manifest

    cache = open_data(arguments.data, manifest.source_size)
    part = read_part(cache, arguments.split, manifest)
    rows = rows_of_part(cache, "inner-train", manifest)
    step = len(rows) // CALIBRATION_PHOTOGRAPHS
    calibration = np.asarray(cache.sources[rows[::step][:CALIBRATION_PHOTOGRAPHS]])

    # Many variants on some photographs, the one that users can have on all.
    some = LabelledPart(part.sources[:: arguments.every], part.targets[:: arguments.every])
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        variants = _write_variants(path, calibration, folder)
        exported = _lost_on_all(path, variants[EXPORTED], part)
        print(json.dumps(exported), flush=True)
        figures = measure(variants, some)

    result = {
        "name": "variants",
        "note": f"{len(some)} photographs (every {arguments.every}. of {arguments.split}); "
        f"int8 calibrated on {len(calibration)} of inner-train",
        "command": f"python -m tools.variants DATA --every {arguments.every}",
        "commit": commit("src", "tools"),
        "model_digest": model_digest(path),
        "machine": machine()["platform"],
        "threads": _THREADS,
        "variants": figures,
        "exported": exported,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.variants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("data", type=Path)
    options.add_argument("--model", default="bundled")
    options.add_argument("--split", default="inner-validation")
    options.add_argument(
        "--every", type=int, default=4, help="of the photographs, for all variants"
    )
    options.add_argument("--keep", type=Path, help="folder for the variants' files")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "variants.json")

    return options


# The variants.


def _choices(model: onnx.ModelProto) -> dict[str, _Choice]:
    """What can be left in float32, by name."""
    first = first_layers(model)
    pictures = {layer.name for layer in backbone_layers(model) if layer.channels == _PICTURE}
    scales = _scale_of_layers(model)
    return {
        "int8, clipping not folded": _Choice(folds_clips=False),
        "int8, narrower ranges": _Choice(narrow=True),
        "int8, all layers": _Choice(),
        "int8, first layer in float32": _Choice(lambda layer: layer.name in pictures),
        EXPORTED: _Choice(lambda layer: layer.name in first),
        "int8, first stage in float32": _Choice(lambda layer: _stage(layer) < 1),
        "int8, first two stages in float32": _Choice(lambda layer: _stage(layer) < 2),
        "int8, first four stages in float32": _Choice(lambda layer: _stage(layer) < 4),
        "int8, depthwise layers in float32": _Choice(lambda layer: layer.groups > 1),
        "int8, last layer in float32": _Choice(lambda layer: _stage(layer) > _LAST_BLOCK),
        "int8, scale 1 in float32": _Choice(lambda layer: scales[layer.name] == 1),
    }


def _stage(layer: Layer) -> int:
    """The number of a layer's stage, from 0; the first convolution's is -1."""
    if ".conv_stem." in layer.weight:
        return -1
    _, found, rest = layer.weight.partition(".blocks.")
    return int(rest.split(".")[0]) if found else _LAST_BLOCK + 1


def _scale_of_layers(model: onnx.ModelProto) -> dict[str, int]:
    """The number of each layer's scale, from 1, by the layer's name; a scale begins with a stem."""
    scale = 0
    scales = {}
    for layer in backbone_layers(model):
        scale += layer.channels == _PICTURE
        scales[layer.name] = scale
    return scales


def _write_variants(path: Path, calibration: NDArray[np.uint8], folder: Path) -> dict[str, Path]:
    """The model and its variants by name, the model first."""
    single = in_single_precision(onnx.load(path))
    choices = _choices(single)
    variants = {_SHIPPED: path, "float32": folder / "float32.onnx"}
    variants |= {name: folder / f"{number}.onnx" for number, name in enumerate(choices)}
    save_model(single, variants["float32"])

    # The ranges are the same for all variants but the narrow ones.
    ranges_of: dict[bool, Ranges] = {}
    for name, choice in choices.items():
        if variants[name].is_file():
            continue
        if choice.narrow not in ranges_of:
            ranges_of[choice.narrow] = _ranges(single, calibration, narrow=choice.narrow)
        save_model(_quantized(single, choice, ranges_of[choice.narrow]), variants[name])
    return variants


def _ranges(single: onnx.ModelProto, calibration: NDArray[np.uint8], *, narrow: bool) -> Ranges:
    """The ranges of the activations on all photographs, or narrower ones on some of them."""
    if not narrow:
        return activation_ranges(single, calibration, threads=_THREADS)
    few = calibration[:: len(calibration) // _NARROW_PHOTOGRAPHS]
    return activation_ranges(single, few, beyond=_BEYOND, threads=_THREADS)


def _quantized(single: onnx.ModelProto, choice: _Choice, ranges: Ranges) -> onnx.ModelProto:
    """A variant that can be read as a model."""
    layers = [layer for layer in backbone_layers(single) if choice.in_float(layer)]
    in_float = frozenset(name for layer in layers for name in layer.nodes)
    quantized = in_int8(single, ranges, in_float=in_float, fold_clips=choice.folds_clips)
    finish_variant(quantized)
    return quantized


# What is measured of them.


def measure(variants: Mapping[str, Path], part: LabelledPart) -> dict[str, dict[str, Any]]:
    """Size, scores and time of each variant; the first is what the others are compared with."""
    # The first network's probabilities are the reference.
    first_name, *_ = variants
    first = OnnxNetwork(variants[first_name], _THREADS)
    reference = _probabilities(first, part.sources)

    # One at a time: a network's memory for a batch is large.
    figures = {}
    for name, path in variants.items():
        network = first if name == first_name else OnnxNetwork(path, _THREADS)
        probabilities = _probabilities(network, part.sources)
        times = {
            f"batch {size}": time_ratios(first, network, part.sources[:size])
            for size in _TIMED_BATCH_SIZES
        }
        figures[name] = {
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "exact_match": _exact_match(probabilities, part, network.manifest),
            **_lost(probabilities, reference, part, network.manifest),
            "greatest_difference": _greatest_difference(probabilities, reference),
            "time_over_the_shipped": times,
        }
        print(name, json.dumps(figures[name]), flush=True)
    return figures


def time_ratios(first: OnnxNetwork, second: OnnxNetwork, sources: NDArray[np.uint8]) -> list[float]:
    """The second network's time over the first one's, in turns: quartiles."""
    ratios = []
    for number in range(_WARM_UP_ROUNDS + _ROUNDS):
        seconds = []
        for network in (first, second):
            started = time.perf_counter()
            network(sources)
            seconds.append(time.perf_counter() - started)

        if number >= _WARM_UP_ROUNDS:
            ratios.append(seconds[1] / seconds[0])
    return [round(float(quartile), 3) for quartile in np.percentile(ratios, (25, 50, 75))]


def _probabilities(network: OnnxNetwork, sources: NDArray[np.uint8]) -> Probabilities:
    """Every head's probabilities, [n, L]."""
    batches = [network(batch).probabilities for batch in _batches(sources, _SCORING_BATCH_SIZE)]

    probabilities = {}
    for head in batches[0]:
        probabilities[head] = np.concatenate([batch[head] for batch in batches])
    return probabilities


def _exact_match(
    probabilities: Probabilities, part: LabelledPart, manifest: Manifest
) -> dict[str, float]:
    """Of every head, as `predict` decides."""
    scores = {}
    for head, values in probabilities.items():
        answers = decide(values, manifest.decisions[head], manifest.labels)
        scores[head] = float((answers == part.targets).all(axis=1).mean())
    return scores


def _lost_on_all(path: Path, exported: Path, part: LabelledPart) -> dict[str, Any]:
    """What the exported variant loses on all photographs."""
    network = OnnxNetwork(exported, _THREADS)
    reference = _probabilities(OnnxNetwork(path, _THREADS), part.sources)
    probabilities = _probabilities(network, part.sources)
    return {
        "variant": EXPORTED,
        "photographs": len(part),
        "exact_match_of_the_shipped": _exact_match(reference, part, network.manifest),
        "exact_match": _exact_match(probabilities, part, network.manifest),
        **_lost(probabilities, reference, part, network.manifest),
    }


def _lost(
    probabilities: Probabilities,
    reference: Probabilities,
    part: LabelledPart,
    manifest: Manifest,
) -> dict[str, Any]:
    """How the answering head's exact match changes, and how far its logits move."""
    head = manifest.head
    right, right_before = (
        (decide(values[head], manifest.decisions[head], manifest.labels) == part.targets).all(
            axis=1
        )
        for values in (probabilities, reference)
    )
    change = right.astype(np.float64) - right_before
    interval = percentile_interval(resample_means({"change": change})["change"]).to_list()
    moved = log_odds(probabilities[head]) - log_odds(reference[head])
    return {
        "change": round(float(change.mean()), 5),
        "interval": [round(bound, 5) for bound in interval],
        "wrong_now": int((change < 0).sum()),
        "right_now": int((change > 0).sum()),
        "logits_moved": round(float(np.sqrt((moved**2).mean())), 4),
    }


def _greatest_difference(probabilities: Probabilities, reference: Probabilities) -> float:
    return max(
        float(np.abs(values - reference[head]).max()) for head, values in probabilities.items()
    )


def _batches(sources: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(sources), size):
        yield np.ascontiguousarray(sources[start : start + size])


if __name__ == "__main__":
    main()
