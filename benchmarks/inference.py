"""The exported model against plain networks of its kind and against PyTorch; photos from file to diagnosis."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from networks import Subject, exported, exported_plain, random_sources
from PIL import Image, ImageFilter
from timing import cores, in_turns, process_seconds

import leafzoom
from leafzoom.bundled import bundled_model
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import DeployedNetwork, TorchNetwork
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.checkpoint import load_checkpoint
from leafzoom.photo import read_source
from leafzoom.training.memory import keep_freed_memory

__all__ = ["camera_photos", "commands", "decoding", "exported_model", "shipped_against_eager", "shipped_photos"]


def exported_model(
    *, rounds: int, subjects: dict[str, list[str]], batches: tuple[int, ...] = (1, 16)
) -> dict[str, Any]:
    """The ONNX model, all heads, against three passes of one plain backbone, and against PyTorch.

    Both run in ONNX Runtime with the same options; PyTorch runs the checkpoint in eval(), as `evaluate` does.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in subjects.items():
            subject = Subject.of("default", values, batch=2)
            model = OnnxNetwork(exported(subject, Path(folder) / f"{name}.onnx"))
            plain = _session(exported_plain(subject, Path(folder) / f"{name}-plain.onnx"))
            eager = TorchNetwork(subject.checkpoint(Path(folder)))
            for batch in batches:
                sources = random_sources(batch, subject.recipe.data.source_size)
                view = np.random.default_rng(0).random((batch, 3, *[subject.recipe.model.input_size] * 2), np.float32)
                things: dict[str, Callable[[], object]] = {
                    "model": lambda model=model, sources=sources: model(sources),
                    "plain": lambda plain=plain, view=view: plain.run(None, {"cut_views": view}),
                    "eager": lambda eager=eager, sources=sources: eager(sources),
                }
                taken = in_turns(things, rounds=rounds, warm_up=3)
                found[f"{name}, batch {batch}"] = {
                    "model_over_three_plain_passes": taken.ratio("model", "plain", 3),
                    "eager_over_model": taken.ratio("eager", "model"),
                    "photographs_a_second": round(batch / float(np.median(taken.seconds["model"])), 1),
                    **{thing: taken.milliseconds(thing) for thing in things},
                }
    return found


def shipped_against_eager(*, rounds: int, batches: tuple[int, ...] = (1, 16)) -> dict[str, Any]:
    """The shipped model in ONNX Runtime against the same network in PyTorch: photographs a second.

    PyTorch first as it comes, then with `keep_freed_memory`, as `leafzoom evaluate` runs it.
    """
    found: dict[str, Any] = {}
    model = OnnxNetwork(bundled_model())
    network = network_from_checkpoint(load_checkpoint(bundled_model()))
    deployed = DeployedNetwork(network).eval()

    @torch.inference_mode()
    def eager(sources: np.ndarray) -> None:
        deployed(torch.from_numpy(sources))

    for kind in ("as PyTorch comes", "with keep_freed_memory"):
        if kind != "as PyTorch comes":
            keep_freed_memory()
        for batch in batches:
            sources = random_sources(batch, model.manifest.source_size)
            taken = in_turns(
                {"model": lambda s=sources: model(s), "eager": lambda s=sources: eager(s)}, rounds=rounds
            )
            found[f"{kind}, batch {batch}"] = {
                "eager_over_model": taken.ratio("eager", "model"),
                "photographs_a_second": round(batch / float(np.median(taken.seconds["model"])), 1),
            }
    return found


def _session(path: Path) -> onnxruntime.InferenceSession:
    """A session with the options of `OnnxNetwork`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def camera_photos(folder: Path | None) -> list[bytes]:
    """The JPEGs of a folder; without one, a photo of 12 million pixels that is made here (soft shapes and grain)."""
    if folder:
        found = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")]
        if not found:
            raise SystemExit(f"{folder} has no JPEG: name a folder of camera photos")
        return found
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(4)))
    grain = generator.integers(-8, 9, soft.shape[:2], dtype=np.int16)[:, :, None]
    content = io.BytesIO()
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=92)
    return [content.getvalue()]


def decoding(photos: list[bytes], *, rounds: int, size: int = 256) -> dict[str, Any]:
    """A camera photo to its source, against decoding all of it and resizing."""

    def full() -> None:
        for content in photos:
            with Image.open(io.BytesIO(content)) as image:
                image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)

    def ours() -> None:
        for content in photos:
            read_source(content, size)

    taken = in_turns({"full": full, "ours": ours}, rounds=rounds)
    return {
        "megapixels": [round(np.prod(Image.open(io.BytesIO(content)).size) / 1e6, 1) for content in photos],
        "full_over_ours": taken.ratio("full", "ours"),
        "ours": taken.milliseconds("ours"),
        "full": taken.milliseconds("full"),
    }


def shipped_photos(photos: list[bytes], *, rounds: int, folder_size: int) -> dict[str, Any]:
    """The shipped model on camera photos: one by one from file to diagnosis, and a folder of them."""
    predictor = leafzoom.load()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(folder_size):
            (Path(folder) / f"{number:03}.jpg").write_bytes(photos[number % len(photos)])
        paths = sorted(Path(folder).iterdir())
        for path in paths[:3]:
            predictor(path)
        seconds = []
        for number in range(rounds):
            started = time.perf_counter()
            predictor(paths[number % len(paths)])
            seconds.append(time.perf_counter() - started)
        rates = []
        for _ in range(3):
            started = time.perf_counter()
            count = sum(1 for _ in predictor(Path(folder)))
            rates.append(count / (time.perf_counter() - started))
    p50, p95 = np.percentile(np.array(seconds) * 1000, (50, 95))
    return {
        "one_photo_ms": {"value": round(float(p50), 1), "p95": round(float(p95), 1), "rounds": rounds},
        "folder_photos_a_second": {
            "value": round(float(np.median(rates)), 1),
            "lowest": round(min(rates), 1),
            "highest": round(max(rates), 1),
            "rounds": len(rates),
        },
    }


def commands(photos: list[bytes], *, rounds: int) -> dict[str, Any]:
    """Commands from their start to their end, in processes of their own."""
    leafzoom_command = shutil.which("leafzoom", path=str(Path(sys.executable).parent))
    program = [leafzoom_command] if leafzoom_command else [sys.executable, "-m", "leafzoom.cli"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(photos[0])
        for name, arguments in {"help": ["--help"], "predict": ["predict", str(path), "--format", "json"]}.items():
            seconds = process_seconds([*program, *arguments], rounds=rounds)
            low, median, high = (round(float(q), 3) for q in np.percentile(seconds, (25, 50, 75)))
            found[f"{name}_seconds"] = {"value": median, "low": low, "high": high, "rounds": rounds}
    return found
