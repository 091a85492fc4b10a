"""Metrics of networks with several looks that are no RA-CNN."""

from __future__ import annotations

from collections.abc import Callable

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.scale_outputs import ScaleOutputs, joined_outputs, scale_outputs
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model_file.outputs import look_heads
from leafzoom.training.processes import shared_outputs
from leafzoom.training.stages import TrainingContext
from leafzoom.training.validation_metrics import Logits, part_metrics

__all__ = ["look_metrics"]


def look_metrics(
    context: TrainingContext,
    network: AttentionNetwork,
    part: DatasetPart,
    name: str,
    joint_logits: Callable[[ScaleOutputs], Logits],
) -> dict[str, float]:
    """The metrics of every look on photographs, and of the logits [n, L] that join them.

    Args:
        context: of the training.
        network: it answers, with one head a look.
        part: the photographs.
        name: that the metrics of the joint logits get.
        joint_logits: computes them from the outputs of all looks.
    """
    fabric = context.fabric
    shares = shared_outputs(fabric, part, lambda share: scale_outputs(fabric, network, share))
    outputs = joined_outputs(shares)

    heads = look_heads(network.scales, network.framework)
    logits = dict(zip(heads, outputs.logits, strict=True))
    logits[name] = joint_logits(outputs)
    return part_metrics(
        logits,
        dict(zip(heads, outputs.boxes, strict=True)),
        part.part_targets,
        single_label=context.labels.single_label,
    )
