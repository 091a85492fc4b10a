"""The scales' own classifiers as one linear layer on a fusion's inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from leafzoom.fitting.fusion import LinearLayer
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import Fusion
from leafzoom.model.macnn import MACNN

__all__ = ["fusion_prior", "mean_classifier", "set_linear_layer", "weighted_classifiers"]


def mean_classifier(network: AttentionNetwork, fusion: Fusion) -> LinearLayer:
    """The layer with which a fusion is the mean of its scales' logits.

    With `residual` it is the finest scale's logits, which the coarser ones' are part of.
    """
    scales = fusion.scales
    finest = scales - 1

    # Logits: each label from the same label of every scale.
    if fusion.inputs == "logits":
        shares = [1 / scales] * scales
        if network.residual:
            shares = [float(scale == finest) for scale in range(scales)]
        return weighted_classifiers(network, fusion, shares)

    # Descriptors: the classifiers side by side, each with its share.
    shares = [1 / scales] * scales
    if network.residual:
        shares = [network.residual ** (finest - scale) for scale in range(scales)]
    layer = weighted_classifiers(network, fusion, shares)

    # An L2-normalised descriptor is no input that the scales' classifiers know.
    if fusion.normalise == "l2":
        return LinearLayer(np.zeros_like(layer.weight), layer.bias)
    return layer


def fusion_prior(network: AttentionNetwork, fusion: Fusion) -> LinearLayer:
    """What a fusion's fit starts from: mostly the mean of the looks' classifiers.

    An MA-CNN has trained a classifier of all descriptors together with its parts. The published
    answer of attention sampling is the mean over the patches alone.
    """
    if isinstance(network, AttentionSampling) and fusion.normalise != "l2":
        shares = [0.0] + [1 / network.patches] * network.patches
        return weighted_classifiers(network, fusion, shares)

    reads_descriptors = fusion.inputs == "descriptors" and fusion.normalise != "l2"
    if not isinstance(network, MACNN) or not reads_descriptors:
        return mean_classifier(network, fusion)
    layer = network.classifier
    weight = layer.weight.detach().double().cpu().numpy()
    return LinearLayer(weight, layer.bias.detach().double().cpu().numpy())


def weighted_classifiers(
    network: AttentionNetwork, fusion: Fusion, shares: Sequence[float]
) -> LinearLayer:
    """The layer on the fusion's inputs whose logits are the scales' own, times their shares.

    Of scales whose logits do not build on each other.
    """
    layers = network.classifier_layers()[: fusion.scales]
    pairs = list(zip(shares, layers, strict=True))

    if fusion.inputs == "logits":
        labels = layers[0].out_features
        identities = [share * np.eye(labels) for share in shares]
        return LinearLayer(np.concatenate(identities, axis=1), np.zeros(labels))

    weight = torch.cat([share * layer.weight.detach() for share, layer in pairs], dim=1)
    bias = torch.stack([share * layer.bias.detach() for share, layer in pairs]).sum(dim=0)
    return LinearLayer(weight.double().cpu().numpy(), bias.double().cpu().numpy())


@torch.no_grad()
def set_linear_layer(fusion: Fusion, layer: LinearLayer) -> None:
    """Give a fusion a layer on its inputs as they are, without rescaling."""
    fusion.shift.zero_()
    fusion.scale.fill_(1.0)
    fusion.linear.weight.copy_(torch.from_numpy(layer.weight))
    fusion.linear.bias.copy_(torch.from_numpy(layer.bias))
