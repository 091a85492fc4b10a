"""Which ranking finds wrong labels: cleanlab's, or plain loss? What would a second look change?

    python -m experiments.review_ranking DATA [--keep FOLDER]

Two thousand photographs: all that have a near-duplicate, all of `inner-validation`, and some of
`inner-train`; none of `inner-test`. First, 5 % of them get another combination of labels at random,
and each ranking's first hundred is counted. Then the labels as they are, with near-duplicates as
the truth: a photograph whose duplicate has other labels would be changed by a second look. Writes
results/experiments/review-ranking.json.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.noise_estimates import clopper_pearson
from experiments.publishing import write_result
from leafzoom.dataset.audit import NearDuplicate, duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import training_split
from leafzoom.labels import LabelSet
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.review.outputs import outputs_of_cache
from leafzoom.review.probabilities import Features, OutOfFoldLabels, find_features, fit_out_of_fold
from leafzoom.review.ranking import QUALITY_METHODS, label_quality, plain_loss
from leafzoom.storage import make_folder, sha256_of
from tools.evaluation_data import open_data
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["duplicates_in_first", "found_in_first", "main", "rankings", "with_flips"]

_NAME = "review-ranking"
_PHOTOGRAPHS = 2000
_FLIPPED_SHARE = 0.05
_SEEDS = (0, 1, 2, 3, 4)
_FIRST = 100
_SAMPLE_SEED = 0
LOSS = "loss"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """n photographs: descriptors [n, W], targets [n, L], groups of near-duplicates [n].

    `unseen`: [n], which the model was not trained on. `pairs`: of near-duplicates, as indices.
    """

    descriptors: NDArray[np.float32]
    targets: NDArray[np.uint8]
    labels: LabelSet
    groups: NDArray[np.int64]
    unseen: NDArray[np.bool_]
    pairs: tuple[tuple[int, int], ...]

    def part(self, inside: NDArray[np.bool_]) -> Sample:
        """Some of the photographs."""
        position = np.cumsum(inside) - 1
        pairs = [
            (int(position[first]), int(position[second]))
            for first, second in self.pairs
            if inside[first] and inside[second]
        ]
        return Sample(
            self.descriptors[inside],
            self.targets[inside],
            self.labels,
            self.groups[inside],
            self.unseen[inside],
            tuple(pairs),
        )


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="Folder where the descriptors are kept.")
    arguments = parser.parse_args()

    checkpoint = load_checkpoint(bundled_model())
    network = network_from_checkpoint(checkpoint)
    cache = open_data(arguments.data, checkpoint.manifest.source_size)
    sample = _sample(cache, network, arguments.keep)
    unseen = sample.part(sample.unseen)
    attention = network.attention_network
    scales = attention.scales

    result = {
        "name": _NAME,
        "command": "python -m experiments.review_ranking DATA",
        "commit": commit("experiments", "src", "tools"),
        "model_digest": model_digest(bundled_model()),
        "machine": machine(),
        "first": _FIRST,
        "flipped_share": _FLIPPED_SHARE,
        "seeds": list(_SEEDS),
        "linear": _measure(sample, find_features(sample.descriptors, scales=scales)),
        "own": _measure(
            unseen, find_features(unseen.descriptors, scales=scales, unseen_by=attention)
        ),
    }
    print(write_result(_NAME, result))


def with_flips(
    targets: NDArray[np.uint8], labels: LabelSet, share: float, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Targets [n, L] of which a share has another combination, and which have, [n].

    The other combination is drawn by how often it occurs.
    """
    random = np.random.default_rng(seed)
    combinations = np.array(labels.combinations, np.uint8)
    is_combination = (targets[:, None, :] == combinations[None]).all(axis=2)
    frequency = is_combination.mean(axis=0)

    flipped = np.zeros(len(targets), bool)
    flipped[random.permutation(len(targets))[: round(share * len(targets))]] = True
    noisy = targets.copy()
    for row in np.flatnonzero(flipped):
        weights = np.where(is_combination[row], 0.0, frequency)
        noisy[row] = combinations[random.choice(len(combinations), p=weights / weights.sum())]
    return noisy, flipped


