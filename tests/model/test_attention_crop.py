"""The attention crop and its gradients, against slow loops written for these tests."""

from __future__ import annotations

import pytest
import torch
from slow_reference import slow_resample, slow_surrogate
from torch import Tensor
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

BOXES = torch.tensor(
    [[8.0, 6.0, 3.0], [6.7, 7.2, 5.1], [2.0, 9.5, 2.0], [7.0, 6.0, 6.0]], dtype=torch.float64
)


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize("size", [4, 9, 13])  # the last one enlarges every box: grid_sample
def test_forward_equals_slow_loop(generator: torch.Generator, mask: str, size: int) -> None:
    images = torch.rand(4, 2, 12, 14, generator=generator, dtype=torch.float64)
    expected = slow_resample(images, BOXES, size, boxcar=mask == "boxcar")
    crops = resample(images, BOXES, size, mask=mask)
    torch.testing.assert_close(crops, expected, rtol=1e-9, atol=1e-9)

    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    crops = resample(strided, BOXES, size, mask=mask)
    torch.testing.assert_close(crops, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [5, 16, 24])
def test_whole_box_is_the_antialiased_resize(generator: torch.Generator, size: int) -> None:
    images = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    expected = F.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    torch.testing.assert_close(resample(images, whole_box(2, 16, like=images), size), expected)
    torch.testing.assert_close(resample_whole(images, size), expected)


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize(
    ("max_share", "size", "rows"),
    [(None, 13, 16), (0.5, 13, 13), (0.6, 13, 14), (0.8, 13, 16), (0.95, 13, 16), (0.5, 8, 15)],
)
def test_an_exported_model_reads_the_rows_that_the_largest_box_needs(
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
    mask: str,
    max_share: float | None,
    size: int,
    rows: int,
) -> None:
    images = torch.rand(5, 2, 16, 14, generator=generator, dtype=torch.float64)
    boxes = torch.tensor(
        [
            [4.0, 4.0, 4.0],
            [10.0, 12.0, 4.0],
            [7.3, 8.6, 3.9],
            [7.0, 1.5, 1.5],
            [6.2, 14.2, 1.8],
        ]
    ).double()
    expected = resample(images, boxes, size, mask=mask)
    lengths: list[int] = []

    def recorded(centre: Tensor, half_side: Tensor, in_size: int, out_size: int) -> Tensor:
        lengths.append(in_size)
        return resampling_weights(centre, half_side, in_size, out_size)

    monkeypatch.setattr(attention_crop_module, "_is_exported", lambda: True)
    monkeypatch.setattr(attention_crop_module, "resampling_weights", recorded)
    crops = resample(images, boxes, size, mask=mask, max_share=max_share)

    torch.testing.assert_close(crops, expected, rtol=1e-9, atol=1e-9)
    assert lengths == [14, rows]


def test_axes_on_an_image_that_is_not_symmetric() -> None:
    """tx moves along columns, ty along rows: the bright pixel is in the upper right corner."""
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 2, 13] = 1

    right_top = resample(image, torch.tensor([[12.0, 4.0, 4.0]]), 8)
    assert right_top.sum() > 0.9
    assert torch.nonzero(right_top[0, 0] == right_top.max()).tolist() == [[2, 5]]

    for x, y in ((4.0, 12.0), (4.0, 4.0), (12.0, 12.0)):
        assert resample(image, torch.tensor([[x, y, 4.0]]), 8).abs().max() == 0


@pytest.mark.parametrize("kind", ["paper", "balanced"])
@pytest.mark.parametrize("scale", ["sum", "per_sample"])
@pytest.mark.parametrize("border", [0.25, 74 / 224])
def test_surrogate_equals_slow_loop(
    generator: torch.Generator, kind: str, scale: str, border: float
) -> None:
    images = torch.rand(3, 2, 16, 16, generator=generator, dtype=torch.float64)
    boxes = torch.tensor([[8.0, 8.0, 4.0], [6.0, 9.0, 5.0], [9.0, 5.0, 3.0]]).double()
    proposals = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    crop = attention_crop(
        images, proposals, boxes, 12, surrogate=kind, surrogate_scale=scale, border=border
    )

    # Gradients need not be contiguous.
    arriving = torch.randn(crop.shape, generator=generator, dtype=torch.float64)
    arriving = arriving.transpose(2, 3).contiguous().transpose(2, 3)
    crop.backward(arriving)

    expected = slow_surrogate(arriving, border, kind)
    if scale == "per_sample":
        expected /= arriving.square().sum(dim=(1, 2, 3))[:, None] * len(arriving)
    torch.testing.assert_close(proposals.grad, expected)


def descent_signs(rows: slice, columns: slice, kind: str) -> list[float]:
    """Where descent moves tx, ty and tl when all energy arrives at one region of the crop."""
    proposals = torch.zeros(1, 3, requires_grad=True)
    box = torch.tensor([[16.0, 16.0, 8.0]])
    crop = AttentionCrop.apply(
        torch.rand(1, 1, 32, 32), proposals, box, 32, kind, "sum", 0.25, "none"
    )
    arriving = torch.zeros_like(crop)
    arriving[0, 0, rows, columns] = 1
    crop.backward(arriving)
    assert proposals.grad is not None
    return (-proposals.grad[0].sign()).tolist()


