"""What is measured: an RA-CNN, a plain backbone of the same kind, and random photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafzoom.fitting.optimization import Optimization
from leafzoom.inference.export import export_onnx
from leafzoom.labels import Decision, LabelSet
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, build_fusions, build_racnn, network_tensors
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.outputs import head_names
from leafzoom.recipe import Recipe, load_recipe, recipe_to_dict
from leafzoom.training.apn_phase import ApnPhase, RankingLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.phases import Phase

__all__ = [
    "EFFICIENTNET_B0",
    "LABELS",
    "RandomBatch",
    "Settings",
    "Subject",
    "export_plain",
    "export_subject",
    "random_sources",
    "step_phase",
    "step_plain",
]

Settings = Sequence[str]
"""Changes of a recipe, `KEY=VALUE` each."""

LABELS = 6
EFFICIENTNET_B0 = ("model.backbone=efficientnet_b0", "model.batch_norm=keep")

_UNTRAINED = ("model.pretrained=none", "alternation.frozen_stages=0")
_POSITIVE_SHARE = 0.2
_ENDLESS = 10**6  # steps of a schedule that no benchmark comes to the end of


@dataclass(frozen=True)
class RandomBatch:
    """A batch that every step learns from.

    `images`: [B, 3, S, S]. `views`: [B, 3, V, V], for the plain backbone. `targets`: [B, L], 0 or
    1.
    """

    images: Tensor
    views: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Subject:
    """A network with everything that a step of each kind needs."""

    recipe: Recipe
    racnn: RACNN
    plain: Backbone
    batch: RandomBatch
    classifier: ClassifierPhase
    apn: ApnPhase
    plain_optimization: Optimization

    @classmethod
    def build(
        cls, recipe_name: str, settings: Settings, *, batch_size: int, device: str = "cpu"
    ) -> Subject:
        """Build a recipe's networks with random weights; all layers of all backbones are trained.

        Args:
            recipe_name: of the recipe.
            settings: changes of it.
            batch_size: of the random batch.
            device: of the networks and the batch.
        """
        recipe = load_recipe(recipe_name, [*_UNTRAINED, *settings])
        torch.manual_seed(0)

        racnn = build_racnn(recipe, LABELS).to(device)
        plain = build_backbone(recipe.model, LABELS).to(device)
        plain = plain.to(memory_format=torch.channels_last)
        if recipe.model.batch_norm == "fold":
            for backbone in (plain, *racnn.backbones):
                backbone.fold_batch_norm()

        # The phases, as the alternation builds them.
        stage = recipe.alternation
        ranking_loss = RankingLoss(stage.margin, stage.ranking_labels, stage.ranking_reduction)
        classifier = Optimization(list(racnn.backbones), stage.classifier, _ENDLESS)
        apn = Optimization(list(racnn.apns), stage.apn, _ENDLESS)

        return cls(
            recipe=recipe,
            racnn=racnn,
            plain=plain,
            batch=_random_batch(recipe, batch_size, device),
            classifier=ClassifierPhase(racnn, classifier, _backward),
            apn=ApnPhase(racnn, apn, _backward, ranking_loss),
            plain_optimization=Optimization([plain], stage.classifier, _ENDLESS),
        )

    def classifier_step(self) -> None:
        """One step of the classifier phase."""
        step_phase(self.classifier, self.batch)

    def apn_step(self) -> None:
        """One step of the APN phase."""
        step_phase(self.apn, self.batch)

    def plain_step(self) -> None:
        """One step of the plain backbone."""
        step_plain(self.plain, self.plain_optimization, self.batch)

    @torch.no_grad()
    def evaluation_pass(self) -> None:
        """All scales of the batch, in eval()."""
        self.racnn.eval()
        self.racnn(self.racnn.normalise(self.batch.images))

    @torch.no_grad()
    def plain_pass(self) -> None:
        """The plain backbone on views that are cut already, in eval()."""
        self.plain.eval()
        self.plain(self.batch.views)

    def checkpoint(self, path: Path) -> Checkpoint:
        """The random weights, with untrained fusions, as a checkpoint that can be exported."""
        fusions = build_fusions(self.recipe.fusion, self.racnn)
        network = FusedNetwork(self.racnn.eval(), fusions, tta=1)

        # A manifest that the exporter accepts.
        label_names = tuple(f"label{number}" for number in range(LABELS))
        first_label_alone = (1,) + (0,) * (LABELS - 1)
        decision = Decision(thresholds=(0.5,) * LABELS, temperature=1.0)
        scales = self.recipe.model.scales

        manifest = Manifest(
            labels=LabelSet(label_names, (first_label_alone,)),
            source_size=self.recipe.data.source_size,
            input_size=self.recipe.model.input_size,
            scales=scales,
            decisions=dict.fromkeys(head_names(scales), decision),
            recipe=recipe_to_dict(self.recipe) | {"prediction": {"mirrors": 1}},
        )
        return Checkpoint(network_tensors(network), manifest, path)


def random_sources(count: int, size: int) -> NDArray[np.uint8]:
    """Sources uint8 [count, size, size, 3] of noise: time does not depend on what they show."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def step_phase(phase: Phase, batch: RandomBatch) -> None:
    """One step of a training phase."""
    phase.begin()
    phase.step(batch.images, batch.targets)


def step_plain(plain: Backbone, optimization: Optimization, batch: RandomBatch) -> None:
    """One step on views that are cut already: forward, backward, optimizer."""
    plain.requires_grad_(True).train()
    logits = plain(batch.views).logits
    _backward(classification_loss(logits, batch.targets))
    optimization.step()


def export_subject(subject: Subject, path: Path) -> Path:
    """Export a subject's whole network as leafzoom does."""
    sources = random_sources(2, subject.recipe.data.source_size)
    export_onnx(subject.checkpoint(path), path, sources)
    return path


def export_plain(subject: Subject, path: Path) -> Path:
    """Export the plain backbone: logits of the input `cut_views`, [N, 3, V, V]."""
    size = subject.recipe.model.input_size
    contiguous = subject.plain.to(memory_format=torch.contiguous_format)
    program = torch.onnx.export(
        _Logits(contiguous).eval(),
        (torch.rand(2, 3, size, size),),
        input_names=["cut_views"],
        output_names=["logits"],
        dynamic_shapes={"views": {0: torch.export.Dim("photographs", min=1, max=4096)}},
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    onnx.save(program.model_proto, path)

    # As the steps need it.
    subject.plain.to(memory_format=torch.channels_last)
    return path


class _Logits(nn.Module):
    """A backbone's logits alone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, views: Tensor) -> Tensor:
        logits: Tensor = self.backbone(views).logits
        return logits


def _random_batch(recipe: Recipe, batch_size: int, device: str) -> RandomBatch:
    """Images as uint8 [B, S, S, 3] becomes them: channels last."""
    source_size = recipe.data.source_size
    view_size = recipe.model.input_size
    images = torch.rand(batch_size, 3, source_size, source_size, device=device)
    views = torch.rand(batch_size, 3, view_size, view_size, device=device)
    targets = torch.rand(batch_size, LABELS, device=device) > 1 - _POSITIVE_SHARE

    return RandomBatch(
        images=images.contiguous(memory_format=torch.channels_last),
        views=views.contiguous(memory_format=torch.channels_last),
        targets=targets.float(),
    )


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
