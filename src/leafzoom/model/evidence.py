"""Evidence maps: how much each place of each view speaks for each label.

A scale's descriptor is the mean of its last map, and the heads are linear in descriptors. So a
head's logit is a sum over the places of all views plus a bias, exactly and without gradients (class
activation mapping, Zhou et al. 2016, carried through the fusion). `l2` fusions divide by a norm,
which is one number a photograph, so the same holds for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leafzoom.model.backbone import Backbone
from leafzoom.model.fusion import FusedNetwork, Fusion
from leafzoom.model.mirrors import mirror_axes, tta_mean
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState

__all__ = ["Evidence", "first_evidence", "has_evidence", "network_evidence"]

_MIN_NORM = 1e-12  # as in `torch.nn.functional.normalize`


@dataclass(frozen=True)
class Evidence:
    """What a head's logits [B, L] are the sum of.

    `maps`: of each scale that the head reads, coarsest first, [B, L, N, N]: the logits' shares from
    the places of its view. `bias`: [B, L], what comes from no place.
    """

    maps: tuple[Tensor, ...]
    bias: Tensor

    def logits(self) -> Tensor:
        """The head's logits, [B, L]."""
        total = self.bias
        for label_map in self.maps:
            total = total + label_map.sum(dim=(2, 3))
        return total


def has_evidence(network: FusedNetwork) -> bool:
    """Whether a network's heads are linear in the means of its scales' last maps.

    An MA-CNN's are not: a part's attention depends on the map itself.
    """
    racnn = network.attention_network
    if not isinstance(racnn, RACNN):
        return False
    return all(
        isinstance(backbone, Backbone) and backbone.has_class_activations(racnn.input_size)
        for backbone in racnn.backbones
    )


def network_evidence(network: FusedNetwork, states: Sequence[ScaleState]) -> Evidence:
    """The evidence of a network's last fusion, which gives the answer.

    Args:
        network: one that `has_evidence`.
        states: of `NetworkOutput`: of B sources and their mirror images.

    Returns:
        Of B sources; the maps are means over the mirror images.
    """
    fusion = network.fusions[-1]
    assert isinstance(fusion, Fusion)
    return _tta_evidence(_fusion_evidence(network.racnn, fusion, states), network.tta)


def first_evidence(network: FusedNetwork, state: ScaleState) -> Evidence:
    """The evidence of the first scale's own head, which gives the answer of an early exit.

    Args:
        network: one that `has_evidence`.
        state: of the first scale of B sources and their mirror images.
    """
    (evidence,) = _scale_evidence(network.racnn, [state])
    return _tta_evidence(evidence, network.tta)


def _scale_evidence(racnn: RACNN, states: Sequence[ScaleState]) -> list[Evidence]:
    """The evidence of every scale's own head, coarsest first.

    With `residual`, a finer scale's logits have a share of the coarser scale's, and its evidence of
    the coarser views.

    Args:
        racnn: whose backbones have class activation maps.
        states: of its scales, coarsest first.
    """
    evidence: list[Evidence] = []
    for state in states:
        backbone = racnn.backbones[state.scale]
        assert isinstance(backbone, Backbone)
        layer = backbone.classifier_layer()

        maps = [_label_maps(state, layer.weight)]
        bias = layer.bias.expand(state.descriptor.shape[0], -1)
        if evidence and racnn.residual:
            coarser = evidence[-1]
            maps = [*(racnn.residual * label_map for label_map in coarser.maps), *maps]
            bias = bias + racnn.residual * coarser.bias
        elif evidence:
            maps = [torch.zeros_like(label_map) for label_map in evidence[-1].maps] + maps
        evidence.append(Evidence(tuple(maps), bias))
    return evidence


