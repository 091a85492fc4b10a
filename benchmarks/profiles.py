"""Where the time goes, by PyTorch's and ONNX Runtime's profilers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from networks import Subject, random_sources
from torch.profiler import ProfilerActivity, profile

from leafzoom.bundled import bundled_model
from leafzoom.training.memory import keep_freed_memory

__all__ = ["where_time_goes"]

_MOST = 10


def where_time_goes(*, batch: int) -> dict[str, Any]:
    """The share of the time of each kind of operation, in percent, of each kind of step and of the shipped model."""
    keep_freed_memory()
    subject = Subject.of("default", ["model.backbone=efficientnet_b0", "model.batch_norm=keep"], batch=batch)
    found = {
        "classifier step, EfficientNet-B0": _of_torch(subject.classifier_step),
        "APN step, EfficientNet-B0": _of_torch(subject.apn_step),
        "evaluation pass, EfficientNet-B0": _of_torch(subject.evaluation_pass),
        "classifier step, default recipe": _of_torch(Subject.of("default", [], batch=batch).classifier_step),
    }
    return {**found, "shipped model, batch 8": _of_onnx(bundled_model(), 8)}


def _of_torch(step: Callable[[], None]) -> dict[str, float]:
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    times = Counter({event.key: event.self_cpu_time_total for event in profiler.key_averages()})
    return _shares(times)


def _of_onnx(path: Path, batch: int) -> dict[str, float]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        sources = random_sources(batch, session.get_inputs()[0].shape[1])
        for _ in range(5):
            session.run(None, {"source": sources})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and "op_name" in event.get("args", {}):
            times[event["args"]["op_name"]] += event["dur"]
    return _shares(times)


def _shares(times: Counter[str]) -> dict[str, float]:
    total = sum(times.values())
    shares = {name: round(100 * taken / total, 1) for name, taken in times.most_common(_MOST)}
    return {**shares, "the rest": round(100 - float(np.sum(list(shares.values()))), 1)}
