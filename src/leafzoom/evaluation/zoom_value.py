"""What the boxes are worth: the same classifiers given other boxes.

A box is worth looking into only if the scales do better with it than with a box that needs no network. So every
scale after the first, and every fusion, is scored with the box that the attention proposal network chose, and with
boxes of the same size at the centre, at a random place, and at the response's maximum (§3.3.2). A kind of box is used
at every zoom, the second one inside the first. Without averaging over mirror images.

Where lesions are known, the boxes play the pointing game as well (Zhang et al. 2016): how many of their centres lie
on one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from leafzoom.evaluation.bootstrap import interval, resample_scores
from leafzoom.model.attention_proposal import encode_boxes, response_maxima
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.model.racnn import RACNN, ScaleOutput

__all__ = ["KINDS", "ZoomValue", "zoom_value"]

Kind = Literal["learned", "centre", "random", "response"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_BATCH = 16


@dataclass(frozen=True)
class ZoomValue:
    """Scores at threshold 0.5 of every head that zooms, by kind of box.

    `exact_match`, `micro_f1`: {kind: {head: score}}. `intervals`: {kind: {head: [low, high]}} of the exact match.
    `gain`: {kind: {head: {"difference", "interval"}}}: exact match with the learned box minus that with this one,
    paired. `photographs`: how many. `pointing`: {kind: {scale: share}}: of the boxes in photographs with known
    lesions, those whose centre lies on one; empty where no lesion is known. `pointing_photographs`: how many do.
    """

    exact_match: dict[str, dict[str, float]]
    micro_f1: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, list[float]]]
    gain: dict[str, dict[str, dict[str, float | list[float]]]]
    photographs: int
    pointing: dict[str, dict[str, float]]
    pointing_photographs: int


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
    looked = {kind: _answers(network, sources, kind, seed) for kind in KINDS}
    answers = {kind: said for kind, (said, _) in looked.items()}
    known = [place for place, boxes in enumerate(lesions) if len(boxes)]
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
        pointing={
            kind: {scale: _hits(points, lesions, known) for scale, points in centres.items()}
            for kind, (_, centres) in looked.items()
        }
        if known
        else {},
        pointing_photographs=len(known),
    )


def _hits(centres: NDArray[np.float64], lesions: Sequence[NDArray[np.float64]], known: list[int]) -> float:
    """The share of the known photographs where the centre [n, 2] lies on a lesion."""
    on = [
        bool(((lesions[i][:, :2] <= centres[i]) & (centres[i] <= lesions[i][:, 2:])).all(axis=1).any()) for i in known
    ]
    return float(np.mean(on))


@torch.inference_mode()
def _answers(
    network: FusedRACNN, sources: NDArray[np.uint8], kind: Kind, seed: int
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.float64]]]:
    """With one kind of box: every zooming head's answers at threshold 0.5, {head: [n, L]}, and where every zoom's
    centre is, {scale: [n, 2]}, x and y as shares of the source's side.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {}
    centres: dict[str, list[Tensor]] = {}
    for start in tqdm(range(0, len(sources), _BATCH), f"{kind} boxes", unit="batch", disable=None, leave=False):
        batch = torch.from_numpy(np.array(sources[start : start + _BATCH])).to(network.racnn.mean.device)
        pictures = batch.permute(0, 3, 1, 2).to(network.racnn.mean.dtype) / 255
        outputs = list(_looks(network.racnn, pictures, kind, generator))
        for scale, output in enumerate(outputs[1:], start=2):
            parts.setdefault(f"scale{scale}", []).append(output.logits)
            centres.setdefault(f"scale{scale}", []).append(output.boxes[:, :2] / network.racnn.source_size)
        for fusion in network.fusions:
            assert isinstance(fusion, Fusion)
            parts.setdefault(fusion_head(fusion.scales), []).append(fusion(fusion.gather(outputs)))
    said = {head: (torch.cat(logits) > 0).cpu().numpy() for head, logits in parts.items()}
    return said, {scale: torch.cat(points).double().cpu().numpy() for scale, points in centres.items()}


def _looks(racnn: RACNN, pictures: Tensor, kind: Kind, generator: torch.Generator) -> Iterator[ScaleOutput]:
    """All scales of pictures [B, 3, S, S] in 0..1, zoomed by one kind of box."""
    sources = racnn.normalise(pictures)
    glimpse = racnn.first_glimpse(sources)
    for scale in range(racnn.scales):
        look = racnn.look(scale, glimpse)
        yield ScaleOutput(look.logits, look.descriptor, glimpse.boxes)
        if scale < len(racnn.apns):
            proposals = racnn.propose(scale, look.features)
            if kind != "learned":
                proposals = _same_size(racnn, proposals, look.features, kind, generator)
            glimpse = racnn.zoom(sources, glimpse, proposals)


def _same_size(racnn: RACNN, learned: Tensor, features: Tensor, kind: Kind, generator: torch.Generator) -> Tensor:
    """Proposals [B, 3] of the learned boxes' size at another place."""
    if kind == "response":
        centres = response_maxima(features.float(), racnn.input_size).to(learned.dtype)
        return encode_boxes(centres, learned[:, 2:], racnn.input_size, racnn.zoom_bounds, racnn.centre_range)
    places = torch.zeros_like(learned[:, :2])
    if kind == "random":
        places = (2 * torch.rand(places.shape, generator=generator) - 1).to(learned)
    return torch.cat([places, learned[:, 2:]], dim=1)
