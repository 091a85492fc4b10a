"""What is to be reached, and where its figure stands in the measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["TARGETS", "Target", "check_targets"]

_FIGURES = ("value", "low", "high", "lowest", "highest", "p95")
_VIEW = "source of the view's size"


@dataclass(frozen=True)
class Target:
    """A limit of one figure.

    `path`: of the figure below the parts. `at_least`: whether the limit is the least or the
    greatest value. `unit`: empty for ratios.
    """

    what: str
    path: tuple[str, ...]
    limit: float
    at_least: bool = False
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return value >= self.limit if self.at_least else value <= self.limit


TARGETS = (
    Target(
        "classifier-phase step / three plain training steps",
        ("steps", _VIEW, "classifier_over_three_plain_steps"),
        1.08,
    ),
    Target(
        "APN-phase step / three plain training steps",
        ("steps", _VIEW, "apn_over_three_plain_steps"),
        0.65,
    ),
    Target(
        "evaluation pass / three plain passes",
        ("steps", _VIEW, "evaluation_over_three_plain_passes"),
        1.03,
    ),
    Target(
        "the same with the default recipe's sources of 256 px, whose first view is cut too",
        ("steps", "default", "evaluation_over_three_plain_passes"),
        1.03,
    ),
    Target(
        "attention crop, forward and backward: per-sample loop / ours, batch 32",
        ("crop", "loop_over_ours"),
        8,
        at_least=True,
    ),
    Target(
        "peak memory of a classifier step / a plain step, batch 32",
        ("memory", "classifier_over_plain"),
        1.35,
    ),
    Target(
        "ONNX model, all heads / three ONNX passes, batch 1",
        ("exported_model", "efficientnet_b0, batch 1", "model_over_three_plain_passes"),
        1.08,
    ),
    Target(
        "ONNX model, all heads / three ONNX passes, batch 16",
        ("exported_model", "efficientnet_b0, batch 16", "model_over_three_plain_passes"),
        1.08,
    ),
    Target(
        "PyTorch as it comes / ONNX model, default backbone, batch 1",
        ("exported_model", "default, batch 1", "eager_over_model"),
        2.5,
        at_least=True,
    ),
    Target(
        "PyTorch as it comes / ONNX model, default backbone, batch 16",
        ("exported_model", "default, batch 16", "eager_over_model"),
        2.5,
        at_least=True,
    ),
    Target(
        "the shipped model (two looks), batch 16, PyTorch with `keep_freed_memory`, "
        "as `evaluate` runs it / ONNX",
        ("shipped_model", "with keep_freed_memory, batch 16", "eager_over_model"),
        2.5,
        at_least=True,
    ),
    Target(
        "augmented batches read / consumed by the classifier phase",
        ("pipeline", "efficientnet_b0", "read_over_consumed"),
        8,
        at_least=True,
    ),
    Target(
        "camera photo: full decode and resize / ours",
        ("decoding", "full_over_ours"),
        1.8,
        at_least=True,
    ),
    Target("one camera photo, file to diagnosis, p50", ("photos", "one_photo_ms"), 120, unit="ms"),
    Target(
        "`leafzoom predict photo.jpg`, start to finish",
        ("commands", "predict_seconds"),
        1.2,
        unit="s",
    ),
    Target(
        "folder of camera photos",
        ("photos", "folder_photos_a_second"),
        15,
        at_least=True,
        unit="photos a second",
    ),
    Target("`leafzoom --help`", ("commands", "help_seconds"), 0.25, unit="s"),
    Target(
        "fitting the fusions / one classifier epoch",
        ("fusion", "efficientnet_b0", "fit_over_epoch"),
        0.05,
    ),
)


def check_targets(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target whose part was measured: what, limit, figure with its spread, and whether it is
    met.
    """
    checked = []
    for target in TARGETS:
        figure = _figure(parts, target.path)
        if not figure:
            continue

        spread = {key: figure[key] for key in _FIGURES if key in figure}
        checked.append(
            {
                "what": target.what,
                "limit": target.limit,
                "at_least": target.at_least,
                "unit": target.unit,
                "met": target.is_met(figure["value"]),
                **spread,
            }
        )

    return checked


def _figure(parts: dict[str, Any], path: tuple[str, ...]) -> dict[str, float] | None:
    """The entry at a path below the parts; None where a step of it is missing."""
    entry: Any = parts
    for step in path:
        entry = entry.get(step) if entry else None
    figure: dict[str, float] | None = entry
    return figure
