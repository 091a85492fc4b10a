"""The exported model against plain networks of its kind and against PyTorch; photos from file to
diagnosis.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import leafzoom
from benchmarks.networks import (
    Settings,
    Subject,
    export_plain,
    export_subject,
    random_sources,
)
from benchmarks.timing import cores, in_turns, median_and_range, process_seconds
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import DeployedNetwork, TorchNetwork
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.photo import read_source
from leafzoom.training.memory import keep_freed_memory

__all__ = [
    "camera_photos",
    "commands",
    "decoding",
    "exported_model",
    "open_session",
    "shipped_against_eager",
    "shipped_photos",
]

_BATCH_SIZES = (1, 16)
_FOLDER_ROUNDS = 3
_WARM_UP_PHOTOS = 3
_SOURCE_SIZE = 256  # pixels, of decoding
_LOG_FATAL_ONLY = 4
_JPEG_SUFFIXES = (".jpg", ".jpeg")


def exported_model(*, rounds: int, subjects: Mapping[str, Settings]) -> dict[str, Any]:
    """The ONNX model, all heads, against three passes of one plain backbone, and against PyTorch.

    Both run in ONNX Runtime with the same options. PyTorch runs the checkpoint in eval(), as
    `evaluate` does.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in subjects.items():
            subject = Subject.build("default", settings, batch_size=2)
            of_subject = _compare_exports(subject, Path(folder) / name, rounds)
            for batch, of_batch in of_subject.items():
                figures[f"{name}, {batch}"] = of_batch
    return figures


def _compare_exports(subject: Subject, folder: Path, rounds: int) -> dict[str, Any]:
    """One subject's figures by batch size."""
    folder.mkdir()
    # The same weights in three forms.
    model = OnnxNetwork(export_subject(subject, folder / "model.onnx"))
    plain = open_session(export_plain(subject, folder / "plain.onnx").read_bytes())
    eager = TorchNetwork(subject.checkpoint(folder))
    view_size = subject.recipe.model.input_size

    figures = {}
    for batch_size in _BATCH_SIZES:
        sources = random_sources(batch_size, subject.recipe.data.source_size)
        shape = (batch_size, 3, view_size, view_size)
        views = np.random.default_rng(0).random(shape, np.float32)

        candidates: dict[str, Callable[[], object]] = {
            "model": partial(model, sources),
            "plain": partial(plain.run, None, {"cut_views": views}),
            "eager": partial(eager, sources),
        }
        timings = in_turns(candidates, rounds=rounds, warm_up=3)
        figures[f"batch {batch_size}"] = {
            "model_over_three_plain_passes": timings.ratio("model", "plain", 3),
            "eager_over_model": timings.ratio("eager", "model"),
            "photographs_a_second": round(batch_size / timings.median("model"), 1),
            **{candidate: timings.milliseconds(candidate) for candidate in candidates},
        }
    return figures


def shipped_against_eager(*, rounds: int) -> dict[str, Any]:
    """The shipped model in ONNX Runtime against the same network in PyTorch: photographs a second.

    PyTorch first as it comes, then with `keep_freed_memory`, as `leafzoom evaluate` runs it.
    """
    model = OnnxNetwork(bundled_model())
    network = network_from_checkpoint(load_checkpoint(bundled_model()))
    deployed = DeployedNetwork(network).eval()

    @torch.inference_mode()
    def eager(sources: NDArray[np.uint8]) -> None:
        deployed(torch.from_numpy(sources))

    figures: dict[str, Any] = {}
    for keeps_memory in (False, True):
        allocator = "as PyTorch comes"
        if keeps_memory:
            keep_freed_memory()
            allocator = "with keep_freed_memory"

        for batch_size in _BATCH_SIZES:
            sources = random_sources(batch_size, model.manifest.source_size)

            candidates: dict[str, Callable[[], object]] = {
                "model": partial(model, sources),
                "eager": partial(eager, sources),
            }
            timings = in_turns(candidates, rounds=rounds)
            figures[f"{allocator}, batch {batch_size}"] = {
                "eager_over_model": timings.ratio("eager", "model"),
                "photographs_a_second": round(batch_size / timings.median("model"), 1),
            }
    return figures


