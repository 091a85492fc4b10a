"""What is measured: an RA-CNN of EfficientNet-B0s at 224 px, plain backbones beside it, and random photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from leafzoom.inference.export import export_onnx
from leafzoom.labels import Decision, LabelSet
from leafzoom.manifest import Manifest
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, build_fusions, build_racnn
from leafzoom.model.checkpoint import Checkpoint, network_tensors
from leafzoom.model.fusion import FusedRACNN, fusion_head
from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe, load_recipe, recipe_to_dict
from leafzoom.training.optimization import Optimization
from leafzoom.training.phases import ApnPhase, ClassifierPhase, RankingLoss

__all__ = ["Subject", "exported", "exported_plain", "random_sources"]

LABELS = 6


def random_sources(count: int, size: int) -> np.ndarray:
    """Sources uint8 [count, size, size, 3] of noise: time does not depend on what a picture shows."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@dataclass
class Subject:
    """A network with everything that a step of each kind needs; all steps learn from the same random batch."""

    recipe: Recipe
    racnn: RACNN
    plain: Backbone
    pictures: Tensor
    views: Tensor
    targets: Tensor
    classifier: ClassifierPhase
    apn: ApnPhase
    plain_optimization: Optimization

    @classmethod
    def of(cls, recipe_name: str, values: list[str], *, batch: int, device: str = "cpu") -> Subject:
        """Built from a recipe, random weights, on a device; nothing is held, so that all of a backbone learns."""
        recipe = load_recipe(recipe_name, ["model.pretrained=none", "alternation.held_stages=0", *values])
        torch.manual_seed(0)
        racnn = build_racnn(recipe, LABELS).to(device)
        plain = build_backbone(recipe.model, LABELS).to(device).to(memory_format=torch.channels_last)
        if recipe.model.batch_norm == "fold":
            for backbone in (plain, *racnn.backbones):
                backbone.fold_batch_norm()
        pictures = torch.rand(batch, 3, recipe.data.source_size, recipe.data.source_size, device=device)
        pictures = pictures.contiguous(memory_format=torch.channels_last)  # as uint8 [B, S, S, 3] becomes it
        views = torch.rand(batch, 3, recipe.model.input_size, recipe.model.input_size, device=device)
        views = views.contiguous(memory_format=torch.channels_last)
        targets = (torch.rand(batch, LABELS, device=device) > 0.8).float()
        stage = recipe.alternation
        classifier = Optimization(list(racnn.backbones), stage.classifier, 10**6)
        apn = Optimization(list(racnn.apns), stage.apn, 10**6)
        return cls(
            recipe,
            racnn,
            plain,
            pictures,
            views,
            targets,
            ClassifierPhase(racnn, classifier, _backward),
            ApnPhase(racnn, apn, _backward, RankingLoss(stage.margin, stage.ranking_labels, stage.ranking_reduction)),
            Optimization([plain], stage.classifier, 10**6),
        )

    def classifier_step(self) -> None:
        """One step of the classifier phase."""
        self.classifier.begin()
        self.classifier.step(self.pictures, self.targets)

    def apn_step(self) -> None:
        """One step of the APN phase."""
        self.apn.begin()
        self.apn.step(self.pictures, self.targets)

    def plain_step(self) -> None:
        """One step of the plain backbone on views that are cut already: forward, backward, optimizer."""
        self.plain.requires_grad_(True).train()
        classification_loss(self.plain(self.views).logits, self.targets).backward()  # type: ignore[no-untyped-call]
        self.plain_optimization.step()

    @torch.no_grad()
    def evaluation_pass(self) -> None:
        """All scales of a batch, in eval()."""
        self.racnn.eval()
        self.racnn(self.racnn.normalise(self.pictures))

    @torch.no_grad()
    def plain_pass(self) -> None:
        """The plain backbone on views that are cut already, in eval()."""
        self.plain.eval()
        self.plain(self.views)

    def checkpoint(self, path: Path) -> Checkpoint:
        """Its random weights as a checkpoint that can be exported, with untrained fusions."""
        size, scales = self.recipe.data.source_size, self.recipe.model.scales
        network = FusedRACNN(self.racnn.eval(), build_fusions(self.recipe.fusion, self.racnn), mirrors=1)
        heads = [f"scale{s}" for s in range(1, scales + 1)] + [fusion_head(s) for s in range(2, scales + 1)]
        decision = Decision(thresholds=(0.5,) * LABELS, temperature=1.0)
        recipe = recipe_to_dict(self.recipe) | {"prediction": {"mirrors": 1}}
        manifest = Manifest(
            labels=LabelSet(tuple(f"label{n}" for n in range(LABELS)), ((1,) + (0,) * (LABELS - 1),)),
            source_size=size,
            input_size=self.recipe.model.input_size,
            scales=scales,
            decisions=dict.fromkeys(heads, decision),
            recipe=recipe,
        )
        return Checkpoint(network_tensors(network), manifest, path)


def exported(subject: Subject, path: Path) -> Path:
    """The whole network of a subject as leafzoom exports it."""
    export_onnx(subject.checkpoint(path), path, random_sources(2, subject.recipe.data.source_size))
    return path


def exported_plain(subject: Subject, path: Path) -> Path:
    """The plain backbone's logits of views [N, 3, V, V] as an ONNX model."""
    size = subject.recipe.model.input_size
    program = torch.onnx.export(
        _Logits(subject.plain.to(memory_format=torch.contiguous_format)).eval(),
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


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