def _fusion_evidence(racnn: RACNN, fusion: Fusion, states: Sequence[ScaleState]) -> Evidence:
    """The evidence of a fusion, from all the views that it fuses.

    Args:
        racnn: whose backbones have class activation maps.
        fusion: the head.
        states: of all scales, coarsest first.
    """
    fused = states[: fusion.scales]
    weights = _parts(fusion.linear.weight, fusion.scales)
    bias = fusion.linear.bias.expand(fused[0].descriptor.shape[0], -1)

    # What the fusion's linear layer reads is shifted and scaled, or divided by a norm.
    factors = _parts(torch.ones_like(fusion.scale), fusion.scales)
    if fusion.normalise == "rescale":
        factors = _parts(fusion.scale, fusion.scales)
        bias = bias - fusion.linear.weight @ (fusion.scale * fusion.shift)

    if fusion.inputs == "descriptors":
        maps = []
        for state, weight, factor in zip(fused, weights, factors, strict=True):
            label_map = _label_maps(state, weight, factor)
            if fusion.normalise == "l2":
                label_map = label_map / _norm(state.descriptor)[:, :, None, None]
            maps.append(label_map)
        return Evidence(tuple(maps), bias)
    scaled = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    return _evidence_of_logits(racnn, fusion, fused, scaled, bias)


def _tta_evidence(evidence: Evidence, tta: int) -> Evidence:
    """The mean over mirror images, in the order of `tta_images`, of maps that are mirrored back.

    The views of a mirrored picture can be at other places than the mirrored views of the picture:
    their evidence is laid where the picture's own view is.
    """
    if tta == 1:
        return evidence

    maps = []
    for label_map in evidence.maps:
        by_image = label_map.reshape(tta, -1, *label_map.shape[1:])
        mirrored_back = [by_image[number].flip(mirror_axes(number)) for number in range(tta)]
        maps.append(torch.stack(mirrored_back).mean(dim=0))
    return Evidence(tuple(maps), tta_mean(evidence.bias, tta))


def _evidence_of_logits(
    racnn: RACNN,
    fusion: Fusion,
    states: Sequence[ScaleState],
    weights: Sequence[Tensor],
    bias: Tensor,
) -> Evidence:
    """The evidence of a fusion that reads the scales' logits.

    Args:
        racnn: all scales.
        fusion: the head.
        states: of the scales that it fuses.
        weights: [L, L] for each scale.
        bias: [B, L].
    """
    # The k-th scale's head has evidence of k views.
    maps: list[Tensor] = []
    for state, weight, own in zip(states, weights, _scale_evidence(racnn, states), strict=True):
        norm = _norm(state.logits) if fusion.normalise == "l2" else torch.ones_like(bias[:, :1])
        bias = bias + own.bias @ weight.T / norm
        for number, label_map in enumerate(own.maps):
            share = torch.einsum("ml,blhw->bmhw", weight, label_map) / norm[:, :, None, None]
            if number < len(maps):
                maps[number] = maps[number] + share
            else:
                maps.append(share)
    return Evidence(tuple(maps), bias)


def _label_maps(state: ScaleState, weight: Tensor, factor: Tensor | None = None) -> Tensor:
    """A linear layer [L, D] applied to every place of a state's last map, [B, L, N, N].

    Their sum over the places is the layer applied to the descriptor, without its bias.

    Args:
        state: of the scale.
        weight: of the layer. It stays as it is: a product of it would be another weight in an
            exported file.
        factor: [D], by which the layer's inputs are scaled.
    """
    last_map = state.last_map
    if factor is not None:
        last_map = last_map * factor[:, None, None]
    height, width = last_map.shape[-2:]
    return torch.einsum("bchw,lc->blhw", last_map, weight) / (height * width)


def _parts(values: Tensor, count: int) -> list[Tensor]:
    """The equal parts of the last axis, one for each scale."""
    width = values.shape[-1] // count
    return [values[..., number * width : (number + 1) * width] for number in range(count)]


def _norm(values: Tensor) -> Tensor:
    """The Euclidean norm of each row, [B, 1]."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return norm.clamp(min=_MIN_NORM)