@pytest.mark.parametrize("kind", ["paper", "balanced"])
def test_signs_of_equations_7_to_9(kind: str) -> None:
    """Descent moves the box to the energy, and makes it grow where that is at its border."""
    first = slice(0, 4)
    middle = slice(12, 20)
    last = slice(28, 32)
    assert descent_signs(middle, first, kind) == [-1, 0, 1]
    assert descent_signs(middle, last, kind) == [1, 0, 1]
    assert descent_signs(first, middle, kind) == [0, -1, 1]
    assert descent_signs(last, middle, kind) == [0, 1, 1]
    assert descent_signs(first, last, kind) == [1, -1, 1]
    assert descent_signs(middle, middle, kind) == [0, 0, -1]


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
        torch.rand(2, 1, 8, 8),
        proposals,
        torch.tensor([[4.0, 4.0, 2.0]] * 2),
        8,
        surrogate="paper",
        surrogate_scale="per_sample",
    )
    crop.backward(torch.zeros_like(crop))
    assert proposals.grad is not None
    assert proposals.grad.tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss_scale", [1.0, 1e-6, 1e4])
def test_per_sample_does_not_depend_on_loss_scale_or_precision(
    dtype: torch.dtype, loss_scale: float
) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 16)
    boxes = torch.tensor([[8.0, 8.0, 4.0]] * 2)
    arriving = torch.randn(2, 3, 12, 12)

    def gradient(dtype: torch.dtype, factor: float) -> Tensor:
        proposals = torch.zeros(2, 3, requires_grad=True)
        crop = attention_crop(
            images.to(dtype),
            proposals,
            boxes,
            12,
            surrogate="balanced",
            surrogate_scale="per_sample",
        )
        crop.backward((arriving * factor).to(dtype))
        assert proposals.grad is not None
        return proposals.grad

    expected = gradient(torch.float32, 1.0)
    torch.testing.assert_close(gradient(dtype, loss_scale), expected, rtol=0.05, atol=5e-3)


def test_per_sample_does_not_depend_on_the_batch_size(generator: torch.Generator) -> None:
    """A weight before the proposals, for the same photograph once and eight times."""

    def gradient(count: int) -> Tensor:
        torch.manual_seed(0)
        weight = torch.zeros(3, requires_grad=True)
        images = torch.rand(1, 3, 16, 16).expand(count, -1, -1, -1)
        # The gradient of a mean over the batch.
        arriving = torch.randn(1, 3, 12, 12).expand(count, -1, -1, -1) / count
        boxes = torch.tensor([[8.0, 8.0, 4.0]]).expand(count, -1)
        crop = attention_crop(
            images,
            weight.expand(count, -1),
            boxes,
            12,
            surrogate="paper",
            surrogate_scale="per_sample",
        )
        crop.backward(arriving)
        assert weight.grad is not None
        return weight.grad

    assert gradient(1).abs().max() > 1e-3
    torch.testing.assert_close(gradient(8), gradient(1))


@pytest.mark.parametrize("mask", ["none", "boxcar"])
@pytest.mark.parametrize("size", [5, 14])
def test_exact_gradient(generator: torch.Generator, size: int, mask: str) -> None:
    """gradcheck of the sampling's derivative, where boxes shrink and where they are enlarged."""
    images = torch.rand(2, 1, 12, 12, generator=generator, dtype=torch.float64)
    boxes = torch.tensor([[6.13, 5.41, 4.27], [5.77, 6.29, 3.83]], dtype=torch.float64)
    boxes.requires_grad_()
    proposals = torch.zeros(2, 3, dtype=torch.float64)

    def crop(boxes: Tensor) -> Tensor:
        return attention_crop(images, proposals, boxes, size, surrogate="exact", mask=mask)

    assert torch.autograd.gradcheck(crop, (boxes,))


def test_images_get_no_gradient() -> None:
    for kind in ("paper", "exact"):
        images = torch.rand(1, 1, 8, 8, requires_grad=True)
        boxes = torch.tensor([[4.0, 4.0, 2.0]], requires_grad=True)
        proposals = torch.zeros(1, 3, requires_grad=True)
        attention_crop(images, proposals, boxes, 8, surrogate=kind).square().sum().backward()
        assert images.grad is None
        assert (boxes.grad is None) == (kind == "paper")
        assert (proposals.grad is None) == (kind == "exact")


def test_zoom_from_the_view_is_a_zoom_of_a_zoom(generator: torch.Generator) -> None:
    """Composed boxes show the same region as a crop of a crop, but with the source's detail."""
    smooth = F.interpolate(torch.rand(1, 1, 4, 4, generator=generator), (64, 64), mode="bicubic")
    parent = torch.tensor([[30.0, 34.0, 20.0]])
    child = torch.tensor([[26.0, 40.0, 16.0]])
    from_view = resample(resample(smooth, parent, 64), child, 64)
    from_source = resample(smooth, compose_boxes(parent, child, 64), 64)
    torch.testing.assert_close(from_view, from_source, atol=0.02, rtol=0)
