"""What the boxes are worth: the same classifiers given other boxes.

A box is worth looking into only if the scales do better with it than with a box that needs no network. So every
scale after the first, and every fusion, is scored with the box that the attention proposal network chose, and with
boxes of the same size at the centre, at a random place, and at the response's maximum (§3.3.2). A kind of box is used
at every zoom, the second one inside the first. Without averaging over mirror images.

Where lesions are known, the boxes play the pointing game as well (Zhang et al. 2016): how many of their centres lie
on one. What a random box would reach there is the mean of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from leafzoom.evaluation.bootstrap import interval, resample_means, resample_scores
from leafzoom.model.attention_crop import compose_boxes, whole_box
from leafzoom.model.attention_proposal import decode_boxes, placed_proposals
from leafzoom.model.backbone import Look
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.model.racnn import RACNN, Glimpse, ScaleOutput

__all__ = ["KINDS", "Looks", "ZoomValue", "looks_by_kind", "zoom_value"]

Kind = Literal["learned", "centre", "random", "response"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_BATCH = 16
_DRAWS = 200  # random boxes a photograph, for the pointing game


@dataclass(frozen=True)
class ZoomValue:
    """Scores at threshold 0.5 of every head that zooms, by kind of box.

    `exact_match`, `micro_f1`: {kind: {head: score}}. `intervals`: {kind: {head: [low, high]}} of the exact match.
    `gain`: {kind: {head: {"difference", "interval"}}}: exact match with the learned box minus that with this one,
    paired. `photographs`: how many. `pointing`: {kind: {scale: share}}: of the boxes in photographs with known
    lesions, those whose centre lies on one, with `pointing_intervals` and, paired, `pointing_gain` of the learned
    boxes; empty where no lesion is known. `pointing_photographs`: how many have lesions.
    """

    exact_match: dict[str, dict[str, float]]
    micro_f1: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, list[float]]]
    gain: dict[str, dict[str, dict[str, float | list[float]]]]
    photographs: int
    pointing: dict[str, dict[str, float]]
    pointing_intervals: dict[str, dict[str, list[float]]]
    pointing_gain: dict[str, dict[str, dict[str, float | list[float]]]]
    pointing_photographs: int


@dataclass(frozen=True)
class Looks:
    """All photographs looked at with one kind of box.

    `answers`: of every zooming head, at threshold 0.5, {head: [n, L]}. `centres`: x and y as shares of the source's
    side, {scale: [n, 2]}. `sizes`: every zoom's tl, [n, 1] in -1..1.
    """

    answers: dict[str, NDArray[np.bool_]]
    centres: dict[str, NDArray[np.float64]]
    sizes: tuple[Tensor, ...]


@torch.inference_mode()
def looks_by_kind(network: FusedRACNN, sources: NDArray[np.uint8], *, seed: int = 0) -> dict[str, Looks]:
    """Look at photographs once with each of `KINDS`; the boxes of all have the sizes of the learned ones.

    Args:
        network: in eval().
        sources: uint8 [n, S, S, 3].
        seed: of the random boxes.
    """
    racnn = network.racnn
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[_Batch]] = {kind: [] for kind in KINDS}
    for start in tqdm(range(0, len(sources), _BATCH), "zoom value", unit="batch", disable=None, leave=False):
        batch = torch.from_numpy(np.array(sources[start : start + _BATCH])).to(racnn.mean.device)
        pixels = racnn.normalise(batch.permute(0, 3, 1, 2).to(racnn.mean.dtype) / 255)
        glimpse = racnn.first_glimpse(pixels)
        first = racnn.look(0, glimpse)
        learned: _Batch | None = None
        for kind in KINDS:  # the learned ones first
            sizes = learned.sizes if learned else ()
            looked = _look_closer(network, pixels, glimpse, first, kind, sizes, generator)
            learned = learned or looked
            found[kind].append(looked)
    return {kind: _together(batches) for kind, batches in found.items()}


def zoom_value(
    network: FusedRACNN,
    sources: NDArray[np.uint8],
    targets: NDArray[np.integer],
    *,
    lesions: Sequence[NDArray[np.float64]] = (),
    seed: int = 0,
) -> ZoomValue:
    """Score a network with four kinds of boxes.

    Args:
        network: in eval().
        sources: uint8 [n, S, S, 3].
        targets: [n, L].
        lesions: for each photograph [m, 4], x0, y0, x1, y1 as shares of its sides; empty where none is known.
        seed: of the random boxes and of the bootstrap.
    """
    passes = looks_by_kind(network, sources, seed=seed)
    answers = {kind: looked.answers for kind, looked in passes.items()}
    heads = list(answers["learned"])
    flat = {f"{kind} {head}": said for kind in KINDS for head, said in answers[kind].items()}
    resampled = resample_scores(targets, flat, seed=seed)
    true = targets.astype(bool)

    def exact(said: NDArray[np.bool_]) -> float:
        return float((said == true).all(axis=1).mean())

    def micro(said: NDArray[np.bool_]) -> float:
        return float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))

    return ZoomValue(
        exact_match={kind: {head: exact(answers[kind][head]) for head in heads} for kind in KINDS},
        micro_f1={kind: {head: micro(answers[kind][head]) for head in heads} for kind in KINDS},
        intervals={
            kind: {head: interval(resampled[f"{kind} {head}"].exact_match) for head in heads} for kind in KINDS
        },
        gain={
            kind: {
                head: {
                    "difference": exact(answers["learned"][head]) - exact(answers[kind][head]),
                    "interval": interval(
                        resampled[f"learned {head}"].exact_match - resampled[f"{kind} {head}"].exact_match
                    ),
                }
                for head in heads
            }
            for kind in KINDS[1:]
        },
        photographs=len(targets),
        **_pointing(network.racnn, passes, lesions, seed),
    )


@dataclass(frozen=True)
class _Batch:
    """As `Looks`, of a batch: `logits` {head: [B, L]}, `centres` {scale: [B, 2]}, `sizes` [B, 1] each."""

    logits: dict[str, Tensor]
    centres: dict[str, Tensor]
    sizes: tuple[Tensor, ...]


def _look_closer(
    network: FusedRACNN,
    sources: Tensor,
    glimpse: Glimpse,
    first: Look,
    kind: str,
    sizes: Sequence[Tensor],
    generator: torch.Generator,
) -> _Batch:
    """Every scale but the first, of normalised sources [B, 3, S, S], zoomed by one kind of box.

    Args:
        network: in eval().
        sources: [B, 3, S, S].
        glimpse: the first one.
        first: what scale 1 made of it.
        kind: of the boxes.
        sizes: every zoom's tl, [B, 1], that the boxes are to have; those of `learned` ones are their own.
        generator: of the random boxes.
    """
    racnn = network.racnn
    look = first
    outputs = [ScaleOutput(first.logits, first.descriptor, glimpse.boxes)]
    used = []
    for scale in range(len(racnn.apns)):
        proposals = racnn.propose(scale, look.features)
        if kind != "learned":
            proposals = _elsewhere(racnn, sizes[scale], look.features, kind, generator)
        used.append(proposals[:, 2:])
        glimpse = racnn.zoom(sources, glimpse, proposals)
        look = racnn.look(scale + 1, glimpse)
        logits = racnn.total_logits(outputs[-1].logits, look.logits)
        outputs.append(ScaleOutput(logits, look.descriptor, glimpse.boxes))
    logits_of = {f"scale{scale}": output.logits for scale, output in enumerate(outputs[1:], start=2)}
    for fusion in network.fusions:
        assert isinstance(fusion, Fusion)
        logits_of[fusion_head(fusion.scales)] = fusion(fusion.gather(outputs))
    centres = {
        f"scale{scale}": output.boxes[:, :2] / racnn.source_size for scale, output in enumerate(outputs[1:], start=2)
    }
    return _Batch(logits_of, centres, tuple(used))


def _together(batches: list[_Batch]) -> Looks:
    """All photographs, from batches of them."""
    first = batches[0]
    return Looks(
        {head: (torch.cat([b.logits[head] for b in batches]) > 0).cpu().numpy() for head in first.logits},
        {scale: torch.cat([b.centres[scale] for b in batches]).double().cpu().numpy() for scale in first.centres},
        tuple(torch.cat([b.sizes[zoom] for b in batches]) for zoom in range(len(first.sizes))),
    )


def _elsewhere(racnn: RACNN, size: Tensor, features: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Proposals [B, 3] of the learned boxes' size [B, 1] at another place."""
    if kind == "random":
        return torch.cat([_anywhere(size, generator), size], dim=1)
    return placed_proposals(
        "response" if kind == "response" else "centre",
        features,
        size,
        racnn.input_size,
        racnn.zoom_bounds,
        racnn.centre_range,
    )


