"""Read back what `leafzoom predict` wrote: JSON, JSON lines, CSV, or a folder of results."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError, LeafzoomError
from leafzoom.inference.prediction import Prediction, result_from_dict
from leafzoom.labels import answer_confidence, decide
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import similar_path

__all__ = ["SeasonAnswers", "read_answers"]

_FOLDER_FILES = ("predictions.jsonl", "predictions.csv")
_CSV_COLUMNS = ("photo", "verdict", "confidence", "error")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeasonAnswers:
    """The answers to n photos that could be read.

    `likely`: the labels of each best answer. `confidence`: [n]. `is_leaf`: [n]. `ood_scores`: [n],
    infinite where the score was no number; None where a file has none (a CSV, a model without a
    detector). `failed`: how many photos could not be read.
    """

    likely: tuple[tuple[str, ...], ...]
    confidence: Array
    is_leaf: NDArray[np.bool_]
    ood_scores: Array | None
    failed: int

    def __len__(self) -> int:
        return len(self.likely)


@dataclass(frozen=True)
class _Answer:
    """One photo's answer; `ood_score` is None in a CSV."""

    likely: tuple[str, ...]
    confidence: float
    is_leaf: bool
    ood_score: float | None


def read_answers(paths: Sequence[Path], manifest: Manifest) -> SeasonAnswers:
    """The answers in all files and folders together.

    Args:
        paths: files that `predict` wrote as JSON, JSON lines or CSV, or folders of `predict --out`.
        manifest: of the model that gave the answers; a CSV has probabilities alone, which it
            decides again.

    Raises:
        DataError: a file that is not there or not of `predict`, of another model, or with answers
            after an early exit.
    """
    answers: list[_Answer] = []
    failed = 0
    for path in paths:
        for answer in _answers_of_file(_results_file(path), manifest):
            if answer is None:
                failed += 1
            else:
                answers.append(answer)

    # Scores count only where every answer has one.
    scores = [answer.ood_score for answer in answers if answer.ood_score is not None]
    has_scores = bool(scores) and len(scores) == len(answers)
    return SeasonAnswers(
        likely=tuple(answer.likely for answer in answers),
        confidence=np.array([answer.confidence for answer in answers], np.float64),
        is_leaf=np.array([answer.is_leaf for answer in answers], bool),
        ood_scores=np.array(scores, np.float64) if has_scores else None,
        failed=failed,
    )


def _results_file(path: Path) -> Path:
    """A file, or the one in a folder of results."""
    if path.is_file():
        return path
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    if not path.exists():
        raise DataError(
            f"{path} does not exist: name a file that leafzoom predict wrote, or a folder of its "
            f"--out{similar_path(path)}"
        )
    raise DataError(
        f"{path} is neither a file that leafzoom predict wrote nor a folder of its --out "
        f"({' or '.join(_FOLDER_FILES)}): check the path"
    )


def _answers_of_file(path: Path, manifest: Manifest) -> Iterator[_Answer | None]:
    """The answers of one file; None for a photo that could not be read."""
    try:
        if path.suffix.lower() == ".csv":
            yield from _answers_of_csv(path, manifest)
            return
        for number, content in enumerate(_json_objects(path), start=1):
            yield _answer_of_json(content, f"{path}, answer {number}", manifest)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text that leafzoom predict wrote: check the path") from error


def _json_objects(path: Path) -> Iterator[Any]:
    """The objects of a file in JSON (a list) or in JSON lines."""
    with path.open(encoding="utf-8") as file:
        start = file.read(1)
        file.seek(0)
        try:
            if start == "[":
                yield from json.load(file)
                return
            for line in file:
                if line.strip():
                    yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path} is not what leafzoom predict writes with --format json or jsonl "
                f"({error}): write it again"
            ) from error


def _answer_of_json(content: Any, where: str, manifest: Manifest) -> _Answer | None:
    try:
        result = result_from_dict(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is no answer of leafzoom predict ({error!r})") from error
    if not isinstance(result, Prediction):
        return None

    _check_model(result, where, manifest)
    is_leaf = result.verdict != "not_a_leaf"
    score = result.ood_score
    if score is None and not is_leaf:
        score = np.inf  # JSON has no infinity
    return _Answer(result.likely, result.confidence, is_leaf, score)


def _check_model(prediction: Prediction, where: str, manifest: Manifest) -> None:
    """Refuse an answer of another model, or of the first look alone."""
    if prediction.model != manifest.name:
        raise DataError(
            f"{where} is of the model {prediction.model} and not of {manifest.name}: "
            "name the model that gave the answers with --model"
        )
    if len(prediction.scales) < manifest.scales:
        raise DataError(
            f"{where} was given after an early exit, and the reference is of all looks: "
            "predict without --early-exit"
        )


def _answers_of_csv(path: Path, manifest: Manifest) -> Iterator[_Answer | None]:
    labels = manifest.labels
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {*_CSV_COLUMNS, *labels.names} - set(reader.fieldnames or ())
        if missing:
            raise DataError(
                f"{path} has no column {sorted(missing)[0]!r}, as leafzoom predict --format csv "
                f"writes it with the model {manifest.name}: check the file and --model"
            )

        for line, row in enumerate(reader, start=2):
            if row["error"]:
                yield None
                continue
            try:
                yield _answer_of_row(row, manifest)
            except (TypeError, ValueError, LeafzoomError) as error:
                raise DataError(f"{path}, row {line} is no answer ({error})") from error


def _answer_of_row(row: Mapping[str, str], manifest: Manifest) -> _Answer:
    """A row of a CSV, decided again from its probabilities."""
    labels = manifest.labels
    decision = manifest.decisions[manifest.head]
    probabilities = np.array([[float(row[name]) for name in labels.names]])

    answer = decide(probabilities, decision, labels)
    confidence = answer_confidence(probabilities, answer, decision, labels)
    return _Answer(
        likely=tuple(labels.decode(answer[0])),
        confidence=float(confidence[0]),
        is_leaf=row["verdict"] != "not_a_leaf",
        ood_score=None,
    )
