"""The attention crop and its gradients, against slow loops written for these tests."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from leafzoom.model import attention_crop as attention_crop_module
from leafzoom.model.attention_crop import (
    AttentionCrop,
    attention_crop,
    compose_boxes,
    resample,
    resample_whole,
    resampling_weights,
    surrogate_masks,
    whole_box,
)


def slow_resample(pictures: torch.Tensor, boxes: torch.Tensor, size: int, *, boxcar: bool = False) -> torch.Tensor:
    """Pixel by pixel: a triangle filter around each output pixel's place, normalised inside the picture."""
    B, C, H, W = pictures.shape
    out = torch.zeros(B, C, size, size, dtype=torch.float64)
    for b in range(B):
        x, y, half = (float(v) for v in boxes[b])
        step = 2 * half / size
        support = max(step, 1.0)

        def shade(pixel: int, centre: float, half: float = half) -> float:
            if not boxcar:
                return 1.0
            low, high = pixel + 0.5 - (centre - half), pixel + 0.5 - (centre + half)
            return 1 / (1 + math.exp(-10 * low)) - 1 / (1 + math.exp(min(-10 * high, 700)))

        for row in range(size):
            for column in range(size):
                place_x, place_y = x - half + (column + 0.5) * step, y - half + (row + 0.5) * step
                wx = [max(0.0, 1 - abs(i + 0.5 - place_x) / support) for i in range(W)]
                wy = [max(0.0, 1 - abs(j + 0.5 - place_y) / support) for j in range(H)]
                total_x, total_y = sum(wx), sum(wy)
                for c in range(C):
                    value = 0.0
                    for j in range(H):
                        for i in range(W):
                            if wx[i] and wy[j]:
                                share = wx[i] / total_x * wy[j] / total_y * shade(i, x) * shade(j, y)
                                value += share * float(pictures[b, c, j, i])
                    out[b, c, row, column] = value
    return out


def slow_surrogate(gradient: torch.Tensor, border: float, kind: str) -> torch.Tensor:
    """Eq. 6-9 pixel by pixel: -Σ energy · mask for tx, ty, tl."""
    B, _, size, _ = gradient.shape
    out = torch.zeros(B, 3, dtype=torch.float64)
    count_border = 0
    for row in range(size):
        for column in range(size):
            x, y = (column + 0.5) / size, (row + 0.5) / size
            count_border += x < border or x > 1 - border or y < border or y > 1 - border
    for b in range(B):
        for row in range(size):
            for column in range(size):
                x, y = (column + 0.5) / size, (row + 0.5) / size
                energy = float((gradient[b, :, row, column] ** 2).sum())
                left, right, top, bottom = x < border, x > 1 - border, y < border, y > 1 - border
                out[b, 0] -= energy * (int(right) - int(left))
                out[b, 1] -= energy * (int(bottom) - int(top))
                near = left or right or top or bottom
                if kind == "paper":
                    out[b, 2] -= energy * (1 if near else -1)
                else:
                    half = size * size / 2
                    out[b, 2] -= energy * (half / count_border if near else -half / (size * size - count_border))
    return out


BOXES = torch.tensor([[8.0, 6.0, 3.0], [6.7, 7.2, 5.1], [2.0, 9.5, 2.0], [7.0, 6.0, 6.0]], dtype=torch.float64)


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize("size", [4, 9, 13])  # the last one enlarges every box, so that grid_sample cuts it
def test_forward_equals_slow_loop(generator: torch.Generator, mask: str, size: int) -> None:
    pictures = torch.rand(4, 2, 12, 14, generator=generator, dtype=torch.float64)
    expected = slow_resample(pictures, BOXES, size, boxcar=mask == "boxcar")
    torch.testing.assert_close(resample(pictures, BOXES, size, mask=mask), expected, rtol=1e-9, atol=1e-9)
    strided = pictures.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    torch.testing.assert_close(resample(strided, BOXES, size, mask=mask), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [5, 16, 24])
