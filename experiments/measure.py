"""Measure a trained arm: its network's answers and boxes for every photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.lesions import lesion_hits
from experiments.measured_runs import MeasuredRun, load_network, rows_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.sources import sources_to_images
from leafzoom.labels import decide
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.storage import replacing, write_json
from tools.provenance import short_commit

__all__ = ["measure", "nine_box_outputs"]

_BATCH_SIZE = 32
_GRID_SIDE = 3  # nine boxes lie on a grid of 3 x 3

Arrays = dict[str, NDArray[Any]]


def measure(
    folder: Path,
    cache: Cache,
    image_names: Sequence[str],
    *,
    nine_boxes: bool,
    changes: Sequence[str],
    lesions: Mapping[str, NDArray[np.float64]],
) -> dict[str, float]:
    """Run a trained arm's network over photographs and write what it answers.

    measured.npz holds, in this order: `targets` [n, L] and `rows` of the cache [n]; every head's
    logits [n, L]; the boxes `box2`, … [n, 3] in pixels of the source; where lesions are known,
    which boxes meet them (see `lesion_hits`); every decided head's answers, `scale1_answer`, …
    [n, L]; and with `nine_boxes` the outputs of `nine_box_outputs` on these photographs and on the
    validation part.
    measured.json holds the exact matches, the changes of the recipe and the commit.

    Args:
        folder: of the run; the files are written into it, measured.npz last.
        cache: the sources.
        image_names: the photographs that are measured.
        nine_boxes: whether scale 2 looks at nine boxes too.
        changes: of the recipe, for the record.
        lesions: {image name: [m, 4]} in pixels of the photo; empty where none is known.

    Returns:
        The exact match of every decided head.
    """
    run = MeasuredRun(folder)
    checkpoint = load_checkpoint(run.model_file)
    manifest = checkpoint.manifest
    network = load_network(checkpoint)

    # Logits and boxes of all scales, and which boxes meet lesions.
    rows = rows_of(cache.table, image_names)
    targets = cache.table.targets(manifest.labels)[rows]
    arrays: Arrays = {"targets": targets, "rows": rows}
    arrays |= _network_outputs(network, cache.sources, rows)

    if lesions:
        box_names = [name for name in sorted(arrays) if name.startswith("box")]
        boxes = [arrays[name] / manifest.source_size for name in box_names]
        arrays |= lesion_hits(boxes, _lesion_shares(cache, rows, lesions))

    # The answers that `predict` would give.
    exact_matches: dict[str, float] = {}
    for head, answer in _decided(arrays, manifest).items():
        arrays[f"{head}_answer"] = answer
        exact_matches[head] = round(float((answer == targets).all(axis=1).mean()), 4)

    if nine_boxes:
        arrays |= _nine_box_arrays(network, cache, rows, run.validation_names, manifest)

    # A run counts as measured once measured.npz is there, so it comes last.
    facts = {"changes": list(changes), "heads": exact_matches}
    write_json(folder / "measured.json", facts | {"commit": short_commit("src", "experiments")})
    with replacing(folder / "measured.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return exact_matches


@torch.inference_mode()
def nine_box_outputs(
    network: FusedNetwork, sources: NDArray[np.uint8], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale 1's logits, and scale 2's at a grid of nine boxes of the middle size.

    Returns:
        The logits [n, 10, L], scale 1's first; the boxes [n, 9, 3] in pixels of the source, row by
        row.
    """
    racnn = network.racnn
    grid = _grid_proposals()
    logits_parts = []
    boxes_parts = []

    for start in range(0, len(rows), _BATCH_SIZE):
        batch = _batch(sources, rows[start : start + _BATCH_SIZE])
        first = racnn.start(racnn.normalise(sources_to_images(batch)))

        # Scale 2 looks at every box of the grid, each time from the same scale 1.
        zooms = [racnn.advance(first, cell.expand(len(batch), 3)) for cell in grid]

        logits = [first.logits, *(zoom.logits for zoom in zooms)]
        boxes = [zoom.boxes for zoom in zooms]
        logits_parts.append(torch.stack(logits, dim=1).numpy())
        boxes_parts.append(torch.stack(boxes, dim=1).numpy())

    return np.concatenate(logits_parts), np.concatenate(boxes_parts)


def _grid_proposals() -> torch.Tensor:
    """Proposals [9, 3] in -1..1: centres on a grid, row by row, of the middle size."""
    index = torch.arange(_GRID_SIDE**2)
    cell = torch.stack([index % _GRID_SIDE, index // _GRID_SIDE], dim=1)
    centres = (cell - (_GRID_SIDE - 1) / 2) * (2 / _GRID_SIDE)
    return torch.cat([centres, torch.zeros(len(centres), 1)], dim=1)


def _batch(sources: NDArray[np.uint8], rows: NDArray[np.intp]) -> torch.Tensor:
    """Some sources, uint8 [B, S, S, 3]."""
    return torch.from_numpy(np.array(sources[rows]))


@torch.inference_mode()
def _network_outputs(
    network: FusedNetwork, sources: NDArray[np.uint8], rows: NDArray[np.intp]
) -> Arrays:
    """Every head's logits [n, L] and every zoom's boxes [n, 3], named as in measured.npz."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, len(rows), _BATCH_SIZE):
        output = network(_batch(sources, rows[start : start + _BATCH_SIZE]))

        for head, logits in output.logits.items():
            parts.setdefault(head, []).append(logits.numpy())
        for scale, boxes in enumerate(output.boxes[1:], start=2):
            parts.setdefault(f"box{scale}", []).append(boxes.numpy())

    return {name: np.concatenate(batches) for name, batches in parts.items()}


def _lesion_shares(
    cache: Cache, rows: NDArray[np.intp], lesions: Mapping[str, NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """The lesions [m, 4] of some rows as shares of their photo's sides; none: [0, 4]."""
    none = np.empty((0, 4))
    shares = []
    for row in rows:
        sides = np.tile(cache.photo_sizes[row], 2)
        shares.append(lesions.get(cache.table.image_names[row], none) / sides)
    return shares


def _decided(arrays: Arrays, manifest: Manifest) -> dict[str, NDArray[np.uint8]]:
    """The answers [n, L] of all heads that have a fitted decision, from their logits."""
    answers = {}
    for head, decision in manifest.decisions.items():
        if head in arrays:
            logits = arrays[head].astype(np.float64)
            probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
            answers[head] = decide(probabilities, decision, manifest.labels).astype(np.uint8)
    return answers


def _nine_box_arrays(
    network: FusedNetwork,
    cache: Cache,
    rows: NDArray[np.intp],
    validation_names: frozenset[str],
    manifest: Manifest,
) -> Arrays:
    """The outputs at nine boxes, named as in measured.npz (`select`: the validation part)."""
    validation_rows = rows_of(cache.table, validation_names)
    arrays: Arrays = {}
    for part, part_rows in (("select", validation_rows), ("measured", rows)):
        logits, boxes = nine_box_outputs(network, cache.sources, part_rows)
        arrays[f"nine_{part}"] = logits
        arrays[f"nine_{part}_boxes"] = boxes

    # The targets of the measured photographs are stored already, as `targets`.
    arrays["nine_select_targets"] = cache.table.targets(manifest.labels)[validation_rows]
    return arrays
