"""Thresholds and calibration of a head, fitted on the selection part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from leafzoom.labels import LabelSet
from leafzoom.manifest import Decision

__all__ = ["fit_decision"]

_GRID = np.round(np.arange(-2.0, 2.01, 0.1), 1)  # log-odds of the thresholds that are tried
_SWEEPS = 3
_PULL = 0.002  # towards 0.5, for each unit of log-odds: a threshold moves only for what it gains


def fit_decision(logits: NDArray[np.floating], targets: NDArray[np.uint8], labels: LabelSet) -> Decision:
    """Thresholds that maximise the mean of exact match, micro and macro F1; a temperature that calibrates.

    The thresholds are tried one label after the other with the decision that `predict` makes (see
    `labels.decide`). The temperature maximises the likelihood of the right combination among those that occur.

    Args:
        logits: [n, L], on photographs that the head was not trained on.
        targets: [n, L].
        labels: with the combinations that occur.
    """
    allowed = np.array(labels.combinations, np.float64)
    z = np.asarray(logits, np.float64)
    shift = np.zeros(len(labels.names))
    for _ in range(_SWEEPS):
        for label in range(len(shift)):
            tried = []
            for value in _GRID:
                shift[label] = value
                answers = allowed[np.argmax((z - shift) @ allowed.T, axis=1)]
                tried.append(_quality(answers, targets) - _PULL * abs(value))
            shift[label] = _GRID[int(np.argmax(tried))]
    thresholds = tuple(float(t) for t in 1 / (1 + np.exp(-shift)))
    return Decision(thresholds, _temperature(z, targets, allowed))


def _quality(answers: NDArray[np.float64], targets: NDArray[np.uint8]) -> float:
    """The mean of exact match, micro F1 and macro F1."""
    exact = (answers == targets).all(axis=1).mean()
    hits, total = (answers * targets).sum(axis=0), answers.sum(axis=0) + targets.sum(axis=0)
    micro = 2 * hits.sum() / max(total.sum(), 1)
    macro = np.mean(2 * hits / np.maximum(total, 1))
    return float(exact + micro + macro) / 3


def _temperature(z: NDArray[np.float64], targets: NDArray[np.uint8], allowed: NDArray[np.float64]) -> float:
    """The temperature that makes the right combination most likely, within 0.2 to 5."""
    right = (targets[:, None, :] == allowed[None]).all(axis=2)
    known = right.any(axis=1)
    if not known.any():
        return 1.0
    evidence, place = z[known] @ allowed.T, right[known].argmax(axis=1)

    def loss(log_temperature: float) -> float:
        scaled = evidence / np.exp(log_temperature)
        chosen = scaled[np.arange(len(place)), place]
        return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - chosen))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(5)), method="bounded").x))
