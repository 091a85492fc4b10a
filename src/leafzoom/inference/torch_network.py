"""A checkpoint as a network in PyTorch: for evaluation, and for checking the export."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafzoom.dataset.sources import sources_to_images
from leafzoom.inference.network import NetworkArrays
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, network_from_checkpoint
from leafzoom.model.fusion import FusedRACNN, tta_images, tta_mean
from leafzoom.model_file.checkpoint import Checkpoint, load_part
from leafzoom.model_file.outputs import BACKBONE_HEAD
from leafzoom.recipe import recipe_from_dict

__all__ = ["DeployedNetwork", "TorchNetwork"]


class DeployedNetwork(nn.Module):
    """The network as it is exported: probabilities and corner boxes, not logits and centre boxes.

    Args:
        network: from uint8 sources to every head's logits.
    """

    def __init__(self, network: FusedRACNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        """Predict all heads for uint8 sources [N, S, S, 3].

        Returns:
            Each head's probabilities [N, L]; each scale's box [N, 4]; then, where the network has
            the detectors, the out-of-distribution scores [N] from all scales and from the first.
        """
        output = self.network(source)
        probabilities = [torch.sigmoid(logits) for logits in output.logits.values()]
        boxes = [_corners(box) for box in output.boxes]
        scores = [
            score for score in (output.ood_score, output.first_ood_score) if score is not None
        ]
        return (*probabilities, *boxes, *scores)


class TorchNetwork:
    """A checkpoint's network; with the plain backbone's head if the checkpoint has it.

    Args:
        checkpoint: of a finished training.
        device: where it computes.
        dtype: of its numbers; float64 serves as the reference of comparisons.

    Raises:
        ModelError: the checkpoint is incomplete.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.manifest = checkpoint.manifest
        self.device = torch.device(device)
        self.network = network_from_checkpoint(checkpoint).to(self.device, dtype)

        # Some checkpoints hold the plain fine-tuned backbone too, as a head of its own.
        self._backbone: Backbone | None = None
        if BACKBONE_HEAD in checkpoint.parts:
            backbone = _backbone_from_checkpoint(checkpoint)
            backbone.to(self.device, dtype).to(memory_format=torch.channels_last)
            self._backbone = backbone

    @torch.inference_mode()
    def __call__(self, sources: NDArray[np.uint8]) -> NetworkArrays:
        """Predict all heads for uint8 sources [N, S, S, 3]."""
        batch = self._batch(sources)

        # The plain backbone sees the whole source, as scale 1 does.
        probabilities = {}
        if self._backbone is not None:
            view = self.network.racnn.whole_view(self._tta_images(batch)).image
            probabilities[BACKBONE_HEAD] = self._probabilities(self._backbone(view).logits)

        output = self.network(batch)
        for head, logits in output.logits.items():
            probabilities[head] = _as_array(torch.sigmoid(logits))

        # The network's boxes are centres with half sides; callers get corners.
        boxes = tuple(_as_array(_corners(box)) for box in output.boxes)
        ood_score = None if output.ood_score is None else _as_array(output.ood_score)
        return NetworkArrays(probabilities, boxes, ood_score)

    @torch.inference_mode()
    def first_look(self, sources: NDArray[np.uint8]) -> NetworkArrays | None:
        """Predict with scale 1 alone for uint8 sources [N, S, S, 3]; see `Network`."""
        network = self.network
        if network.first_ood_detector is None or self.manifest.early_exit is None:
            return None

        state = network.racnn.start(self._tta_images(self._batch(sources)))
        probabilities = self._probabilities(state.logits)
        ood_score = network.first_ood_score(state)
        assert ood_score is not None
        source_size = network.racnn.source_size
        return NetworkArrays.of_first_look(probabilities, _as_array(ood_score), source_size)

    def _batch(self, sources: NDArray[np.uint8]) -> Tensor:
        """A copy of sources as a tensor; PyTorch warns about arrays that cannot be written."""
        return torch.from_numpy(np.array(sources)).to(self.device)

    def _tta_images(self, batch: Tensor) -> Tensor:
        """Normalised images [tta * N, 3, S, S] of uint8 sources [N, S, S, 3] and their mirrors."""
        racnn = self.network.racnn
        images = sources_to_images(batch, racnn.mean.dtype)
        return tta_images(racnn.normalise(images), self.network.tta)

    def _probabilities(self, logits: Tensor) -> NDArray[np.float32]:
        """Probabilities [N, L] from logits [tta * N, L] of images and their mirror images."""
        return _as_array(torch.sigmoid(tta_mean(logits, self.network.tta)))


def _backbone_from_checkpoint(checkpoint: Checkpoint) -> Backbone:
    """The fine-tuned plain backbone of a checkpoint, in eval()."""
    recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
    tensors = checkpoint.part(BACKBONE_HEAD)

    backbone = build_backbone(recipe.model, len(checkpoint.manifest.labels.names))
    backbone.match_batch_norm(tensors)
    load_part(backbone, tensors, f"{checkpoint.path}: {BACKBONE_HEAD}")
    return backbone.eval()


def _corners(boxes: Tensor) -> Tensor:
    """Boxes (x0, y0, x1, y1) [N, 4] from centres and half sides (x, y, half side) [N, 3]."""
    centres = boxes[:, :2]
    half_sides = boxes[:, 2:]
    return torch.cat([centres - half_sides, centres + half_sides], dim=1)


def _as_array(values: Tensor) -> NDArray[np.float32]:
    """Values in float32 on the CPU."""
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
