"""Boxes from proposals and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leafzoom.inference.predictor import photo_box
from leafzoom.model.attention_crop import compose_boxes
from leafzoom.model.attention_proposal import (
    AttentionProposal,
    activation_centres,
    decode_boxes,
    encode_boxes,
    response_maxima,
)

UNIT = st.floats(-1, 1, width=32)
BOUNDS = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted).filter(lambda b: b[0] < 1)


@given(proposal=st.tuples(UNIT, UNIT, UNIT), bounds=BOUNDS, own=st.booleans(), size=st.sampled_from([64, 128, 224]))
def test_no_box_leaves_the_view(
    proposal: tuple[float, float, float], bounds: list[float], own: bool, size: int
) -> None:
    box = decode_boxes(torch.tensor([proposal]), size, (bounds[0], bounds[1]), "own" if own else "largest")[0]
    x, y, half = box.tolist()
    slack = 1e-4 * size
    assert size * bounds[0] / 2 - slack <= half <= size * bounds[1] / 2 + slack
    for centre in (x, y):
        assert -slack <= centre - half
        assert centre + half <= size + slack


@given(first=st.tuples(UNIT, UNIT, UNIT), second=st.tuples(UNIT, UNIT, UNIT), bounds=BOUNDS)
def test_no_composed_box_leaves_the_source_or_the_photo(
    first: tuple[float, float, float], second: tuple[float, float, float], bounds: list[float]
) -> None:
    legal = (bounds[0], bounds[1])
    outer = compose_boxes(torch.tensor([[128.0] * 3]), decode_boxes(torch.tensor([first]), 224, legal, "own"), 224)
    inner = compose_boxes(outer, decode_boxes(torch.tensor([second]), 224, legal, "own"), 224)
    for (x, y, half), (px, py, parent) in (
        (outer[0].tolist(), (128, 128, 128)),
        (inner[0].tolist(), outer[0].tolist()),
    ):
        assert abs(x - px) + half <= parent + 0.05
        assert abs(y - py) + half <= parent + 0.05
    x, y, half = inner[0].tolist()
    x0, y0, x1, y1 = photo_box(torch.tensor([x - half, y - half, x + half, y + half]).numpy(), 256, (4000, 2672))
    assert 0 <= x0 < x1 <= 4000
    assert 0 <= y0 < y1 <= 2672


def test_photo_pixels_and_back() -> None:
    """A box of scale 3 goes to photo pixels as the product of its parents' scales, and back."""
    box2 = compose_boxes(torch.tensor([[128.0, 128.0, 128.0]]), torch.tensor([[56.0, 168.0, 56.0]]), 224)
    assert box2[0].tolist() == pytest.approx([64, 192, 64])
    box3 = compose_boxes(box2, torch.tensor([[168.0, 56.0, 28.0]]), 224)
    assert box3[0].tolist() == pytest.approx([96, 160, 16])
    x, y, half = box3[0].tolist()
    on_photo = photo_box(torch.tensor([x - half, y - half, x + half, y + half]).numpy(), 256, (512, 1024))
    assert on_photo == (160.0, 576.0, 224.0, 704.0)
    back = [edge / scale for edge, scale in zip(on_photo, (2, 4, 2, 4), strict=True)]
    assert back == pytest.approx([x - half, y - half, x + half, y + half])


def test_the_papers_numbers() -> None:
    """§3.1.2: centres 56 to 168 for half side 56; §4: sides of 90 to 149 (2/5 and 2/3 of 224)."""
    edge = decode_boxes(torch.tensor([[-1.0, 1.0, 1.0]]), 224, (1 / 3, 1 / 2), "largest")
    torch.testing.assert_close(edge, torch.tensor([[56.0, 168.0, 56.0]]))
    least = decode_boxes(torch.tensor([[0.0, 0.0, -1.0]]), 224, (1 / 3, 1 / 2), "largest")
    assert least[0, 2].item() == pytest.approx(37.333, abs=1e-3)
    sides = [
        2 * decode_boxes(torch.tensor([[0.0, 0.0, tl]]), 224, (2 / 5, 2 / 3), "own")[0, 2].item() for tl in (-1, 1)
    ]
    assert sides == pytest.approx([89.6, 149.33], abs=0.01)


