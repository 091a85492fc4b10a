"""Measure smaller and faster variants of a model:
python -m tools.variants DATA [--model M] [--split PART] [--out FILE]

`int8`: convolutions in eight-bit integers (ONNX Runtime's static quantization, a scale a channel,
calibrated on 128 photographs of inner-train). `float32`: weights stored in single precision. Each
against the model as it is: size, time in one process (interleaved, median and quartiles of the
ratios, batch 1 and 16), exact match of every head as `predict` decides, greatest difference in
probability. A variant ships only if it is better here. Takes minutes, with nothing else running,
and needs the photographs. Writes results/variants.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from leafzoom.dataset.cache import Cache
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import decide
from leafzoom.model_file.checksum import CHECKSUM_KEY
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import model_path
from tools.evaluation_data import LabelledPart, open_data, read_part, rows_of_part
from tools.provenance import ROOT, commit, machine

__all__ = ["in_single_precision", "main", "measure", "parser", "time_ratios", "without_checksum"]

Probabilities = dict[str, NDArray[np.float32]]

_CALIBRATION_PHOTOGRAPHS = 128
_CALIBRATION_BATCH_SIZE = 8
_SCORING_BATCH_SIZE = 16
_TIMED_BATCH_SIZES = (1, 16)
_ROUNDS = 15
_WARM_UP_ROUNDS = 3


def main() -> None:
    """Make, measure, write."""
    arguments = parser().parse_args()
    path = model_path(arguments.model)
    manifest = OnnxNetwork(path).manifest

    cache = open_data(arguments.data, manifest.source_size)
    part = read_part(cache, arguments.split, manifest)
    calibration = _calibration_sources(cache, manifest)

    with tempfile.TemporaryDirectory() as folder:
        variants = _write_variants(path, calibration, Path(folder))
        figures = measure(variants, part)

    result = {
        "name": "variants",
        "note": f"{len(part)} photographs ({arguments.split}); "
        f"int8 calibrated on {_CALIBRATION_PHOTOGRAPHS} of inner-train",
        "command": "python -m tools.variants DATA",
        "commit": commit(),
        "machine": machine()["platform"],
        "variants": figures,
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
    options.add_argument("--split", default="inner-select")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "variants.json")

    return options


# The variants.


class _CalibrationSources(CalibrationDataReader):  # type: ignore[misc]
    """Batches of sources for the calibration."""

    def __init__(self, sources: NDArray[np.uint8]) -> None:
        self.batches = _batches(sources, _CALIBRATION_BATCH_SIZE)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input of the network, or None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {"source": batch}


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its half-precision weights widened, and without the casts that did so."""
    initializers = {initializer.name: initializer for initializer in model.graph.initializer}

    nodes = []
    for node in model.graph.node:
        weight = initializers.get(node.input[0]) if node.op_type == "Cast" else None
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT16:
            nodes.append(node)
            continue

        # The weight takes the name of the cast's output.
        array = onnx.numpy_helper.to_array(weight).astype(np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, node.output[0]))

    # Protobuf's lists are replaced in place.
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def without_checksum(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its file's checksum, which no variant's bytes have."""
    entries = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    model.ClearField("metadata_props")
    model.metadata_props.extend(entries)
    return model


def _calibration_sources(cache: Cache, manifest: Manifest) -> NDArray[np.uint8]:
    """Photographs spread over the training part, uint8 [n, S, S, 3]."""
    rows = rows_of_part(cache, "inner-train", manifest)
    step = len(rows) // _CALIBRATION_PHOTOGRAPHS
    return np.asarray(cache.sources[rows[::step][:_CALIBRATION_PHOTOGRAPHS]])


def _write_variants(path: Path, calibration: NDArray[np.uint8], folder: Path) -> dict[str, Path]:
    """The model and its variants by name, the model first."""
    single = folder / "float32.onnx"
    onnx.save(in_single_precision(without_checksum(onnx.load(path))), single)

    # Weights and activations of the convolutions in eight bits.
    int8 = folder / "int8.onnx"
    quantize_static(
        single,
        int8,
        _CalibrationSources(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return {"as it ships": path, "float32": single, "int8": int8}


# What is measured of them.


def measure(variants: Mapping[str, Path], part: LabelledPart) -> dict[str, dict[str, Any]]:
    """Size, scores and time of each variant; the first is what the others are compared with."""
    networks = {name: OnnxNetwork(path) for name, path in variants.items()}
    ratios = {
        f"batch {size}": time_ratios(networks, part.sources[:size]) for size in _TIMED_BATCH_SIZES
    }

    # The first network's probabilities are the reference.
    reference: Probabilities = {}
    figures = {}
    for name, network in networks.items():
        probabilities = _probabilities(network, part.sources)
        reference = reference or probabilities
        figures[name] = {
            "megabytes": round(variants[name].stat().st_size / 1e6, 1),
            "exact_match": _exact_match(probabilities, part, network.manifest),
            "greatest_difference": _greatest_difference(probabilities, reference),
            "time_over_the_shipped": {batch: by_name[name] for batch, by_name in ratios.items()},
        }
        print(name, json.dumps(figures[name]))
    return figures


def time_ratios(
    networks: Mapping[str, OnnxNetwork], sources: NDArray[np.uint8]
) -> dict[str, list[float]]:
    """Each network's time over the first one's, one after the other in every round: quartiles."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(_WARM_UP_ROUNDS + _ROUNDS):
        for name, network in networks.items():
            started = time.perf_counter()
            network(sources)

            if number >= _WARM_UP_ROUNDS:
                seconds[name].append(time.perf_counter() - started)

    first = np.array(next(iter(seconds.values())))
    ratios = {}
    for name, durations in seconds.items():
        quartiles = np.percentile(np.array(durations) / first, (25, 50, 75))
        ratios[name] = [round(float(quartile), 3) for quartile in quartiles]
    return ratios


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


def _greatest_difference(probabilities: Probabilities, reference: Probabilities) -> float:
    return max(
        float(np.abs(values - reference[head]).max()) for head, values in probabilities.items()
    )


def _batches(sources: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(sources), size):
        yield np.ascontiguousarray(sources[start : start + size])


if __name__ == "__main__":
    main()