def open_session(
    content: bytes, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU; by default with the options of `OnnxNetwork`."""
    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = _LOG_FATAL_ONLY
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def camera_photos(folder: Path | None) -> list[bytes]:
    """The JPEGs of a folder; without one, a rendered photo of 12 million pixels."""
    if folder is None:
        return [_rendered_photo()]

    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _JPEG_SUFFIXES]
    if not paths:
        raise SystemExit(f"{folder} has no JPEG: name a folder of camera photos")
    return [path.read_bytes() for path in paths]


def _rendered_photo() -> bytes:
    """A JPEG of 4000 x 3000 pixels: soft shapes and grain."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    enlarged = coarse.resize((4000, 3000), Image.Resampling.BICUBIC)
    soft = np.asarray(enlarged.filter(ImageFilter.GaussianBlur(4)))
    grain = random.integers(-8, 9, soft.shape[:2], dtype=np.int16)[:, :, None]

    pixels = (soft + grain).clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=92)
    return content.getvalue()


def decoding(photos: Sequence[bytes], *, rounds: int) -> dict[str, Any]:
    """A camera photo to its source, against decoding all of it and resizing."""

    def decode_fully() -> None:
        size = (_SOURCE_SIZE, _SOURCE_SIZE)
        for content in photos:
            with Image.open(io.BytesIO(content)) as image:
                image.convert("RGB").resize(size, Image.Resampling.BILINEAR)

    def decode_as_ours() -> None:
        for content in photos:
            read_source(content, _SOURCE_SIZE)

    timings = in_turns({"full": decode_fully, "ours": decode_as_ours}, rounds=rounds)
    return {
        "megapixels": [round(_pixels(content) / 1e6, 1) for content in photos],
        "full_over_ours": timings.ratio("full", "ours"),
        "ours": timings.milliseconds("ours"),
        "full": timings.milliseconds("full"),
    }


def shipped_photos(photos: Sequence[bytes], *, rounds: int, folder_size: int) -> dict[str, Any]:
    """The shipped model on camera photos: one by one from file to diagnosis, and a folder of them.

    Args:
        photos: JPEGs, which the folder repeats.
        rounds: photos that are timed one by one.
        folder_size: photos in the folder.
    """
    predictor = leafzoom.load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(folder_size):
            (folder / f"{number:03}.jpg").write_bytes(photos[number % len(photos)])

        # The first photos are slower.
        paths = sorted(folder.iterdir())
        for path in paths[:_WARM_UP_PHOTOS]:
            predictor(path)

        # From a photo's file to its diagnosis.
        milliseconds = []
        for number in range(rounds):
            started = time.perf_counter()
            predictor(paths[number % len(paths)])
            milliseconds.append(1000 * (time.perf_counter() - started))

        # A folder, whose next photos are decoded meanwhile.
        rates = []
        for _ in range(_FOLDER_ROUNDS):
            started = time.perf_counter()
            count = sum(1 for _ in predictor.predict_many(folder))
            rates.append(count / (time.perf_counter() - started))

    p50, p95 = (round(float(value), 1) for value in np.percentile(milliseconds, (50, 95)))
    return {
        "one_photo_ms": {"value": p50, "p95": p95, "rounds": rounds},
        "folder_photos_a_second": median_and_range(rates, 1),
    }


def commands(photos: Sequence[bytes], *, rounds: int) -> dict[str, Any]:
    """Commands from their start to their end, in processes of their own."""
    script = shutil.which("leafzoom", path=str(Path(sys.executable).parent))
    program = [script] if script else [sys.executable, "-m", "leafzoom"]

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(photos[0])
        for name, arguments in (
            ("help", ["--help"]),
            ("predict", ["predict", str(photo), "--format", "json"]),
        ):
            seconds = process_seconds([*program, *arguments], rounds=rounds)
            quartiles = np.percentile(seconds, (25, 50, 75))
            low, median, high = (round(float(value), 3) for value in quartiles)
            figures[f"{name}_seconds"] = {
                "value": median,
                "low": low,
                "high": high,
                "rounds": rounds,
            }
    return figures


def _pixels(content: bytes) -> int:
    """The pixels of a photo."""
    with Image.open(io.BytesIO(content)) as image:
        return image.width * image.height
