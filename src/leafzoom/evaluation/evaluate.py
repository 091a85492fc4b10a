"""Every head of a model on labelled photographs: `metrics.json` and `predictions.csv`."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.cache import Cache
from leafzoom.errors import DataError, UsageError
from leafzoom.evaluation.bootstrap import interval, resample_scores
from leafzoom.evaluation.zoom_value import ZoomValue
from leafzoom.inference.network import Network
from leafzoom.inference.verdict import Judgement, Verdict, judge
from leafzoom.labels import decide
from leafzoom.manifest import Manifest
from leafzoom.metrics import HeadMetrics, score
from leafzoom.storage import make_folder, write_json, write_text

__all__ = ["Evaluation", "evaluate", "uncertainty", "verdict_shares", "write_evaluation"]

_BATCH = 16
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What a network said of n photographs, and its scores.

    `probabilities`: {head: [n, L]}. `boxes`: a [n, 4] for each scale, in photo pixels. `heads`: at threshold
    0.5 each label alone, as the paper's tables; `heads_fitted`: the decision that `predict` makes. `judgements`: its
    verdicts.
    """

    images: tuple[str, ...]
    targets: NDArray[np.uint8]
    probabilities: dict[str, NDArray[np.float32]]
    boxes: tuple[NDArray[np.float64], ...]
    heads: dict[str, HeadMetrics]
    heads_fitted: dict[str, HeadMetrics]
    answers: dict[str, NDArray[np.bool_]]
    answers_fitted: dict[str, NDArray[np.uint8]]
    judgements: tuple[Judgement, ...]
    manifest: Manifest


def evaluate(network: Network, cache: Cache, images: tuple[str, ...], heads: tuple[str, ...] = ()) -> Evaluation:
    """Score every head, or those named, on photographs of a cache.

    Raises:
        UsageError: a head that the model does not have.
        DataError: the photographs have labels that the model does not know, or the cache is of another size.
    """
    manifest = network.manifest
    if cache.sources.shape[1] != manifest.source_size:
        raise DataError(f"the cache has sources of {cache.sources.shape[1]} px and the model reads "
                        f"{manifest.source_size}: build it anew")  # fmt: skip
    places = {image: place for place, image in enumerate(cache.table.images)}
    rows = np.array([places[image] for image in images], np.int64)
    targets = cache.table.take(images).targets(manifest.labels)
    parts: dict[str, list[NDArray[np.float32]]] = {}
    boxes: list[list[NDArray[np.float64]]] = [[] for _ in range(manifest.scales)]
    judgements: list[Judgement] = []
    with tqdm(total=len(rows), desc="evaluating", unit="photo", disable=None) as bar:
        for start in range(0, len(rows), _BATCH):
            chosen = rows[start : start + _BATCH]
            arrays = network(cache.sources[chosen])
            unknown = [head for head in heads if head not in arrays.probabilities]
            if unknown:
                raise UsageError(f"no head {unknown[0]!r}: the model has {', '.join(arrays.probabilities)}")
            for head in dict.fromkeys(heads) or arrays.probabilities:
                parts.setdefault(head, []).append(arrays.probabilities[head])
            scale = np.tile(cache.photo_sizes[chosen] / manifest.source_size, 2)
            for place, box in enumerate(arrays.boxes):
                boxes[place].append(box * scale)
            judgements += judge(arrays, manifest)
            bar.update(len(chosen))
    probabilities = {head: np.concatenate(values) for head, values in parts.items()}
    names = manifest.labels.names
    answers = {head: p > _THRESHOLD for head, p in probabilities.items()}
    fitted = {h: decide(p, manifest.decisions[h], manifest.labels) for h, p in probabilities.items()}
    thresholds = {h: dict(zip(names, manifest.decisions[h].thresholds, strict=True)) for h in probabilities}
    return Evaluation(
        images=images,
        targets=targets,
        probabilities=probabilities,
        boxes=tuple(np.concatenate(b) for b in boxes),
        heads={h: score(targets, answers[h], p, names, _THRESHOLD) for h, p in probabilities.items()},
        heads_fitted={h: score(targets, fitted[h], p, names, thresholds[h]) for h, p in probabilities.items()},
        answers=answers,
        answers_fitted=fitted,
        judgements=tuple(judgements),
        manifest=manifest,
    )


