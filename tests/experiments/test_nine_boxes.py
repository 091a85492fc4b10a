"""Which of nine boxes each kind takes."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.nine_boxes import fusion_inputs

# One photograph, two labels: scale 1's logits, then scale 2's at nine boxes, from -4 to 4.
LOGITS = np.zeros((1, 10, 2), np.float32)
LOGITS[0, 0] = 9.0
LOGITS[0, 1:, 0] = np.arange(9) - 4
LOGITS[0, 1:, 1] = -(np.arange(9) - 4)
TARGETS = np.array([[1, 0]], np.uint8)


def test_the_oracle_takes_the_box_with_the_least_loss() -> None:
    inputs = fusion_inputs(LOGITS, TARGETS, "oracle")
    assert inputs.tolist() == [[9.0, 9.0, 4.0, -4.0]]


def test_nine_takes_the_mean_of_all() -> None:
    inputs = fusion_inputs(LOGITS, TARGETS, "nine")
    assert inputs.tolist() == [[9.0, 9.0, 0.0, 0.0]]


def test_middle_takes_the_fifth_box() -> None:
    uneven = LOGITS + np.arange(10)[None, :, None]
    inputs = fusion_inputs(uneven, TARGETS, "middle")
    assert inputs.tolist() == [[9.0, 9.0, 5.0, 5.0]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gain", [9.0, 9.0, -2.0, 2.0]), ("gain3", [9.0, 9.0, -1.0, 1.0])],
)
def test_gain_takes_the_first_boxes_in_order(kind: str, expected: list[float]) -> None:
    order = np.array([[2, 7, 0, 1, 3, 4, 5, 6, 8]])
    assert fusion_inputs(LOGITS, TARGETS, kind, order).tolist() == [expected]


def test_random_takes_every_box_sometimes() -> None:
    logits = np.repeat(LOGITS, 500, axis=0)
    targets = np.repeat(TARGETS, 500, axis=0)
    inputs = fusion_inputs(logits, targets, "random")
    assert set(inputs[:, 2]) == set(range(-4, 5))