def test_whole_box_is_the_antialiased_resize(generator: torch.Generator, size: int) -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    expected = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resample(pictures, whole_box(2, 16, like=pictures), size), expected)
    torch.testing.assert_close(resample_whole(pictures, size), expected)


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize(("largest", "rows"), [(None, 16), (4.0, 12), (5.5, 15), (6.5, 16)])
def test_an_exported_model_reads_the_rows_that_the_largest_box_needs(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch, mask: str, largest: float | None, rows: int
) -> None:
    pictures = torch.rand(5, 2, 16, 14, generator=generator, dtype=torch.float64)
    boxes = torch.tensor([[4.0, 4.0, 4.0], [10.0, 12.0, 4.0], [7.3, 8.6, 3.9], [7.0, 1.5, 1.5], [6.2, 14.2, 1.8]])
    expected = resample(pictures, boxes.double(), 13, mask=mask)
    read = []
    monkeypatch.setattr(attention_crop_module, "_is_exported", lambda: True)
    monkeypatch.setattr(
        attention_crop_module,
        "resampling_weights",
        lambda centre, half, size, out: read.append(size) or resampling_weights(centre, half, size, out),
    )
    found = resample(pictures, boxes.double(), 13, mask=mask, largest=largest)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert read == [14, rows]


def test_axes_on_a_picture_that_is_not_symmetric() -> None:
    """tx moves along columns, ty along rows: the bright pixel is in the upper right corner."""
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, 2, 13] = 1
    right_top = resample(picture, torch.tensor([[12.0, 4.0, 4.0]]), 8)
    assert right_top.sum() > 0.9
    assert torch.nonzero(right_top[0, 0] == right_top.max()).tolist() == [[2, 5]]
    for elsewhere in ([4.0, 12.0], [4.0, 4.0], [12.0, 12.0]):
        assert resample(picture, torch.tensor([[*elsewhere, 4.0]]), 8).abs().max() == 0


@pytest.mark.parametrize("kind", ["paper", "balanced"])
@pytest.mark.parametrize("scale", ["sum", "per_sample"])
@pytest.mark.parametrize("border", [0.25, 74 / 224])
def test_surrogate_equals_slow_loop(generator: torch.Generator, kind: str, scale: str, border: float) -> None:
    pictures = torch.rand(3, 2, 16, 16, generator=generator, dtype=torch.float64)
    boxes = torch.tensor([[8.0, 8.0, 4.0], [6.0, 9.0, 5.0], [9.0, 5.0, 3.0]], dtype=torch.float64)
    proposals = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    crop = attention_crop(pictures, proposals, boxes, 12, surrogate=kind, surrogate_scale=scale, border=border)
    arriving = torch.randn(crop.shape, generator=generator, dtype=torch.float64)
    arriving = arriving.transpose(2, 3).contiguous().transpose(2, 3)  # gradients need not be contiguous
    crop.backward(arriving)
    expected = slow_surrogate(arriving, border, kind)
    if scale == "per_sample":
        expected /= arriving.square().sum(dim=(1, 2, 3))[:, None] * len(arriving)
    torch.testing.assert_close(proposals.grad, expected)


def moved(place: tuple[slice, slice], kind: str = "paper", scale: str = "sum") -> list[float]:
    """Where descent moves (tx, ty, tl) when all energy arrives at one place of the crop."""
    proposals = torch.zeros(1, 3, requires_grad=True)
    crop = AttentionCrop.apply(
        torch.rand(1, 1, 32, 32), proposals, torch.tensor([[16.0, 16.0, 8.0]]), 32, kind, scale, 0.25, "none"
    )
    arriving = torch.zeros_like(crop)
    arriving[0, 0, place[0], place[1]] = 1
    crop.backward(arriving)
    assert proposals.grad is not None
    return [-math.copysign(1, v) if v else 0.0 for v in proposals.grad[0].tolist()]


@pytest.mark.parametrize("kind", ["paper", "balanced"])
def test_signs_of_equations_7_to_9(kind: str) -> None:
    """The box moves towards the energy; it grows where energy is at its border and shrinks where it is inside."""
    middle, first, last = slice(12, 20), slice(0, 4), slice(28, 32)
    assert moved((middle, first), kind) == [-1, 0, 1]
    assert moved((middle, last), kind) == [1, 0, 1]
    assert moved((first, middle), kind) == [0, -1, 1]
    assert moved((last, middle), kind) == [0, 1, 1]
    assert moved((first, last), kind) == [1, -1, 1]
    assert moved((middle, middle), kind) == [0, 0, -1]


