"""A checkpoint as a network in PyTorch: for evaluation, and for checking the export."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafzoom.inference.network import EvidenceArrays, NetworkArrays, check_evidence
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, network_from_checkpoint
from leafzoom.model.cal import CAL
from leafzoom.model.closest_look import closest_boxes
from leafzoom.model.evidence import Evidence, first_evidence, has_evidence, network_evidence
from leafzoom.model.fusion import FusedNetwork, all_descriptors, head_names
from leafzoom.model.mirrors import tta_mean
from leafzoom.model_file.checkpoint import Checkpoint, load_part
from leafzoom.model_file.manifest import possible_source_sizes
from leafzoom.model_file.outputs import (
    BACKBONE_HEAD,
    FIRST_EVIDENCE_BIAS_OUTPUT,
    FIRST_EVIDENCE_OUTPUT,
    FIRST_OOD_SCORE_OUTPUT,
    OOD_SCORE_OUTPUT,
    box_outputs,
    descriptor_outputs,
    evidence_outputs,
    look_heads,
    probability_outputs,
)
from leafzoom.recipe import recipe_from_dict

__all__ = ["DeployedNetwork", "TorchNetwork"]


class DeployedNetwork(nn.Module):
    """The network as it is exported: probabilities and corner boxes, not logits and centre boxes.

    Args:
        network: from uint8 sources to every head's logits.
    """

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network
        self.has_evidence = has_evidence(network)
        self.gives_descriptors = isinstance(network.attention_network, CAL | AttentionSampling)

    def output_names(self) -> list[str]:
        """The names of what `forward` returns."""
        network = self.network
        scales = network.attention_network.scales
        framework = network.attention_network.framework
        names = probability_outputs(head_names(scales, framework))
        names += box_outputs(look_heads(scales, framework))
        if network.ood_detector is not None:
            names.append(OOD_SCORE_OUTPUT)
        if network.first_ood_detector is not None:
            names.append(FIRST_OOD_SCORE_OUTPUT)
        if self.gives_descriptors:
            names += descriptor_outputs(look_heads(scales, framework))
        if self.has_evidence:
            names += evidence_outputs(scales)
            names += [FIRST_EVIDENCE_OUTPUT, FIRST_EVIDENCE_BIAS_OUTPUT]
        return names

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        """Predict all heads for uint8 sources [N, S, S, 3].

        Returns:
            Each head's probabilities [N, L]; each scale's box [N, 4]; then, where the network has
            the detectors, the out-of-distribution scores [N] from all scales and from the first;
            then, of CAL and attention sampling, each look's descriptor [N, D];
            then, where the heads are linear, each scale's evidence [N, L, h, w] and its bias
            [N, L] of the last fusion, the closest look's box [N, 4], and the evidence and bias of
            the first scale's own head.
        """
        output = self.network(source)
        probabilities = [self.network.probabilities(logits) for logits in output.logits.values()]
        boxes = [_corners(box) for box in output.boxes]
        scores = [
            score for score in (output.ood_score, output.first_ood_score) if score is not None
        ]
        if self.gives_descriptors:
            scores += output.descriptors
        if not self.has_evidence:
            return (*probabilities, *boxes, *scores)

        fused = network_evidence(self.network, output.states)
        first = first_evidence(self.network, output.states[0])
        last_state = output.states[-1]
        closest = closest_boxes(self.network.racnn, last_state, fused, probabilities[-1])
        return (
            *(*probabilities, *boxes, *scores),
            *(*fused.maps, fused.bias, _corners(closest)),
            *(*first.maps, first.bias),
        )


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
        self.device_name = self.device.type
        self.network = network_from_checkpoint(checkpoint).to(self.device, dtype)

        self.has_evidence = has_evidence(self.network)
        self.source_sizes = possible_source_sizes(
            self.manifest.source_size, self.manifest.input_size
        )

        # Some checkpoints hold the plain fine-tuned backbone too, as a head of its own.
        self._backbone: Backbone | None = None
        if BACKBONE_HEAD in checkpoint.parts:
            backbone = _backbone_from_checkpoint(checkpoint)
            backbone.to(self.device, dtype).to(memory_format=torch.channels_last)
            self._backbone = backbone

    @torch.inference_mode()
    def __call__(self, sources: NDArray[np.uint8], *, evidence: bool = False) -> NetworkArrays:
        """Predict all heads for uint8 sources [N, S, S, 3]; see `Network`."""
        batch = self._batch(sources)

        # The plain backbone sees the whole source, as scale 1 does.
        probabilities = {}
        if self._backbone is not None:
            whole = self.network.attention_network
            view = whole.whole_view(whole.normalise_pixels(batch), self.network.tta).image
            probabilities[BACKBONE_HEAD] = self._probabilities(self._backbone(view).logits)

        output = self.network(batch)
        for head, logits in output.logits.items():
            probabilities[head] = _as_array(self.network.probabilities(logits))

        # The network's boxes are centres with half sides; callers get corners.
        boxes = tuple(_as_array(_corners(box)) for box in output.boxes)
        ood_score = None if output.ood_score is None else _as_array(output.ood_score)
        arrays = None
        if evidence:
            check_evidence(self)
            fused = network_evidence(self.network, output.states)
            answer = self.network.probabilities(output.logits[self.manifest.head])
            closest = closest_boxes(self.network.racnn, output.states[-1], fused, answer)
            arrays = _evidence_arrays(fused, _as_array(_corners(closest)))
        return NetworkArrays(probabilities, boxes, ood_score, arrays)

    @torch.inference_mode()
    def first_look(
        self, sources: NDArray[np.uint8], *, evidence: bool = False
    ) -> NetworkArrays | None:
        """Predict with scale 1 alone for uint8 sources [N, S, S, 3]; see `Network`."""
        network = self.network
        if network.first_ood_detector is None or self.manifest.early_exit is None:
            return None

        images = network.racnn.normalise_pixels(self._batch(sources))
        state = network.racnn.start(images, network.tta)
        probabilities = self._probabilities(state.logits)
        ood_score = network.first_ood_score(state)
        assert ood_score is not None
        arrays = None
        if evidence:
            check_evidence(self)
            arrays = _evidence_arrays(first_evidence(network, state))
        return NetworkArrays.of_first_look(
            probabilities, _as_array(ood_score), sources.shape[1], arrays
        )

    @torch.inference_mode()
    def descriptors(self, sources: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The looks' descriptors for uint8 sources [N, S, S, 3]; see `Network`."""
        network = self.network.attention_network
        states = network(network.normalise_pixels(self._batch(sources)), self.network.tta)
        return _as_array(tta_mean(all_descriptors(states), self.network.tta))

    def _batch(self, sources: NDArray[np.uint8]) -> Tensor:
        """A copy of sources as a tensor; PyTorch warns about arrays that cannot be written."""
        return torch.from_numpy(np.array(sources)).to(self.device)

    def _probabilities(self, logits: Tensor) -> NDArray[np.float32]:
        """Probabilities [N, L] from logits [tta * N, L] of images and their mirror images."""
        return _as_array(self.network.probabilities(tta_mean(logits, self.network.tta)))


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


def _evidence_arrays(
    evidence: Evidence, closest_boxes: NDArray[np.float32] | None = None
) -> EvidenceArrays:
    """Evidence in float32 on the CPU."""
    maps = tuple(_as_array(label_map) for label_map in evidence.maps)
    return EvidenceArrays(maps, _as_array(evidence.bias), closest_boxes)


def _as_array(values: Tensor) -> NDArray[np.float32]:
    """Values in float32 on the CPU."""
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
