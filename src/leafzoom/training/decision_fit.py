"""A head's decision, fitted on the selection part: thresholds, interactions of labels, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from leafzoom.labels import Decision, LabelSet

__all__ = ["fit_decision"]

_SPREAD = 0.77  # of the prior of thresholds and interactions around 0, in log-odds
_TEMPERATURES = (0.2, 5.0)
_EDGE = 1e-4  # no threshold is nearer to 0 or 1

Array = NDArray[np.float64]


def fit_decision(logits: NDArray[np.floating], targets: NDArray[np.uint8], labels: LabelSet) -> Decision:
    """The thresholds, interactions and temperature under which the right combinations are most likely.

    A softmax over the combinations that occur: each label's logit minus its threshold, divided by the temperature and
    summed over the combination's labels, plus the combination's interaction (labels hold together more or less often
    than one by one: `complex` and another). Convex but for the temperature, with normal priors on thresholds and
    interactions, so that few photographs move them little.

    Measured on 1,677 photographs that chose, ten-fold: exact match 0.880 against 0.871 for thresholds alone that
    maximise exact match and F1 directly, micro F1 0.895 against 0.893 (fusion123 of the first model that shipped).

    Args:
        logits: [n, L], on photographs that the head was not trained on.
        targets: [n, L]; photographs whose combination is not among `labels.combinations` are left out.
        labels: with the C combinations that occur.
    """
    allowed = np.array(labels.combinations, np.float64)
    right = (targets[:, None, :] == allowed[None]).all(axis=2)
    known = right.any(axis=1)
    count, width = allowed.shape
    if not known.any():
        return Decision((0.5,) * width, 1.0, (0.0,) * count)
    z, place = np.asarray(logits, np.float64)[known], right[known].argmax(axis=1)
    evidence, rows = z @ allowed.T, np.arange(len(z))
    prior = 1 / (_SPREAD**2 * len(z))

    def loss(flat: Array) -> tuple[float, Array]:
        shift, interactions, sharpness = flat[:width], flat[width:-1], np.exp(flat[-1])
        scores = evidence * sharpness - allowed @ shift + interactions
        total = np.logaddexp.reduce(scores, axis=1)
        slope = np.exp(scores - total[:, None])
        slope[rows, place] -= 1
        slope /= len(z)
        value = float((total - scores[rows, place]).mean()) + prior / 2 * float(np.square(flat[:-1]).sum())
        by_combination = slope.sum(axis=0)
        gradient = np.concatenate(
            [
                -by_combination @ allowed + prior * shift,
                by_combination + prior * interactions,
                [float((slope * evidence).sum()) * sharpness],
            ]
        )
        return value, gradient

    bounds = [(None, None)] * (width + count) + [(-np.log(_TEMPERATURES[1]), -np.log(_TEMPERATURES[0]))]
    found = minimize(loss, np.zeros(width + count + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    temperature = float(np.exp(-found[-1]))
    thresholds = np.clip(expit(found[:width] * temperature), _EDGE, 1 - _EDGE)
    return Decision(tuple(map(float, thresholds)), temperature, tuple(map(float, found[width:-1])))
