"""Which of nine boxes gains most? python -m experiments.gain DATA RUN...

For runs of arms with `nine` (scale 2 is trained on random boxes and measured at nine, on a 3 x 3
grid): predicts scale 2's loss at each box from what scale 1 sees there (the mean of its feature map
over the box), the box's position on the grid and scale 1's probabilities, by ridge regression on
the validation part. Writes RUN/gain.npz: the nine boxes of every photograph in the order of their
predicted loss, least first. On the validation part the predictions are out of fold, ten folds of
photographs. `python -m experiments.report` compares the first box, and the first three.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.measured_runs import MeasuredRun, cached_sources, load_network, rows_of
from experiments.nine_boxes import binary_cross_entropies
from leafzoom.dataset.sources import sources_to_images
from leafzoom.dataset.table import Table, read_table

__all__ = ["box_features", "cross_validated", "fit_ridge", "main", "rank_boxes"]

_BATCH_SIZE = 64
_FOLDS = 10
_PENALTY_FOLDS = 5
_PENALTIES = tuple(10.0**power for power in range(0, 7))

FloatArray = NDArray[np.floating]


def main() -> None:
    """Rank the boxes of every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()

    table = read_table(arguments.data)
    for folder in arguments.runs:
        rank_boxes(MeasuredRun(folder), arguments.data, table)


def rank_boxes(run: MeasuredRun, data: Path, table: Table) -> None:
    """Run scale 1 once over a run's photographs, fit the regression, write RUN/gain.npz."""
    # Where the nine boxes lie, as shares of the source's sides.
    arrays = run.arrays()
    sources = cached_sources(data, table, run.source_size).sources
    validation_rows = rows_of(table, run.validation_names)
    validation_boxes = arrays["nine_select_boxes"] / run.source_size
    measured_boxes = arrays["nine_measured_boxes"] / run.source_size

    # The regression is of differences between a photograph's boxes, so that easy photographs do not
    # count.
    losses = binary_cross_entropies(arrays["nine_select"], arrays["nine_select_targets"])
    losses = losses - losses.mean(axis=1, keepdims=True)
    validation_features = _run_features(run, sources, validation_rows, validation_boxes)
    measured_features = _run_features(run, sources, arrays["rows"], measured_boxes)

    # Out of fold on the validation part: a fit does too well on boxes that it has seen.
    out_of_fold, explained = cross_validated(validation_features, losses)
    predicted = fit_ridge(validation_features, losses)(measured_features)
    np.savez_compressed(
        run.folder / "gain.npz",
        select=np.argsort(out_of_fold, axis=1, kind="stable"),
        measured=np.argsort(predicted, axis=1, kind="stable"),
        explained=explained,
    )
    share = f"{explained:.3f} of the variance of the losses within photographs"
    print(f"{run.folder}: {share}, out of fold")


def box_features(maps: FloatArray, logits: FloatArray, boxes: FloatArray) -> NDArray[np.float32]:
    """What scale 1 sees in every box, less the mean over the photograph's boxes.

    The features are the map's mean over the box, which weighs every cell by the share of it that is
    inside; the box's index on the grid, one-hot; and the products of that with every label's
    probability.

    Args:
        maps: scale 1's feature maps, [n, C, M, M].
        logits: scale 1's, [n, L].
        boxes: [n, 9, 3], x, y and half side as shares of the source's side.

    Returns:
        [n, 9, C + 9 (1 + L)].
    """
    # The map's mean over each box.
    weight_x, weight_y = _cell_weights(boxes, maps.shape[-1])
    box_means = np.einsum("nchw,nbw,nbh->nbc", maps, weight_x, weight_y, optimize=True)

    # Which of the nine boxes it is, by itself and for every label's probability.
    count = len(maps)
    grid_index = np.broadcast_to(np.eye(9), (count, 9, 9))
    probabilities = 1 / (1 + np.exp(-logits))
    products = grid_index[..., None] * probabilities[:, None, None, :]

    # Only differences within a photograph can rank its boxes.
    features = np.concatenate([box_means, grid_index, products.reshape(count, 9, -1)], axis=2)
    centred = features - features.mean(axis=1, keepdims=True)
    return np.asarray(centred.astype(np.float32))


def fit_ridge(features: FloatArray, losses: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Fit a ridge regression, its penalty chosen out of fold.

    Args:
        features: [n, 9, F].
        losses: [n, 9].

    Returns:
        A function that predicts losses [m, 9] from features [m, 9, F].
    """
    # All boxes of a photograph are in one fold.
    photographs = np.repeat(np.arange(len(features)), features.shape[1])
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()),
        {"ridge__alpha": _PENALTIES},
        cv=GroupKFold(_PENALTY_FOLDS),
        scoring="neg_mean_squared_error",
    )
    search.fit(features.reshape(-1, features.shape[2]), losses.ravel(), groups=photographs)

    def predict(new_features: FloatArray) -> FloatArray:
        rows = new_features.reshape(-1, new_features.shape[2])
        return np.asarray(search.predict(rows).reshape(new_features.shape[:2]))

    return predict


def cross_validated(features: FloatArray, losses: FloatArray) -> tuple[FloatArray, float]:
    """Losses [n, 9] predicted out of fold, and the share of their variance that is explained.

    Args:
        features: [n, 9, F].
        losses: [n, 9], less their means over the photograph's boxes.
    """
    # Each photograph's losses are predicted by a fit that has not seen it.
    fold = np.arange(len(features)) % _FOLDS
    predicted = np.empty_like(losses)
    for number in range(_FOLDS):
        left_out = fold == number
        predict = fit_ridge(features[~left_out], losses[~left_out])
        predicted[left_out] = predict(features[left_out])

    # Losses have mean 0 within a photograph, so their squares add up to the variance.
    unexplained = np.square(losses - predicted).sum() / np.square(losses).sum()
    return predicted, float(1 - unexplained)


@torch.inference_mode()
def _run_features(
    run: MeasuredRun, sources: NDArray[np.uint8], rows: NDArray[np.intp], boxes: FloatArray
) -> NDArray[np.float32]:
    """The features [n, 9, F] of a run's scale 1 for some rows; see `box_features`."""
    # Scale 1 alone: boxes are ranked before any of them is looked at.
    racnn = load_network(run.model_file).racnn
    parts = []
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = torch.from_numpy(np.array(sources[rows[start : start + _BATCH_SIZE]]))
        first = racnn.start(racnn.normalise(sources_to_images(batch)))

        batch_boxes = boxes[start : start + _BATCH_SIZE]
        parts.append(box_features(first.features.numpy(), first.logits.numpy(), batch_boxes))
    return np.concatenate(parts)


def _cell_weights(boxes: FloatArray, map_side: int) -> tuple[FloatArray, FloatArray]:
    """Weights of a map's columns and rows inside the boxes, [n, 9, M] each, with sum 1."""
    # The edges of the map's cells and of the boxes, as shares of the source's sides.
    cell_starts = np.arange(map_side)[None, None, None] / map_side
    cell_ends = cell_starts + 1 / map_side
    low = (boxes[..., :2] - boxes[..., 2:])[..., None]
    high = (boxes[..., :2] + boxes[..., 2:])[..., None]

    # A cell that does not meet the box has a negative overlap, and weight 0.
    overlap = np.minimum(high, cell_ends) - np.maximum(low, cell_starts)  # [n, 9, 2, M]
    inside = overlap.clip(min=0)
    weights = inside / inside.sum(axis=3, keepdims=True)
    return weights[:, :, 0], weights[:, :, 1]


if __name__ == "__main__":
    main()
