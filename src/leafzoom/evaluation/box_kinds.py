"""One network, run on the same photographs with four kinds of boxes.

Convention: proposals are (tx, ty, tl) in -1..1 (eq. 2); centres are (x, y) as shares of the
source's side, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from leafzoom.dataset.sources import sources_to_images
from leafzoom.labels import most_probable
from leafzoom.model.attention_proposal import fixed_proposals
from leafzoom.model.fusion import FusedNetwork, Fusion, fusion_head
from leafzoom.model.view import ScaleState

__all__ = ["BOX_KINDS", "BoxKind", "BoxKindOutputs", "outputs_by_box_kind", "random_proposals"]

BoxKind = Literal["learned", "centre", "random", "response"]
"""`learned`: from the APN. `centre`: at the view's centre. `random`: anywhere in the view.
`response`: at the feature map's maximum (§3.3.2)."""

BOX_KINDS: tuple[BoxKind, ...] = get_args(BoxKind)

_BATCH_SIZE = 16


@dataclass(frozen=True)
class BoxKindOutputs:
    """What the zooming heads of a network return for N photographs with one kind of box.

    `answers`: at threshold 0.5, or the most probable class, {head: [N, L]}. `centres`: of the
    boxes, {scale: [N, 2]}. `sizes`: every zoom's tl, [N, 1] in -1..1.
    """

    answers: dict[str, NDArray[np.bool_]]
    centres: dict[str, NDArray[np.float64]]
    sizes: tuple[Tensor, ...]


@dataclass(frozen=True)
class _BatchOutputs:
    """As `BoxKindOutputs`, of a batch, with logits {head: [B, L]} instead of answers."""

    logits: dict[str, Tensor]
    centres: dict[str, Tensor]
    sizes: tuple[Tensor, ...]


@torch.inference_mode()
def outputs_by_box_kind(
    network: FusedNetwork, sources: NDArray[np.uint8], *, seed: int = 0
) -> dict[BoxKind, BoxKindOutputs]:
    """Run a network once with each of `BOX_KINDS`; all boxes have the sizes of the learned ones.

    A kind of box is used at every zoom, the second one inside the first. Without test-time
    augmentation.

    Args:
        network: in eval().
        sources: uint8 [N, S, S, 3].
        seed: of the random boxes.
    """
    generator = torch.Generator().manual_seed(seed)
    batches: dict[BoxKind, list[_BatchOutputs]] = {kind: [] for kind in BOX_KINDS}

    # A batch at a time bounds the memory, and all kinds of boxes share its first look.
    starts = range(0, len(sources), _BATCH_SIZE)
    for start in tqdm(starts, "zoom value", unit="batch", disable=None, leave=False):
        batch = np.array(sources[start : start + _BATCH_SIZE])
        for kind, outputs in _batch_outputs(network, batch, generator).items():
            batches[kind].append(outputs)

    single_label = network.single_label
    return {kind: _concatenate(parts, single_label=single_label) for kind, parts in batches.items()}


def random_proposals(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Proposals [B, 3] of boxes anywhere in the view, of sizes tl [B, 1]."""
    centres = 2 * torch.rand((len(sizes), 2), generator=generator) - 1
    return torch.cat([centres.to(sizes), sizes], dim=1)


def _batch_outputs(
    network: FusedNetwork, sources: NDArray[np.uint8], generator: torch.Generator
) -> dict[BoxKind, _BatchOutputs]:
    """`outputs_by_box_kind` of one batch, uint8 [B, S, S, 3]."""
    racnn = network.racnn
    batch = torch.from_numpy(sources).to(racnn.mean.device)
    images = racnn.normalise(sources_to_images(batch, racnn.mean.dtype))

    # The first look is the same for all kinds: it sees the whole source.
    first = racnn.start(images)

    # The other kinds take the sizes of the learned boxes.
    learned = _zoom_in(network, first, "learned", (), generator)
    outputs: dict[BoxKind, _BatchOutputs] = {"learned": learned}
    for kind in BOX_KINDS:
        if kind != "learned":
            outputs[kind] = _zoom_in(network, first, kind, learned.sizes, generator)
    return outputs


def _zoom_in(
    network: FusedNetwork,
    first: ScaleState,
    kind: BoxKind,
    sizes: Sequence[Tensor],
    generator: torch.Generator,
) -> _BatchOutputs:
    """Run every scale but the first with one kind of box.

    Args:
        network: in eval().
        first: the state after the first scale.
        kind: of the boxes.
        sizes: every zoom's tl, [B, 1]; learned boxes have their own.
        generator: of the random boxes.
    """
    racnn = network.racnn
    state = first
    states = [first]
    used_sizes = []

    # Zoom in as the network does, but to boxes of this kind.
    for zoom in range(len(racnn.apns)):
        if kind == "learned":
            proposals = racnn.propose(state)
        elif kind == "random":
            proposals = random_proposals(sizes[zoom], generator)
        else:
            proposals = fixed_proposals(kind, state.features, sizes[zoom], racnn.box_coder)

        used_sizes.append(proposals[:, 2:])

        # The next zoom's box lies inside this one.
        state = racnn.advance(state, proposals)
        states.append(state)

    # The first scale has no box to compare.
    logits = {}
    centres = {}
    for number, finer_state in enumerate(states[1:], start=2):
        logits[f"scale{number}"] = finer_state.logits
        centres[f"scale{number}"] = finer_state.boxes[:, :2] / racnn.source_size
    for fusion in network.fusions:
        assert isinstance(fusion, Fusion)
        logits[fusion_head(fusion.scales)] = fusion(fusion.concatenate(states))

    return _BatchOutputs(logits, centres, tuple(used_sizes))


def _concatenate(batches: Sequence[_BatchOutputs], *, single_label: bool) -> BoxKindOutputs:
    """The outputs of all photographs, from those of batches."""
    # A label is in the answer where its logit is above 0, its probability above one half; of single
    # labels it is the class with the greatest logit.
    answers = {}
    for head in batches[0].logits:
        logits = torch.cat([batch.logits[head] for batch in batches]).cpu().numpy()
        answers[head] = most_probable(logits) if single_label else logits > 0

    # Centres as shares of the source's sides.
    centres = {}
    for scale in batches[0].centres:
        points = torch.cat([batch.centres[scale] for batch in batches])
        centres[scale] = points.double().cpu().numpy()

    # Batches hold the sizes of every zoom; they are joined zoom by zoom.
    sizes_by_zoom = zip(*(batch.sizes for batch in batches), strict=True)
    sizes = tuple(torch.cat(parts) for parts in sizes_by_zoom)
    return BoxKindOutputs(answers, centres, sizes)
