"""Backbones are timm's networks, split where the paper splits them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conftest import TINY
from leafzoom.errors import RecipeError
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_racnn
from leafzoom.model.pretrained import _load_features
from leafzoom.recipe import load_recipe


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        ("efficientnet_b0", 320, 3),
        ("efficientnet_b1", 320, 3),
        ("tf_efficientnet_lite0", 320, 3),
        ("resnet18", 512, 3),
        ("vgg11_bn", 512, 3),
    ],
)
def test_a_backbone_is_timms_network(name: str, channels: int, side: int) -> None:
    """Timm's own logits; the APN's map is that of stage 8, before the classifier's stage 9."""
    torch.manual_seed(0)
    backbone = Backbone(name=name, labels=6, drop_rate=0.2).eval()
    views = torch.randn(2, 3, 96, 96)

    with torch.no_grad():
        output = backbone(views)
        torch.testing.assert_close(output.logits, backbone.network(views))
        expected = backbone.classifier_layer()(output.descriptor)
        torch.testing.assert_close(output.logits, expected)

    assert output.features.shape == (2, channels, side, side)
    assert backbone.map_shape(96) == (channels, side)


def test_the_apn_can_read_the_stage_of_stride_16() -> None:
    backbone = Backbone(
        name="tf_efficientnet_lite0", labels=6, drop_rate=0.0, apn_stage="stride16"
    ).eval()
    assert backbone.map_shape(224) == (112, 14)
    assert backbone.map_shape(112) == (112, 7)
    with torch.no_grad():
        views = torch.randn(1, 3, 96, 96)
        torch.testing.assert_close(backbone(views).logits, backbone.network(views))

    with pytest.raises(RecipeError, match="resnet18 has no stage of stride 16"):
        Backbone(name="resnet18", labels=6, drop_rate=0.0, apn_stage="stride16")


def test_each_backbone_has_its_own_normalisation() -> None:
    lite = Backbone(name="tf_efficientnet_lite0", labels=2, drop_rate=0.0)
    assert lite.mean == (0.5,) * 3
    assert lite.std == (0.5,) * 3

    b0 = Backbone(name="efficientnet_b0", labels=2, drop_rate=0.0)
    assert b0.mean == pytest.approx((0.485, 0.456, 0.406))
    assert b0.std == pytest.approx((0.229, 0.224, 0.225))

    recipe = load_recipe("default", [*TINY, "model.backbone=tf_efficientnet_lite0"])
    pixels = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert build_racnn(recipe, 2).normalise(pixels)[0, 0, 0].tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "efficientnet_b0", "resnet18", "vgg11_bn", "convnext_atto"]
)
def test_folded_batch_norms_are_the_same_function(name: str) -> None:
    """In float64, where rounding hides nothing: 1e-9 is a thousandth of float32's own rounding."""
    backbone = with_random_statistics(Backbone(name=name, labels=3, drop_rate=0.0)).double()
    views = torch.rand(2, 3, 64, 64, dtype=torch.float64)

    with torch.no_grad():
        before = backbone(views)
        backbone.fold_batch_norm()
        after = backbone(views)

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    assert_relatively_close(after.features, before.features, 1e-9)
    assert_relatively_close(after.descriptor, before.descriptor, 1e-9)


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet18"])
def test_a_folded_state_dict_loads_into_a_network_that_takes_its_form(name: str) -> None:
    backbone = with_random_statistics(Backbone(name=name, labels=3, drop_rate=0.0))
    backbone.fold_batch_norm()
    views = torch.rand(2, 3, 64, 64)

    other = Backbone(name=name, labels=3, drop_rate=0.0).eval()
    other.match_batch_norm(backbone.state_dict())
    other.load_state_dict(backbone.state_dict())

    with torch.no_grad():
        assert torch.equal(other(views).logits, backbone(views).logits)


def with_random_statistics(backbone: Backbone) -> Backbone:
    """The backbone with batch-norm statistics and weights as after some training."""
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return backbone.eval()


def assert_relatively_close(values: Tensor, expected: Tensor, tolerance: float) -> None:
    """Each value within a share of the largest one."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance * scale)


def test_batch_norms_that_cannot_be_folded_are_refused() -> None:
    backbone = Backbone(name="densenet121", labels=3, drop_rate=0.0)
    message = r"batch norms of densenet121 cannot be folded .*use 'keep'"
    with pytest.raises(RecipeError, match=message):
        backbone.fold_batch_norm()


def test_frozen_stages_are_those_of_an_efficientnet() -> None:
    backbone = Backbone(name="test_efficientnet", labels=3, drop_rate=0.0).train()
    backbone.freeze_stages(2)

    frozen = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv_stem", "bn1", "blocks"}
    assert not backbone.network.blocks[1].training
    assert backbone.network.blocks[2].training
    assert all(parameter.requires_grad for parameter in backbone.network.blocks[2].parameters())


def test_stages_that_a_network_does_not_have_cannot_be_frozen() -> None:
    message = "frozen_stages is 99, but test_efficientnet has 5 stages"
    with pytest.raises(RecipeError, match=message):
        Backbone(name="test_efficientnet", labels=3, drop_rate=0.0).freeze_stages(99)

    message = "resnet18 has no stages that can be frozen"
    with pytest.raises(RecipeError, match=message):
        Backbone(name="resnet18", labels=3, drop_rate=0.0).freeze_stages(1)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_class_activation_maps_average_to_the_logits(name: str) -> None:
    backbone = Backbone(name=name, labels=6, drop_rate=0.2).eval()
    views = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    backbone.require_class_activations(64)

    with torch.no_grad():
        output = backbone(views)
        means = backbone.class_activations(output.last_map).mean(dim=(2, 3))
        logits = means + backbone.classifier_layer().bias
    torch.testing.assert_close(logits, output.logits, rtol=1e-4, atol=1e-5)


def test_a_pooled_vgg_reads_the_mean_of_its_map() -> None:
    """512 units in place of 4096; the convolutions are those of the whole network."""
    whole = Backbone(name="vgg11_bn", labels=3, drop_rate=0.0).eval()
    pooled = Backbone(name="vgg11_bn", labels=3, drop_rate=0.0, descriptor="pooled").eval()
    assert (whole.classifier_layer().in_features, pooled.classifier_layer().in_features) == (
        4096,
        512,
    )
    assert not whole.has_class_activations(64)
    assert pooled.has_class_activations(64)

    _load_features(pooled, whole.network.state_dict(), "vgg11_bn")
    views = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = pooled(views)
        assert torch.equal(output.last_map, whole(views).last_map)
    torch.testing.assert_close(output.descriptor, output.last_map.mean(dim=(2, 3)))


def test_other_networks_are_pooled_as_they_are() -> None:
    torch.manual_seed(0)
    usual = Backbone(name="resnet18", labels=3, drop_rate=0.0)
    torch.manual_seed(0)
    pooled = Backbone(name="resnet18", labels=3, drop_rate=0.0, descriptor="pooled")
    assert usual.state_dict().keys() == pooled.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(usual.parameters(), pooled.parameters(), strict=True)
    )
