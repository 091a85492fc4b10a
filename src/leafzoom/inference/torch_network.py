"""A checkpoint as a network in PyTorch: for evaluation, and for checking the export."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafzoom.inference.network import NetworkArrays
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, network_from_checkpoint
from leafzoom.model.checkpoint import Checkpoint, load_part
from leafzoom.model.fusion import FusedRACNN, mirror_images, mirror_mean
from leafzoom.recipe import recipe_from_dict

__all__ = ["DeployedNetwork", "TorchNetwork"]


class DeployedNetwork(nn.Module):
    """The network as it is exported: probabilities and corner boxes instead of logits and centre boxes."""

    def __init__(self, network: FusedRACNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        """What the network makes of uint8 sources [N, S, S, 3].

        Returns:
            Each head's probabilities [N, L], each scale's box [N, 4], and strangeness [N], of all looks and of the
            first, where the network tells it.
        """
        output = self.network(source)
        probabilities = [torch.sigmoid(logits) for logits in output.logits.values()]
        corners = [torch.cat([b[:, :2] - b[:, 2:], b[:, :2] + b[:, 2:]], dim=1) for b in output.boxes]
        strangeness = [s for s in (output.strangeness, output.first_strangeness) if s is not None]
        return (*probabilities, *corners, *strangeness)


class TorchNetwork:
    """A checkpoint's network; with the plain backbone's head where the checkpoint holds it.

    Args:
        checkpoint: of a finished training.
        device: where it computes.
        dtype: of its numbers; float64 serves as the reference of comparisons.

    Raises:
        ModelError: the checkpoint is incomplete.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.manifest = checkpoint.manifest
        self.device = torch.device(device)
        self.network = network_from_checkpoint(checkpoint).to(self.device, dtype)
        self.deployed = DeployedNetwork(self.network)
        self._backbone: Backbone | None = None
        if "backbone" in checkpoint.parts:
            recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
            self._backbone = build_backbone(recipe.model, len(self.manifest.labels.names))
            self._backbone.take_form(checkpoint.part("backbone"))
            load_part(self._backbone, checkpoint.part("backbone"), f"{checkpoint.path}: backbone")
            self._backbone.to(self.device, dtype).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, sources: NDArray[np.uint8]) -> NetworkArrays:
        """All heads of uint8 sources [N, S, S, 3]."""
        batch = torch.from_numpy(np.array(sources)).to(self.device)
        heads = [head for head in self.manifest.decisions if head != "backbone"]
        results = [result.float().cpu().numpy() for result in self.deployed(batch)]
        probabilities = dict(zip(heads, results[: len(heads)], strict=True))
        if self._backbone is not None:
            racnn = self.network.racnn
            mirrors = self.network.mirrors
            pictures = racnn.normalise(batch.permute(0, 3, 1, 2).to(racnn.mean) / 255)
            view = racnn.first_glimpse(mirror_images(pictures, mirrors)).view
            plain = torch.sigmoid(mirror_mean(self._backbone(view).logits, mirrors)).float().cpu().numpy()
            probabilities = {"backbone": plain, **probabilities}
        boxes = tuple(results[len(heads) : len(heads) + self.manifest.scales])
        strangeness = results[len(heads) + len(boxes)] if self.network.familiarity is not None else None
        return NetworkArrays(probabilities, boxes, strangeness)

    @torch.inference_mode()
    def first_look(self, sources: NDArray[np.uint8]) -> NetworkArrays | None:
        """Scale 1 alone of uint8 sources [N, S, S, 3]; None where the model was not made for it."""
        network = self.network
        if network.first_familiarity is None or self.manifest.early_exit is None:
            return None
        racnn = network.racnn
        batch = torch.from_numpy(np.array(sources)).to(self.device)
        pictures = racnn.normalise(batch.permute(0, 3, 1, 2).to(racnn.mean) / 255)
        glimpse = racnn.first_glimpse(mirror_images(pictures, network.mirrors))
        look = racnn.look(0, glimpse)
        probabilities = torch.sigmoid(mirror_mean(look.logits, network.mirrors)).float().cpu().numpy()
        strangeness = network.first_familiarity(mirror_mean(look.descriptor, network.mirrors)).float().cpu().numpy()
        whole = np.tile(np.array([0, 0, racnn.source_size, racnn.source_size], np.float32), (len(sources), 1))
        return NetworkArrays({"scale1": probabilities}, (whole,), strangeness)
