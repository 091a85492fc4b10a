"""Boxes from proposals and back, and their way to photo pixels."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leafzoom.inference.prediction import photo_box
from leafzoom.model.attention_crop import compose_boxes
from leafzoom.model.box_coder import BoxCoder

UNIT = st.floats(-1, 1, width=32)
TRIPLE = st.tuples(UNIT, UNIT, UNIT)
BOUNDS = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted).filter(lambda b: b[0] < 1)

PAPER = BoxCoder(224, (1 / 3, 1 / 2), "largest")


def corners(box: list[float]) -> list[float]:
    """x0, y0, x1, y1 of a box x, y, half side."""
    x, y, half_side = box
    return [x - half_side, y - half_side, x + half_side, y + half_side]


@given(proposal=TRIPLE, bounds=BOUNDS, own=st.booleans(), size=st.sampled_from([64, 128, 224]))
def test_no_box_leaves_the_view(
    proposal: tuple[float, float, float], bounds: list[float], own: bool, size: int
) -> None:
    coder = BoxCoder(size, (bounds[0], bounds[1]), "own" if own else "largest")
    x, y, half_side = coder.decode(torch.tensor([proposal]))[0].tolist()

    slack = 1e-4 * size
    least, greatest = coder.half_side_range
    assert least - slack <= half_side <= greatest + slack
    for centre in (x, y):
        assert -slack <= centre - half_side
        assert centre + half_side <= size + slack


@given(first=TRIPLE, second=TRIPLE, bounds=BOUNDS)
def test_no_composed_box_leaves_the_source_or_the_photo(
    first: tuple[float, float, float], second: tuple[float, float, float], bounds: list[float]
) -> None:
    coder = BoxCoder(224, (bounds[0], bounds[1]), "own")
    whole = torch.tensor([[128.0, 128.0, 128.0]])
    outer = compose_boxes(whole, coder.decode(torch.tensor([first])), 224)
    inner = compose_boxes(outer, coder.decode(torch.tensor([second])), 224)

    for child, parent in ((outer, whole), (inner, outer)):
        x, y, half_side = child[0].tolist()
        parent_x, parent_y, parent_half_side = parent[0].tolist()
        assert abs(x - parent_x) + half_side <= parent_half_side + 0.05
        assert abs(y - parent_y) + half_side <= parent_half_side + 0.05

    edges = torch.tensor(corners(inner[0].tolist())).numpy()
    x0, y0, x1, y1 = photo_box(edges, 256, (4000, 2672))
    assert 0 <= x0 < x1 <= 4000
    assert 0 <= y0 < y1 <= 2672


def test_photo_pixels_and_back() -> None:
    """A box of scale 3 goes to photo pixels as the product of its parents' scales, and back."""
    whole = torch.tensor([[128.0, 128.0, 128.0]])
    box2 = compose_boxes(whole, torch.tensor([[56.0, 168.0, 56.0]]), 224)
    box3 = compose_boxes(box2, torch.tensor([[168.0, 56.0, 28.0]]), 224)
    assert box2[0].tolist() == pytest.approx([64, 192, 64])
    assert box3[0].tolist() == pytest.approx([96, 160, 16])

    edges = corners(box3[0].tolist())
    on_photo = photo_box(torch.tensor(edges).numpy(), 256, (512, 1024))
    assert on_photo == (160.0, 576.0, 224.0, 704.0)
    back = [edge / factor for edge, factor in zip(on_photo, (2, 4, 2, 4), strict=True)]
    assert back == pytest.approx(edges)


def test_the_papers_numbers() -> None:
    """§3.1.2: centres 56 to 168 for half side 56; §4: sides of 90 to 149 (2/5 and 2/3 of 224)."""
    corner = PAPER.decode(torch.tensor([[-1.0, 1.0, 1.0]]))
    torch.testing.assert_close(corner, torch.tensor([[56.0, 168.0, 56.0]]))
    least = PAPER.decode(torch.tensor([[0.0, 0.0, -1.0]]))
    assert least[0, 2].item() == pytest.approx(37.333, abs=1e-3)

    wide = BoxCoder(224, (2 / 5, 2 / 3), "own")
    boxes = wide.decode(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
    assert (2 * boxes[:, 2]).tolist() == pytest.approx([89.6, 149.33], abs=0.01)


def test_own_range_reaches_the_border_and_the_largest_does_not() -> None:
    small = torch.tensor([[1.0, -1.0, -1.0]])
    own = BoxCoder(224, (1 / 3, 1 / 2), "own")
    _, y0, x1, _ = corners(own.decode(small)[0].tolist())
    assert (x1, y0) == pytest.approx((224, 0), abs=1e-4)

    x, y, _ = PAPER.decode(small)[0].tolist()
    assert (x, y) == pytest.approx((168, 56))


@given(x=st.floats(0, 224), y=st.floats(0, 224), tl=UNIT, kind=st.sampled_from(["own", "largest"]))
def test_encoded_centres_decode_to_themselves_within_the_legal_range(
    x: float, y: float, tl: float, kind: Literal["own", "largest"]
) -> None:
    coder = BoxCoder(224, (0.25, 0.5), kind)
    target = coder.encode(torch.tensor([[x, y]]), tl)
    assert target.abs().max() <= 1

    decoded_x, decoded_y, half_side = coder.decode(target)[0].tolist()
    margin = half_side if kind == "own" else 56
    assert decoded_x == pytest.approx(min(max(x, margin), 224 - margin), abs=1e-2)
    assert decoded_y == pytest.approx(min(max(y, margin), 224 - margin), abs=1e-2)


def test_a_box_as_large_as_the_view_has_one_centre() -> None:
    coder = BoxCoder(224, (0.5, 1.0), "largest")
    assert coder.encode(torch.tensor([[10.0, 200.0]]), 1.0).tolist() == [[0.0, 0.0, 1.0]]
