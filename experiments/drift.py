"""Does `leafzoom drift` raise an alarm where it should, and only there?

    python -m experiments.drift MODEL.onnx DATA [--elsewhere NAME=FOLDER]... [--keep FOLDER]

MODEL has a reference (a training writes it, or `python -m tools.refit`). Draws seasons of 30 to 300
answers, with repetition between seasons but not within one: from `inner-test` at random and with
other shares of the labels, where an alarm is false; from the same photographs blurred and darkened;
and from elsewhere. Of a model that was trained on `inner-test`, they are drawn from
`inner-validation`, where its reference was fitted. Writes results/NAME.json.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from experiments.measured_answers import MeasuredAnswers, Measurement
from leafzoom.evaluation.drift import compare_with_reference
from leafzoom.inference.result_reader import SeasonAnswers
from leafzoom.labels import LabelSet
from leafzoom.model_file.manifest import Manifest
from leafzoom.storage import write_json
from tools.evaluation_data import LabelledPart, open_data, read_labelled_folder, read_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit

__all__ = ["main"]

_SIZES = (30, 100, 300)
_SEASONS = 100
_SHIFTED_STEP = 8  # every eighth photograph is blurred and darkened
_BLURS_PX = (0.5, 1.0, 2.0)
_BRIGHTNESSES = (0.7, 0.4)
_JUDGEMENTS = ("trust", "check", "distrust", "too_few")


@dataclass(frozen=True)
class _Kind:
    """Answers of which seasons are drawn, and whether they were right.

    `weights`: how likely each is drawn, [n].
    """

    name: str
    answers: MeasuredAnswers
    weights: NDArray[np.float64]


def main() -> None:
    """Draw seasons, judge them, write."""
    arguments = _parser().parse_args()
    measurement = Measurement(arguments.model, arguments.keep)
    manifest = measurement.network.manifest
    cache = open_data(arguments.data, manifest.source_size)

    # Leaves as they are, with other diseases, and changed.
    part_name = "inner-validation" if manifest.data.get("split") == "all" else "inner-test"
    part = read_part(cache, part_name, manifest)
    test = measurement.answers(part_name, part)
    kinds = [_Kind(part_name, test, np.ones(len(test)))]
    kinds += _other_shares(part_name, test, manifest.labels)
    few = LabelledPart(part.sources[::_SHIFTED_STEP], part.targets[::_SHIFTED_STEP])
    for name, sources in _changed(few.sources).items():
        answers = measurement.answers(name, LabelledPart(sources, few.targets))
        kinds.append(_Kind(name, answers, np.ones(len(answers))))

    # Leaves from elsewhere.
    for option in arguments.elsewhere:
        name, _, folder = option.partition("=")
        other = read_labelled_folder(Path(folder), manifest.labels.names, manifest.source_size)
        answers = measurement.answers(name, other)
        kinds.append(_Kind(name, answers, np.ones(len(answers))))

    names = [option.partition("=")[0] for option in arguments.elsewhere]
    options = "".join(f" --elsewhere '{name}=…'" for name in names)
    result = {
        "name": arguments.name,
        "model": manifest.name,
        "note": f"{_SEASONS} seasons of each size; of the leaves that got a diagnosis, the share "
        f"that is right; changed ones are every eighth of {part_name}",
        "command": f"python -m experiments.drift {arguments.model.name} DATA{options}",
        "commit": commit(),
        "model_digest": model_digest(arguments.model),
        "kinds": [_judge(kind, manifest) for kind in kinds],
    }
    path = ROOT / "results" / f"{arguments.name}.json"
    write_json(path, result)
    print(path)


def _other_shares(part_name: str, test: MeasuredAnswers, labels: LabelSet) -> list[_Kind]:
    """Seasons of one label alone, and of four times as much of one."""
    kinds = []
    for column, label in enumerate(labels.names):
        has_label = test.targets[:, column] > 0
        name = label.replace("_", " ")
        kinds.append(_Kind(f"{part_name}, {name} alone", test, has_label.astype(np.float64)))
        kinds.append(_Kind(f"{part_name}, four times {name}", test, np.where(has_label, 4.0, 1.0)))
    return kinds


def _changed(sources: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Sources [n, S, S, 3] blurred and darkened."""
    size = sources.shape[1]
    images = [Image.fromarray(source) for source in sources]

    changed = {}
    for sigma_px in _BLURS_PX:
        blur = ImageFilter.GaussianBlur(sigma_px)
        name = f"blurred by {sigma_px:g} px of {size}"
        changed[name] = np.stack([np.asarray(image.filter(blur)) for image in images])
    for brightness in _BRIGHTNESSES:
        darkened = [ImageEnhance.Brightness(image).enhance(brightness) for image in images]
        changed[f"brightness {brightness:.0%}"] = np.stack([np.asarray(dark) for dark in darkened])
    return changed


def _judge(kind: _Kind, manifest: Manifest) -> dict[str, Any]:
    """What is said about seasons of each size, and how good the diagnoses are."""
    answers = kind.answers
    combinations = np.array(manifest.labels.combinations, np.uint8)
    correct = (combinations[answers.answers] == answers.targets).all(axis=1)
    shares = kind.weights / kind.weights.sum()
    diagnosed = answers.verdicts == "diagnosis"
    right = (shares * correct * diagnosed).sum() / max((shares * diagnosed).sum(), 1e-9)

    by_size = {}
    available = int((kind.weights > 0).sum())
    for size in _SIZES:
        if size > available:
            continue
        random = np.random.default_rng(size)
        judgements: Counter[str] = Counter()
        for _ in range(_SEASONS):
            rows = random.choice(len(answers), size, replace=False, p=shares)
            report = compare_with_reference(_season(answers.take(rows), manifest), manifest)
            judgements[report.judgement] += 1
        by_size[str(size)] = {name: judgements[name] / _SEASONS for name in _JUDGEMENTS}

    return {
        "kind": kind.name,
        "photographs": available,
        "diagnosed": round(float((shares * diagnosed).sum()), 4),
        "right": round(float(right), 4),
        "seasons": by_size,
    }


def _season(answers: MeasuredAnswers, manifest: Manifest) -> SeasonAnswers:
    """Answers as `leafzoom drift` reads them."""
    labels = manifest.labels
    rows = np.array(labels.combinations, np.uint8)[answers.answers]
    has_scores = manifest.reference is not None and bool(manifest.reference.ood_edges)
    return SeasonAnswers(
        likely=tuple(tuple(labels.decode(row)) for row in rows),
        confidence=answers.confidence,
        is_leaf=answers.verdicts != "not_a_leaf",
        ood_scores=answers.ood_scores if has_scores else None,
        failed=0,
    )


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--elsewhere", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--keep", type=Path)
    options.add_argument("--name", default="drift", help="of the file in results/")
    return options


if __name__ == "__main__":
    main()