def rankings(
    targets: NDArray[np.uint8], labels: LabelSet, answers: OutOfFoldLabels
) -> dict[str, NDArray[np.intp]]:
    """The photographs by every ranking, the most suspect first, {name: [n]}.

    Args:
        targets: as labelled, [n, L].
        labels: with C combinations.
        answers: of classifiers that have not seen the photographs.
    """
    plain = 1 / (1 + np.exp(-answers.logits))
    combinations = np.array(labels.combinations, np.uint8)
    is_given = (targets[:, None, :] == combinations[None]).all(axis=2)

    qualities = {LOSS: -plain_loss(targets, plain)}
    for method in QUALITY_METHODS:
        qualities[method] = label_quality(targets, plain, method)
        qualities[f"{method}, combinations"] = label_quality(
            targets, answers.probabilities.clip(0, 1), method
        )
    qualities["combination"] = (answers.combinations * is_given).sum(axis=1)
    return {name: np.argsort(quality, kind="stable") for name, quality in qualities.items()}


def found_in_first(
    order: NDArray[np.intp], wrong: NDArray[np.bool_], first: int
) -> dict[str, float]:
    """How many of the first photographs are wrong ones.

    Args:
        order: of the photographs, the most suspect first, [n].
        wrong: [n].
        first: how many are looked at.
    """
    hits = int(wrong[order[:first]].sum())
    return {"precision": hits / first, "recall": hits / int(wrong.sum())}


def duplicates_in_first(
    order: NDArray[np.intp],
    targets: NDArray[np.uint8],
    answers: NDArray[np.uint8],
    pairs: Sequence[tuple[int, int]],
    first: int,
) -> dict[str, Any]:
    """What a second look would change in the first photographs: those that have a near-duplicate.

    Args:
        order: of the photographs, the most suspect first, [n].
        targets: as labelled, [n, L].
        answers: suggested labels, [n, L].
        pairs: of near-duplicates, as indices.
        first: how many are looked at.
    """
    twins = dict(pairs) | {second: one for one, second in pairs}
    differs = {row: bool((targets[row] != targets[twin]).any()) for row, twin in twins.items()}
    looked_at = {int(row) for row in order[:first]}

    judged = [row for row in looked_at if row in twins]
    changed = [row for row in judged if differs[row]]
    as_suggested = [row for row in changed if (answers[row] == targets[twins[row]]).all()]
    conflicts = [pair for pair in pairs if differs[pair[0]]]
    found = sum(bool(looked_at.intersection(pair)) for pair in conflicts)
    others = [row for row in twins if row not in looked_at]
    return {
        "with_duplicate": len(judged),
        "changed": len(changed),
        "suggested_as_duplicate": len(as_suggested),
        "conflicting_pairs": len(conflicts),
        "conflicting_pairs_found": found,
        "rest_with_duplicate": len(others),
        "rest_changed": sum(differs[row] for row in others),
        **({"share": clopper_pearson(len(changed), len(judged)).to_dict()} if judged else {}),
    }


def _measure(sample: Sample, features: Features) -> dict[str, Any]:
    """Both measurements of a sample, by classifiers on some features."""
    labels = sample.labels
    by_seed = []
    for seed in _SEEDS:
        noisy, flipped = with_flips(sample.targets, labels, _FLIPPED_SHARE, seed)
        answers = _answers(sample, noisy, features)
        found: dict[str, dict[str, float]] = {}
        for name, order in rankings(noisy, labels, answers).items():
            found[name] = found_in_first(order, flipped, _FIRST)
            found[name]["recall_unseen"] = _recall(order, flipped & sample.unseen)
        restored = (answers.answers == sample.targets).all(axis=1)
        found["suggestion"] = {"right_of_flipped": float(restored[flipped].mean())}
        by_seed.append(found)

    as_it_is = _answers(sample, sample.targets, features)
    real = {
        name: duplicates_in_first(order, sample.targets, as_it_is.answers, sample.pairs, _FIRST)
        for name, order in rankings(sample.targets, labels, as_it_is).items()
    }
    return {
        "photographs": len(sample.targets),
        "unseen": int(sample.unseen.sum()),
        "flipped": round(_FLIPPED_SHARE * len(sample.targets)),
        "flips": _over_seeds(by_seed),
        "as_labelled": real,
    }


