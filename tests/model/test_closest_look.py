"""The closest look is where the answer's evidence is, and moves to the strongest place there."""

from __future__ import annotations

import pytest
import torch

from leafzoom.model.closest_look import CLOSEST_SHARE, closest_boxes
from leafzoom.model.evidence import Evidence
from model.test_evidence import small_network
from network_helpers import LABELS


@pytest.mark.parametrize("tta", [1, 2])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 1), (0, 1)])
def test_the_closest_look_is_near_the_maximum_of_the_evidence(
    tta: int, row: int, column: int
) -> None:
    network = small_network(tta)
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        states = network(sources).states
        last_map = torch.zeros(2, LABELS, 2, 2)
        last_map[:, 1, row, column] = 1.0
        evidence = Evidence(
            (*(torch.zeros(2, LABELS, 2, 2),) * 2, last_map), torch.zeros(2, LABELS)
        )
        answer = torch.tensor([[0.0, 1.0, 0.0]] * 2)
        boxes = closest_boxes(network.racnn, states[-1], evidence, answer)

    side = CLOSEST_SHARE**0.5 * 96
    torch.testing.assert_close(2 * boxes[:, 2], torch.full((2,), side))
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + boxes[:, 2:]], dim=1)
    assert corners.min() >= -1e-4
    assert corners.max() <= 96 + 1e-4

    # The first box lies around the cell's centre, and the second one's centre within the first.
    last_boxes = states[-1].boxes[:2]
    quarter = torch.tensor([column - 0.5, row - 0.5])
    maximum = last_boxes[:, :2] + last_boxes[:, 2:] * quarter
    assert (boxes[:, :2] - maximum).abs().max() <= side + 96 / 8


def test_labels_that_are_not_the_answer_do_not_count() -> None:
    network = small_network(1)
    sources = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        states = network(sources).states
        label_map = torch.zeros(1, LABELS, 2, 2)
        label_map[0, 0, 0, 0] = 1.0
        label_map[0, 2, 1, 1] = 5.0
        evidence = Evidence((label_map,) * 3, torch.zeros(1, LABELS))
        first, last = (
            closest_boxes(network.racnn, states[-1], evidence, torch.tensor([answer]))
            for answer in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
        )
    assert (first[:, :2] < last[:, :2]).all()