def verdict_shares(evaluation: Evaluation) -> dict[str, Any]:
    """How many photographs get which verdict of `predict`, and how many of their best answers are right.

    Returns:
        {VERDICT: {"photographs": n, "exact_match": x or None where there is none}}.
    """
    right = np.array(
        [(j.answer == row).all() for j, row in zip(evaluation.judgements, evaluation.targets, strict=True)], bool
    )
    found = {}
    for verdict in get_args(Verdict):
        those = np.array([judgement.verdict == verdict for judgement in evaluation.judgements], bool)
        found[verdict] = {
            "photographs": int(those.sum()),
            "exact_match": float(right[those].mean()) if those.any() else None,
        }
    return found


def uncertainty(evaluation: Evaluation) -> dict[str, Any]:
    """95 % bootstrap intervals of every head's scores, and paired differences of each head to every head before it.

    Returns:
        {"intervals": {"heads" or "heads_fitted": {HEAD: {"exact_match", "micro_f1", "macro_f1": [low, high],
        "per_label_f1": {LABEL: [low, high]}}}}, "differences": {"heads" or "heads_fitted": {"HEAD - EARLIER":
        {"exact_match", "micro_f1": {"difference": x, "interval": [low, high]}}}}}.
    """
    found: dict[str, Any] = {"intervals": {}, "differences": {}}
    for key, answers, metrics in (
        ("heads", evaluation.answers, evaluation.heads),
        ("heads_fitted", evaluation.answers_fitted, evaluation.heads_fitted),
    ):
        scores = resample_scores(evaluation.targets, answers)
        found["intervals"][key] = {
            head: {
                "exact_match": interval(s.exact_match),
                "micro_f1": interval(s.micro_f1),
                "macro_f1": interval(s.macro_f1),
                "per_label_f1": {
                    name: interval(s.per_label_f1[:, place])
                    for place, name in enumerate(evaluation.manifest.labels.names)
                },
            }
            for head, s in scores.items()
        }
        found["differences"][key] = {
            f"{head} - {earlier}": {
                "exact_match": {
                    "difference": metrics[head].exact_match - metrics[earlier].exact_match,
                    "interval": interval(scores[head].exact_match - scores[earlier].exact_match),
                },
                "micro_f1": {
                    "difference": metrics[head].micro.f1 - metrics[earlier].micro.f1,
                    "interval": interval(scores[head].micro_f1 - scores[earlier].micro_f1),
                },
            }
            for earlier, head in combinations(scores, 2)
        }
    return found


def write_evaluation(
    evaluation: Evaluation,
    sure: dict[str, Any],
    folder: Path,
    dataset: dict[str, Any],
    model: dict[str, Any],
    zoom: ZoomValue | None = None,
) -> None:
    """Write `metrics.json` (with what `uncertainty` gave, and zoom value) and `predictions.csv` into a folder.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    make_folder(folder)
    write_text(folder / "predictions.csv", _predictions(evaluation))
    write_json(
        folder / "metrics.json",
        {
            "dataset": dataset,
            "model": model,
            "heads": {head: metrics.to_dict() for head, metrics in evaluation.heads.items()},
            "heads_fitted": {head: metrics.to_dict() for head, metrics in evaluation.heads_fitted.items()},
            "verdicts": verdict_shares(evaluation),
            **sure,
            **({"zoom_value": asdict(zoom)} if zoom else {}),
        },
    )


def _predictions(evaluation: Evaluation) -> str:
    """A row a photograph: true labels, predicted labels, a probability a head and label, boxes in photo pixels."""
    names = evaluation.manifest.labels
    heads = evaluation.probabilities
    last = next(reversed(heads))
    decision = evaluation.manifest.decisions[last]
    answers = decide(heads[last], decision, names)
    columns = ["image", "labels", f"predicted_{last}"]
    columns += [f"{head}_{name}" for head in heads for name in names.names]
    for scale in range(1, len(evaluation.boxes) + 1):
        columns += [f"box_scale{scale}_{edge}" for edge in ("x0", "y0", "x1", "y1")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row, image in enumerate(evaluation.images):
        probabilities = [f"{p:.6f}" for values in heads.values() for p in values[row]]
        corners = [f"{edge:.2f}" for boxes in evaluation.boxes for edge in boxes[row]]
        true, said = names.decode(evaluation.targets[row]), names.decode(answers[row])
        writer.writerow([image, " ".join(true), " ".join(said), *probabilities, *corners])
    return text.getvalue()