def _answers(sample: Sample, targets: NDArray[np.uint8], features: Features) -> OutOfFoldLabels:
    return fit_out_of_fold(features, sample.descriptors, targets, sample.labels, sample.groups)


def _recall(order: NDArray[np.intp], wrong: NDArray[np.bool_]) -> float:
    """The share of wrong photographs among the first."""
    return float(wrong[order[:_FIRST]].sum() / max(int(wrong.sum()), 1))


def _over_seeds(by_seed: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Mean, least and greatest of every figure."""
    summary: dict[str, Any] = {}
    for name, figures in by_seed[0].items():
        summary[name] = {}
        for figure in figures:
            values = [found[name][figure] for found in by_seed]
            mean = float(np.mean(values))
            summary[name][figure] = {"mean": mean, "range": [min(values), max(values)]}
    return summary


def _sample(cache: Cache, network: FusedNetwork, keep: Path | None) -> Sample:
    """The two thousand photographs, with their descriptors computed or read."""
    split = training_split(cache, "inner-train")
    train = set(split.train)
    validation = set(split.validation)
    names = cache.table.image_names
    pairs = [
        pair
        for pair in near_duplicates_of(cache)
        if {names[pair.first], names[pair.second]} <= train | validation
    ]

    rows = _chosen_rows(names, train, validation, pairs)
    position = {int(row): index for index, row in enumerate(rows)}
    inner_pairs = [
        NearDuplicate(position[pair.first], position[pair.second], pair.correlation)
        for pair in pairs
    ]
    labels = cache.table.label_set()
    return Sample(
        descriptors=_descriptors(cache, network, rows, keep),
        targets=cache.table.targets(labels)[rows],
        labels=labels,
        groups=duplicate_groups(len(rows), inner_pairs),
        unseen=np.array([names[row] in validation for row in rows]),
        pairs=tuple((pair.first, pair.second) for pair in inner_pairs),
    )


def _chosen_rows(
    names: Sequence[str],
    train: set[str],
    validation: set[str],
    pairs: Sequence[NearDuplicate],
) -> NDArray[np.int64]:
    """The rows of near-duplicates and of `inner-validation`, then some of `inner-train`."""
    chosen = {row for pair in pairs for row in (pair.first, pair.second)}
    chosen |= {row for row, name in enumerate(names) if name in validation}
    rest = [row for row, name in enumerate(names) if name in train and row not in chosen]
    drawn = np.random.default_rng(_SAMPLE_SEED).permutation(rest)
    count = max(_PHOTOGRAPHS - len(chosen), 0)
    return np.array(sorted([*chosen, *drawn[:count].tolist()]), np.int64)


def _descriptors(
    cache: Cache, network: FusedNetwork, rows: NDArray[np.int64], keep: Path | None
) -> NDArray[np.float32]:
    """The descriptors of rows, [n, W]; the file's name holds what they depend on."""
    file = None
    if keep:
        of_rows = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
        model = sha256_of(bundled_model())[:12]
        file = make_folder(keep) / f"descriptors-{model}-{cache.digest[:12]}-{of_rows}.npy"
        if file.is_file():
            return np.asarray(np.load(file, allow_pickle=False), np.float32)

    descriptors = outputs_of_cache(network, cache, rows).descriptors
    if file:
        np.save(file, descriptors, allow_pickle=False)
    return descriptors


if __name__ == "__main__":
    main()