def test_uniform_energy_grows_the_papers_boxes_only() -> None:
    """§4.0.1's "didn't zoom at all": eq. 9's border holds three quarters of the pixels."""
    paper = surrogate_masks(32, border=0.25, surrogate="paper", like=torch.zeros(()))
    balanced = surrogate_masks(32, border=0.25, surrogate="balanced", like=torch.zeros(()))
    assert set(paper.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert paper[2].mean().item() == pytest.approx(0.5)
    assert balanced[2].sum().item() == pytest.approx(0, abs=1e-3)
    assert paper[:2].sum() == balanced[:2].sum() == 0
    assert balanced[2].abs().sum().item() == pytest.approx(paper[2].abs().sum().item(), rel=1e-6)


def test_no_energy_gives_zero_not_nan() -> None:
    proposals = torch.zeros(2, 3, requires_grad=True)
    crop = attention_crop(
        torch.rand(2, 1, 8, 8), proposals, torch.tensor([[4.0, 4.0, 2.0]] * 2), 8,
        surrogate="paper", surrogate_scale="per_sample",
    )  # fmt: skip
    crop.backward(torch.zeros_like(crop))
    assert proposals.grad is not None
    assert proposals.grad.tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss_scale", [1.0, 1e-6, 1e4])
def test_per_sample_does_not_depend_on_loss_scale_or_precision(dtype: torch.dtype, loss_scale: float) -> None:
    torch.manual_seed(0)
    pictures, boxes = torch.rand(2, 3, 16, 16), torch.tensor([[8.0, 8.0, 4.0]] * 2)
    arriving = torch.randn(2, 3, 12, 12)

    def gradient(dtype: torch.dtype, factor: float) -> torch.Tensor:
        proposals = torch.zeros(2, 3, requires_grad=True)
        crop = attention_crop(
            pictures.to(dtype), proposals, boxes, 12, surrogate="balanced", surrogate_scale="per_sample"
        )
        crop.backward((arriving * factor).to(dtype))
        assert proposals.grad is not None
        return proposals.grad

    torch.testing.assert_close(gradient(dtype, loss_scale), gradient(torch.float32, 1.0), rtol=0.05, atol=5e-3)


def test_per_sample_does_not_depend_on_the_batch_size(generator: torch.Generator) -> None:
    """The gradient of a weight before the proposals, for the same photograph once and eight times."""

    def gradient(count: int) -> torch.Tensor:
        torch.manual_seed(0)
        weight = torch.zeros(3, requires_grad=True)
        pictures = torch.rand(1, 3, 16, 16).expand(count, -1, -1, -1)
        arriving = torch.randn(1, 3, 12, 12).expand(count, -1, -1, -1) / count  # of a mean over the batch
        boxes = torch.tensor([[8.0, 8.0, 4.0]]).expand(count, -1)
        crop = attention_crop(
            pictures, weight.expand(count, -1), boxes, 12, surrogate="paper", surrogate_scale="per_sample"
        )
        crop.backward(arriving)
        assert weight.grad is not None
        return weight.grad

    assert gradient(1).abs().max() > 1e-3
    torch.testing.assert_close(gradient(8), gradient(1))


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize("size", [5, 14])
def test_exact_gradient(generator: torch.Generator, size: int, mask: str) -> None:
    """gradcheck of the sampling's derivative, where boxes shrink (antialiased) and where they enlarge."""
    pictures = torch.rand(2, 1, 12, 12, generator=generator, dtype=torch.float64)
    boxes = torch.tensor([[6.13, 5.41, 4.27], [5.77, 6.29, 3.83]], dtype=torch.float64, requires_grad=True)
    proposals = torch.zeros(2, 3, dtype=torch.float64)

    def crop(b: torch.Tensor) -> torch.Tensor:
        return attention_crop(pictures, proposals, b, size, surrogate="exact", mask=mask)

    assert torch.autograd.gradcheck(crop, (boxes,))


def test_pictures_get_no_gradient() -> None:
    for kind in ("paper", "exact"):
        pictures = torch.rand(1, 1, 8, 8, requires_grad=True)
        boxes = torch.tensor([[4.0, 4.0, 2.0]], requires_grad=True)
        proposals = torch.zeros(1, 3, requires_grad=True)
        attention_crop(pictures, proposals, boxes, 8, surrogate=kind).square().sum().backward()
        assert pictures.grad is None
        assert (boxes.grad is None) == (kind == "paper")
        assert (proposals.grad is None) == (kind == "exact")


def test_zoom_from_the_view_is_a_zoom_of_a_zoom(generator: torch.Generator) -> None:
    """Composed boxes show the same region as a crop of a crop, but with the source's detail."""
    smooth = F.interpolate(torch.rand(1, 1, 4, 4, generator=generator), (64, 64), mode="bicubic")
    parent, child = torch.tensor([[30.0, 34.0, 20.0]]), torch.tensor([[26.0, 40.0, 16.0]])
    from_view = resample(resample(smooth, parent, 64), child, 64)
    from_source = resample(smooth, compose_boxes(parent, child, 64), 64)
    torch.testing.assert_close(from_view, from_source, atol=0.02, rtol=0)
