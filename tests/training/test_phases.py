"""Fine-tuning trains the plain backbone alone; every recipe's phases run."""

from __future__ import annotations

import torch

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_racnn
from leafzoom.recipe import load_recipe
from leafzoom.training.apn_phase import ApnPhase, RankingLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.phases import FineTuningPhase, Phase
from leafzoom.training.warm_up import WarmUpPhase
from network_helpers import LABELS, changed_tensors, random_batch, sgd, small_racnn, snapshot


def test_fine_tuning_changes_the_plain_backbone_alone() -> None:
    racnn = small_racnn()
    backbone = small_racnn().backbones[0]
    assert isinstance(backbone, Backbone)
    phase = FineTuningPhase(racnn, backbone, sgd([backbone]), torch.Tensor.backward)
    phase.begin()
    racnn_before = snapshot(racnn)
    backbone_before = snapshot(backbone)

    phase.step(*random_batch())

    assert not changed_tensors(racnn_before, racnn)
    assert changed_tensors(backbone_before, backbone)


def test_vgg19_takes_a_step_of_every_phase() -> None:
    """The original RA-CNN's backbone: 140 M parameters a scale, so single steps alone."""
    changes = ["model.input_size=64", "data.source_size=64", "model.scales=2", "model.apn_hidden=4"]
    recipe = load_recipe("vgg19", changes)
    racnn = build_racnn(recipe, LABELS)
    images = torch.rand(2, 3, 64, 64)
    targets = torch.tensor([[1, 0, 0], [0, 1, 1]])

    backward = torch.Tensor.backward
    classifier = Optimization(list(racnn.backbones), recipe.alternation.classifier, 1)
    ranking = RankingLoss(margin=1.0, labels="present", reduction="mean")
    phases: list[Phase] = [
        ClassifierPhase(racnn, classifier, backward),
        WarmUpPhase(racnn, sgd(racnn.apns), backward, target="response", size_target=1.0),
        ApnPhase(racnn, sgd(racnn.apns), backward, ranking),
    ]
    for phase in phases:
        before = snapshot(racnn)
        phase.begin()
        logged = phase.step(images, targets)
        assert all(bool(torch.isfinite(value)) for value in logged.values())
        assert changed_tensors(before, racnn)
