"""An arm's networks given other boxes, chosen among the nine that scale 2 was measured at.

Kinds of boxes: `nine`: the mean of scale 2's logits over all nine. `middle`: the middle one.
`random`: a random one. `oracle`: the one with the least loss, which needs the labels.
`gain`: the one with the least predicted loss (see python -m experiments.gain). `gain3`: the mean
over the first three in that order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.arm_results import ArmResult
from experiments.measured_runs import MeasuredRun, find_runs
from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.fusion import LinearLayer, fit_lbfgs
from leafzoom.labels import LabelSet, decide
from leafzoom.model.fusion import Fusion, fusion_head
from leafzoom.model_file.checkpoint import load_checkpoint

__all__ = ["binary_cross_entropies", "fusion_inputs", "with_boxes"]

_MIDDLE_BOX = 4

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class _NineBoxes:
    """Outputs of a run on one part of the photographs.

    `logits`: [n, 10, L], scale 1's and scale 2's at nine boxes. `targets`: [n, L]. `order`: of the
    boxes, [n, 9], that of the least predicted loss first; None unless `gain` boxes are used.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.uint8]
    order: NDArray[np.intp] | None = None


def with_boxes(runs: Path, boxes: str, result: ArmResult) -> ArmResult:
    """The result of an arm's networks when they are given boxes of another kind.

    The fusion and its decision are fitted on the validation part with boxes of that kind.

    Args:
        runs: the folder of all runs.
        boxes: the kind, see above.
        result: of the same arm with the boxes it was trained with.

    Raises:
        SystemExit: a run lacks gain.npz, and the kind needs it.
    """
    correct = []
    explained = []
    for run in find_runs(runs, result.arm.name):
        labels = load_checkpoint(run.model_file).manifest.labels
        validation, measured = _read(run)

        # These kinds take the boxes in the order that experiments.gain predicts.
        if boxes.startswith("gain"):
            gain = _read_gain(run)
            validation = replace(validation, order=gain["select"])
            measured = replace(measured, order=gain["measured"])
            explained.append(float(gain["explained"]))

        correct.append(_correct(validation, measured, boxes, labels))

    # Only scale 2 was run at the nine boxes, so only its fusion with scale 1 has a score.
    exact_match = {fusion_head(2): [float(hits.mean()) for hits in correct]}
    return replace(
        result, correct=np.stack(correct), exact_match=exact_match, boxes={}, explained=explained
    )


def fusion_inputs(
    logits: FloatArray,
    targets: NDArray[np.uint8],
    boxes: str,
    order: NDArray[np.intp] | None = None,
) -> NDArray[np.float32]:
    """The fusion's inputs [n, 2 L]: scale 1's logits, and scale 2's at the boxes of one kind.

    Args:
        logits: [n, 10, L], scale 1's first.
        targets: [n, L], which `oracle` needs.
        boxes: the kind.
        order: of the boxes, [n, 9], which `gain` and `gain3` need.
    """
    coarse_logits = logits[:, 0]
    box_logits = logits[:, 1:]
    photographs = np.arange(len(logits))

    # Scale 2's logits at the chosen box; the mean where several are chosen.
    if boxes == "oracle":
        best = binary_cross_entropies(logits, targets).argmin(axis=1)
        fine_logits = box_logits[photographs, best]
    elif boxes == "random":
        choice = np.random.default_rng(0).integers(0, box_logits.shape[1], len(logits))
        fine_logits = box_logits[photographs, choice]
    elif order is not None:
        first = order[:, : 3 if boxes == "gain3" else 1, None]
        fine_logits = np.take_along_axis(box_logits, first, axis=1).mean(axis=1)
    elif boxes == "nine":
        fine_logits = box_logits.mean(axis=1)
    else:
        fine_logits = box_logits[:, _MIDDLE_BOX]

    return np.concatenate([coarse_logits, fine_logits], axis=1).astype(np.float32)


def binary_cross_entropies(logits: FloatArray, targets: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Scale 2's loss at each of nine boxes, the mean over the labels.

    Args:
        logits: [n, 10, L], scale 1's first.
        targets: [n, L].

    Returns:
        [n, 9].
    """
    box_logits = logits[:, 1:].astype(np.float64)
    losses = np.logaddexp(0, box_logits) - box_logits * targets[:, None]
    return np.asarray(losses.mean(axis=2))


def _read(run: MeasuredRun) -> tuple[_NineBoxes, _NineBoxes]:
    """A run's outputs on the validation part and on the photographs that are measured."""
    arrays = run.arrays()
    validation = _NineBoxes(arrays["nine_select"], arrays["nine_select_targets"])
    return validation, _NineBoxes(arrays["nine_measured"], arrays["targets"])


def _read_gain(run: MeasuredRun) -> dict[str, NDArray[Any]]:
    """What `experiments.gain` wrote for a run."""
    if not (run.folder / "gain.npz").is_file():
        raise SystemExit(
            f"{run.folder} has no gain.npz: python -m experiments.gain DATA {run.folder}"
        )
    return run.arrays("gain.npz")


def _correct(
    validation: _NineBoxes, measured: _NineBoxes, boxes: str, labels: LabelSet
) -> NDArray[np.bool_]:
    """Whether each measured photograph is right, [n], as fitted on the validation part."""
    width = len(labels.names)
    fusion = Fusion(scales=2, width=width, labels=width, inputs="logits", normalise="rescale")

    # The fit starts from scale 2's logits, which build on scale 1's.
    weight = np.concatenate([np.zeros((width, width)), np.eye(width)], axis=1)
    prior = LinearLayer(weight, np.zeros(width))

    # Fitted on the validation part.
    inputs = fusion_inputs(validation.logits, validation.targets, boxes, validation.order)
    fit = fit_lbfgs(fusion, inputs, validation.targets, prior, 0)
    decision = fit_decision(fit.out_of_fold, validation.targets, labels)

    # Decided on the measured photographs.
    inputs = fusion_inputs(measured.logits, measured.targets, boxes, measured.order)
    with torch.no_grad():
        probabilities = torch.sigmoid(fusion(torch.from_numpy(inputs))).numpy()
    answers = decide(probabilities, decision, labels)
    return np.asarray((answers == measured.targets).all(axis=1))