def test_own_range_reaches_the_border_and_the_largest_does_not() -> None:
    small = torch.tensor([[1.0, -1.0, -1.0]])
    x, y, half = decode_boxes(small, 224, (1 / 3, 1 / 2), "own")[0].tolist()
    assert (x + half, y - half) == pytest.approx((224, 0), abs=1e-4)
    x, y, half = decode_boxes(small, 224, (1 / 3, 1 / 2), "largest")[0].tolist()
    assert (x, y) == pytest.approx((168, 56))


@given(x=st.floats(0, 224), y=st.floats(0, 224), tl=UNIT, own=st.booleans())
def test_warm_up_targets_decode_to_the_wanted_centre_clamped(x: float, y: float, tl: float, own: bool) -> None:
    legal = "own" if own else "largest"
    target = encode_boxes(torch.tensor([[x, y]]), tl, 224, (0.25, 0.5), legal)
    assert target.abs().max() <= 1
    box = decode_boxes(target, 224, (0.25, 0.5), legal)[0].tolist()
    margin = box[2] if own else 56
    assert box[0] == pytest.approx(min(max(x, margin), 224 - margin), abs=1e-2)
    assert box[1] == pytest.approx(min(max(y, margin), 224 - margin), abs=1e-2)


def test_no_legal_centre_but_the_middle() -> None:
    assert encode_boxes(torch.tensor([[10.0, 200.0]]), 1.0, 224, (0.5, 1.0), "largest").tolist() == [[0.0, 0.0, 1.0]]


def test_response_maximum_is_x_then_y() -> None:
    features = torch.zeros(1, 5, 7, 7)
    features[0, 3, 1, 5] = 2.0  # row 1, column 5
    x, y = response_maxima(features, 224)[0].tolist()
    assert (x, y) == pytest.approx((5.5 * 32, 1.5 * 32), abs=1)


def test_apn_reads_any_map_and_stays_in_range() -> None:
    for activation in ("sigmoid", "relu"):
        apn = AttentionProposal(channels=4, map_size=3, hidden=5, activation=activation)
        proposals = apn(torch.randn(6, 4, 3, 3) * 100)
        assert proposals.shape == (6, 3)
        assert proposals.abs().max() <= 1


def test_activation_centre_weighs_labels_and_cells() -> None:
    """Against a slow sum over cells, in float64."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=generator).transpose(2, 3)
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1]])
    centres = activation_centres(maps, targets, 64)
    for row in range(5):
        signed = [[0.0] * 4 for _ in range(4)]
        for label in range(3):
            for y in range(4):
                for x in range(4):
                    value = float(maps[row, label, y, x])
                    signed[y][x] += value if targets[row, label] else -value
        mean = sum(map(sum, signed)) / 16
        mass = [[max(value - mean, 0.0) ** 2 for value in line] for line in signed]
        total = sum(map(sum, mass))
        x = sum(mass[j][i] * (i + 0.5) * 16 for j in range(4) for i in range(4)) / total
        y = sum(mass[j][i] * (j + 0.5) * 16 for j in range(4) for i in range(4)) / total
        assert centres[row].tolist() == pytest.approx([x, y], rel=1e-4)


def test_activation_centre_of_a_flat_map_is_the_middle() -> None:
    assert activation_centres(torch.full((1, 2, 3, 3), 7.0), torch.ones(1, 2), 96).tolist() == [[48.0, 48.0]]


def test_normalised_apn_reads_where_not_how_much() -> None:
    apn = AttentionProposal(channels=4, map_size=3, hidden=5, activation="relu", normalise="places")
    features = torch.randn(6, 4, 3, 3)
    louder = 40 * features + torch.randn(6, 4, 1, 1) * 100  # each channel's level says what is there, not where
    torch.testing.assert_close(apn(louder), apn(features), rtol=1e-3, atol=1e-4)
    assert bool(torch.isfinite(apn(torch.zeros(2, 4, 3, 3))).all())
    plain = AttentionProposal(channels=4, map_size=3, hidden=5, activation="sigmoid")
    assert not torch.allclose(plain(louder), plain(features), atol=1e-2)
