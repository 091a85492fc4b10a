"""Measure how fast leafzoom is:
python -m benchmarks.run [--only PART]... [--photos FOLDER] [--quick] [--out FILE]

Everything is compared in one process, taken in turns (medians and quartiles of the ratios), on
random weights where time does not depend on them, and written to results/benchmarks.json with the
machine and the commit; docs/benchmarks.md shows it. Takes a quarter of an hour on two cores, with
nothing else running. --quick takes small networks, few rounds and one process: it shows that the
benchmarks work, and its figures mean nothing.

Parts: steps, crop, memory, kept_memory, exported_model, shipped_model, pipeline, decoding, photos,
commands, fusion, where_time_goes. With --only, the other parts of FILE stay as they are.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from benchmarks import inference, profiles, training
from benchmarks.crop import crop
from benchmarks.networks import EFFICIENTNET_B0, Settings
from benchmarks.targets import check_targets
from benchmarks.timing import cores
from tools.provenance import ROOT, commit
from tools.provenance import machine as plain_machine

__all__ = ["machine", "main", "parser", "parts"]

_QUICK = (
    "model.input_size=64",
    "data.source_size=96",
    "model.backbone=test_efficientnet",
    "model.batch_norm=keep",
)

Part = Callable[[], dict[str, Any]]


def main() -> None:
    """Measure, write."""
    options = parser()
    arguments = options.parse_args()
    all_parts = parts(arguments.quick, arguments.photos, arguments.device)

    unknown = sorted(set(arguments.only) - set(all_parts))
    if unknown:
        options.error(f"no part {unknown[0]}: there are {', '.join(all_parts)}")

    names = arguments.only or list(all_parts)

    if len(names) > 1 and not arguments.quick:
        _measure_in_processes(names, arguments)
        return

    # The parts that are not measured stay.
    figures = _earlier_figures(arguments.out, arguments.device) if arguments.only else {}
    for name in names:
        figures[name] = _measure(all_parts[name])
        print(name, json.dumps(figures[name]), flush=True)

    photos_option = ["--photos FOLDER"] if arguments.photos else []
    result = {
        "name": "benchmarks",
        "command": " ".join(["python -m benchmarks.run", *photos_option]),
        "machine": machine(arguments.device),
        "targets": check_targets(figures),
        "parts": {name: figures[name] for name in all_parts if name in figures},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("--only", action="append", default=[], metavar="PART")
    options.add_argument(
        "--photos", type=Path, help="a folder of camera photos (JPEG); else one is made"
    )
    options.add_argument("--device", default="cpu", help="of the steps: cpu or cuda")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks.json")

    return options


def parts(quick: bool, photo_folder: Path | None, device: str) -> dict[str, Part]:
    """What can be measured, by name.

    Args:
        quick: small networks and few rounds.
        photo_folder: of camera photos; None for a rendered one.
        device: of the steps.
    """
    batch_size = 4 if quick else 32
    rounds = 1 if quick else 7
    turns = 1 if quick else 3
    backbone: Settings = _QUICK if quick else EFFICIENTNET_B0
    subjects: Mapping[str, Settings] = {"efficientnet_b0": backbone}
    if not quick:
        subjects = {**subjects, "default": []}

    # Rendered or read once, for all parts that need photos.
    photos = functools.cache(lambda: inference.camera_photos(photo_folder))

    return {
        "steps": lambda: training.steps(
            batch_size=batch_size, rounds=rounds, backbone=backbone, device=device
        ),
        "crop": lambda: crop(batch_size=batch_size, rounds=3 * rounds),
        "memory": lambda: training.memory(batch_size=batch_size, turns=turns, backbone=backbone),
        "kept_memory": lambda: training.kept_memory(
            batch_size=batch_size, rounds=turns, turns=turns, subjects=subjects
        ),
        "exported_model": lambda: inference.exported_model(rounds=3 * rounds, subjects=subjects),
        "shipped_model": lambda: inference.shipped_against_eager(rounds=1 if quick else 2 * rounds),
        "pipeline": lambda: training.pipeline(
            batch_size=batch_size, rounds=rounds, subjects=subjects
        ),
        "decoding": lambda: inference.decoding(photos(), rounds=3 * rounds),
        "photos": lambda: inference.shipped_photos(
            photos(), rounds=30 * rounds, folder_size=12 if quick else 90
        ),
        "commands": lambda: inference.commands(photos(), rounds=rounds),
        "fusion": lambda: training.fusion(
            rounds=1 if quick else 2,
            batch_size=batch_size,
            subjects=subjects,
            photographs=60 if quick else training.VALIDATION_PHOTOGRAPHS,
        ),
        "where_time_goes": lambda: profiles.where_time_goes(batch_size=batch_size),
    }


def machine(device: str) -> dict[str, Any]:
    """The machine and the libraries of the measurements."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "steps_on": torch.cuda.get_device_name() if device == "cuda" else device,
        "platform": plain_machine()["platform"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _measure(part: Part) -> dict[str, Any]:
    """A part's figures, with leafzoom's version, the commit and the seconds that they took."""
    started = time.perf_counter()
    figures = part()
    seconds = round(time.perf_counter() - started, 1)
    return {
        **figures,
        "leafzoom": metadata.version("leafzoom"),
        "commit": commit("src", "benchmarks"),
        "measured_in_seconds": seconds,
    }


def _measure_in_processes(names: Sequence[str], arguments: argparse.Namespace) -> None:
    """Measure each part in a process of its own: none finds another's memory and threads."""
    out = arguments.out if arguments.only else arguments.out.with_suffix(".partial")
    options = ["--device", arguments.device, "--out", str(out)]
    if arguments.photos:
        options += ["--photos", str(arguments.photos)]

    for name in names:
        command = [sys.executable, "-m", "benchmarks.run", *options, "--only", name]
        subprocess.run(command, check=True)
    out.replace(arguments.out)


def _earlier_figures(path: Path, device: str) -> dict[str, Any]:
    """The parts that a results file holds, if it is of this machine."""
    if not path.is_file():
        return {}

    result = json.loads(path.read_text(encoding="utf-8"))
    if result["machine"] != machine(device):
        raise SystemExit(f"{path} is of another machine: give another --out")
    figures: dict[str, Any] = result["parts"]
    return figures


def _processor() -> str:
    """The processor's name, where the system says it."""
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