def _anywhere(size: Tensor, generator: torch.Generator) -> Tensor:
    """Random tx and ty, [B, 2]."""
    return (2 * torch.rand((len(size), 2), generator=generator) - 1).to(size)


def _pointing(
    racnn: RACNN, passes: dict[str, Looks], lesions: Sequence[NDArray[np.float64]], seed: int
) -> dict[str, Any]:
    """The pointing game's fields of `ZoomValue`."""
    known = [place for place, boxes in enumerate(lesions) if len(boxes)]
    if not known:
        return {"pointing": {}, "pointing_intervals": {}, "pointing_gain": {}, "pointing_photographs": 0}
    on = [lesions[place] for place in known]
    hits = {
        kind: {scale: _hits(points[known], on) for scale, points in looked.centres.items()}
        for kind, looked in passes.items()
    }
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        _random_centres(racnn, [size[known] for size in passes["learned"].sizes], generator) for _ in range(_DRAWS)
    ]
    for place, scale in enumerate(hits["random"]):
        hits["random"][scale] = np.mean([_hits(points[place], on) for points in drawn], axis=0)
    means = resample_means(
        {f"{kind} {scale}": hit for kind, of in hits.items() for scale, hit in of.items()}, seed=seed
    )
    return {
        "pointing": {kind: {scale: float(hit.mean()) for scale, hit in of.items()} for kind, of in hits.items()},
        "pointing_intervals": {
            kind: {scale: interval(means[f"{kind} {scale}"]) for scale in of} for kind, of in hits.items()
        },
        "pointing_gain": {
            kind: {
                scale: {
                    "difference": float((hits["learned"][scale] - hit).mean()),
                    "interval": interval(means[f"learned {scale}"] - means[f"{kind} {scale}"]),
                }
                for scale, hit in of.items()
            }
            for kind, of in hits.items()
            if kind != "learned"
        },
        "pointing_photographs": len(known),
    }


def _random_centres(racnn: RACNN, sizes: list[Tensor], generator: torch.Generator) -> list[NDArray[np.float64]]:
    """Centres of random boxes of these sizes, each inside the one before: [n, 2] a zoom, as shares of the side."""
    boxes = whole_box(len(sizes[0]), racnn.source_size, like=sizes[0])
    centres = []
    for size in sizes:
        proposals = torch.cat([_anywhere(size, generator), size], dim=1)
        inside = decode_boxes(proposals, racnn.input_size, racnn.zoom_bounds, racnn.centre_range)
        boxes = compose_boxes(boxes, inside, racnn.input_size)
        centres.append((boxes[:, :2] / racnn.source_size).double().cpu().numpy())
    return centres


def _hits(centres: NDArray[np.float64], lesions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """1 where the centre (x, y) of a row of [n, 2] lies on one of the photograph's lesions, else 0."""
    return np.array(
        [
            float(((boxes[:, :2] <= centre) & (centre <= boxes[:, 2:])).all(axis=1).any())
            for centre, boxes in zip(centres, lesions, strict=True)
        ]
    )
