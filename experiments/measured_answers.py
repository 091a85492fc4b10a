"""What a model answers to many photographs: those of a part, of a folder, and changed ones.

Network outputs are kept in a folder, if one is given, because several programs ask for the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from leafzoom.inference.verdict import selective_predictions
from leafzoom.labels import combination_probabilities
from leafzoom.storage import make_folder, sha256_of
from tools.evaluation_data import LabelledPart

__all__ = ["MeasuredAnswers", "Measurement"]

_BATCH_SIZE = 16


@dataclass(frozen=True)
class MeasuredAnswers:
    """A model's answers to n photographs.

    `targets`: [n, L]. `posterior`: the probabilities of the C combinations, [n, C]. `answers`: the
    index of each answer's combination, [n]. `verdicts`: [n]. `ood_scores`: [n]; zeros from a model
    without a detector.
    """

    targets: NDArray[np.uint8]
    posterior: NDArray[np.float64]
    answers: NDArray[np.intp]
    verdicts: NDArray[np.str_]
    ood_scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: NDArray[np.generic]) -> MeasuredAnswers:
        """Some of the photographs."""
        return MeasuredAnswers(
            self.targets[rows],
            self.posterior[rows],
            self.answers[rows],
            self.verdicts[rows],
            self.ood_scores[rows],
        )

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probabilities [n] of the answers."""
        return np.asarray(self.posterior[np.arange(len(self)), self.answers])


class Measurement:
    """A model file that answers, and the folder where its outputs are kept.

    Args:
        model: an `.onnx` file.
        keep: None: nothing is kept.
    """

    def __init__(self, model: Path, keep: Path | None) -> None:
        self.network = OnnxNetwork(model)
        self._keep = keep
        self._digest = sha256_of(model)[:12]
        if keep is not None:
            make_folder(keep)

    def answers(self, name: str, part: LabelledPart) -> MeasuredAnswers:
        """The answers to a part; `name` is that of the kept file."""
        arrays = self._outputs(name, part.sources)
        manifest = self.network.manifest
        labels = manifest.labels
        predictions = selective_predictions(arrays, manifest)

        # Each answer as a combination's index.
        vectors = np.array([prediction.label_vector for prediction in predictions])
        combinations = np.array(labels.combinations, np.uint8)
        answers = (vectors[:, None, :] == combinations[None]).all(axis=2).argmax(axis=1)

        decision = manifest.decisions[manifest.head]
        scores = np.zeros(len(part)) if arrays.ood_score is None else arrays.ood_score
        return MeasuredAnswers(
            targets=part.targets,
            posterior=combination_probabilities(
                arrays.probabilities[manifest.head], decision, labels
            ),
            answers=answers,
            verdicts=np.array([prediction.verdict for prediction in predictions]),
            ood_scores=np.asarray(scores, np.float64),
        )

    def _outputs(self, name: str, sources: NDArray[np.uint8]) -> NetworkArrays:
        """The network's outputs for sources, kept or computed."""
        file = self._keep and self._keep / f"{self._digest}-{name.replace(' ', '-')}.npz"
        if file and file.is_file():
            return _read(file)

        starts = range(0, len(sources), _BATCH_SIZE)
        batches = [
            self.network(np.ascontiguousarray(sources[start : start + _BATCH_SIZE]))
            for start in starts
        ]
        arrays = _concatenate(batches)
        if file:
            _write(file, arrays)
        return arrays


def _concatenate(batches: list[NetworkArrays]) -> NetworkArrays:
    probabilities = {}
    for head in batches[0].probabilities:
        probabilities[head] = np.concatenate([batch.probabilities[head] for batch in batches])
    by_scale = zip(*(batch.boxes for batch in batches), strict=True)
    boxes = [np.concatenate(parts) for parts in by_scale]

    scores = [batch.ood_score for batch in batches if batch.ood_score is not None]
    return NetworkArrays(probabilities, tuple(boxes), np.concatenate(scores) if scores else None)


def _write(file: Path, arrays: NetworkArrays) -> None:
    content = {f"head {head}": values for head, values in arrays.probabilities.items()}
    content |= {f"boxes {scale}": boxes for scale, boxes in enumerate(arrays.boxes)}
    if arrays.ood_score is not None:
        content["score"] = arrays.ood_score
    np.savez(file, allow_pickle=False, **content)


def _read(file: Path) -> NetworkArrays:
    with np.load(file) as content:
        heads = {
            name.removeprefix("head "): content[name]
            for name in content.files
            if name.startswith("head ")
        }
        count = sum(name.startswith("boxes ") for name in content.files)
        boxes = tuple(content[f"boxes {scale}"] for scale in range(count))
        score = content["score"] if "score" in content.files else None
        return NetworkArrays(heads, boxes, score)
