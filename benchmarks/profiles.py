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
from torch.profiler import ProfilerActivity, profile

from benchmarks.inference import open_session
from benchmarks.networks import EFFICIENTNET_B0, Subject, random_sources
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_subgraph import output_names, with_outputs
from leafzoom.model_file.outputs import OOD_SCORE_OUTPUT, box_outputs, probability_outputs
from leafzoom.training.memory import keep_freed_memory

__all__ = ["where_time_goes"]

_LISTED_OPERATIONS = 10
_ONNX_BATCH_SIZE = 8
_ONNX_ROUNDS = 5
_LOG_FATAL_ONLY = 4


def where_time_goes(*, batch_size: int) -> dict[str, Any]:
    """Each operation's share of the time of every kind of step, and of the shipped model, in
    percent.
    """
    keep_freed_memory()
    efficientnet = Subject.build("default", EFFICIENTNET_B0, batch_size=batch_size)
    default = Subject.build("default", [], batch_size=batch_size)

    return {
        "classifier step, EfficientNet-B0": _profile_torch(efficientnet.classifier_step),
        "APN step, EfficientNet-B0": _profile_torch(efficientnet.apn_step),
        "evaluation pass, EfficientNet-B0": _profile_torch(efficientnet.evaluation_pass),
        "classifier step, default recipe": _profile_torch(default.classifier_step),
        "shipped model, batch 8": _profile_onnx(bundled_model(), _ONNX_BATCH_SIZE),
    }


def _profile_torch(step: Callable[[], None]) -> dict[str, float]:
    """The second of two steps."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()

    times = Counter({event.key: event.self_cpu_time_total for event in profiler.key_averages()})
    return _shares(times)


def _profile_onnx(path: Path, batch_size: int) -> dict[str, float]:
    """Some runs of a model, the first one with them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY
    options.enable_profiling = True

    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        content, manifest = read_onnx(path)
        session = open_session(with_outputs(content, _usual_outputs(content, manifest)), options)
        sources = random_sources(batch_size, manifest.source_size)
        for _ in range(_ONNX_ROUNDS):
            session.run(None, {"source": sources})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))

    # Events of nodes, not of the session.
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and "op_name" in event.get("args", {}):
            times[event["args"]["op_name"]] += event["dur"]
    return _shares(times)


def _usual_outputs(content: bytes, manifest: Manifest) -> list[str]:
    """What `predict` asks for, without maps."""
    names = [*probability_outputs(manifest.network_heads), *box_outputs(manifest.look_heads)]
    return [*names, *output_names(content).intersection([OOD_SCORE_OUTPUT])]


def _shares(times: Counter[str]) -> dict[str, float]:
    """The largest shares in percent, and the rest."""
    total = sum(times.values())
    largest = times.most_common(_LISTED_OPERATIONS)
    shares = {name: round(100 * time / total, 1) for name, time in largest}
    rest = 100 - float(np.sum(list(shares.values())))
    return {**shares, "the rest": round(rest, 1)}
