"""Give a model file what `--coverage`, `--group-by` and `leafzoom drift` need:
python -m tools.refit MODEL.onnx DATA [--run RUN] [--out FILE]

A training does this by itself. This program is for model files from before, and for those whose
weights, detector or decisions were replaced after their training. Weights and all other metadata
stay as they are, bit by bit; it may be run any number of times.

The logits of the validation part have to be out of fold, because the fusion was fitted there. With
--run they are those of the run's selection.csv (seconds). Without it, the fusion is cross-validated
again with the file's own weights in PyTorch (minutes), unless the recipe fitted it on the training
part. Out-of-distribution scores are those of the file itself.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.fitting.conformal import fit_conformal
from leafzoom.fitting.confusion import fit_confusion
from leafzoom.fitting.decision import combination_priors, fit_decision
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers, out_of_fold_answers
from leafzoom.fitting.reference import fit_reference
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import logits_of
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.onnx_writer import write_manifest
from tools.evaluation_data import open_data, rows_of_part
from tools.out_of_fold import fused_logits_out_of_fold, read_selection

__all__ = ["ValidationAnswers", "main", "parser", "refitted_manifest", "validation_answers"]

_PART = "inner-validation"
_BATCH_SIZE = 16


@dataclass(frozen=True)
class ValidationAnswers:
    """What a model says about its validation part.

    `logits`: of the answering head, out of fold, [n, L]. `targets`: [n, L]. `ood_scores`: [n]; None
    without a detector. `answers`: by decisions that were fitted on other photographs.
    `look_answers`: of each single look, likewise.
    """

    logits: NDArray[np.floating]
    targets: NDArray[np.uint8]
    ood_scores: NDArray[np.float32] | None
    answers: OutOfFoldAnswers
    look_answers: tuple[OutOfFoldAnswers, ...]


def main() -> None:
    """Fit and write."""
    arguments = parser().parse_args()
    network = OnnxNetwork(arguments.model)
    cache = open_data(arguments.data, network.manifest.source_size)

    validation = validation_answers(arguments.model, network, cache, arguments.run)
    manifest = refitted_manifest(network.manifest, validation)

    out = arguments.out or arguments.model
    if out != arguments.model:
        shutil.copyfile(arguments.model, out)
    write_manifest(out, manifest)

    assert manifest.conformal is not None
    added = len(manifest.to_json()) - len(network.manifest.to_json())
    print(
        f"{out}: {manifest.conformal.photographs} photographs, {added / 1000:+.1f} KB of metadata"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.refit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("model", type=Path, help="an .onnx file")
    options.add_argument("data", type=Path)
    options.add_argument("--run", type=Path, help="the run that the file was exported from")
    options.add_argument("--out", type=Path, help="by default the model itself is rewritten")

    return options


def refitted_manifest(manifest: Manifest, validation: ValidationAnswers) -> Manifest:
    """A manifest with the calibration of sets, the reference of drift and the confusion."""
    answers = validation.answers
    labels = manifest.labels
    return replace(
        manifest,
        conformal=fit_conformal(answers, validation.targets, labels),
        reference=fit_reference(answers, validation.ood_scores, labels),
        confusion=fit_confusion(
            answers, validation.look_answers, validation.ood_scores, validation.targets, labels
        ),
    )


def validation_answers(
    model: Path, network: OnnxNetwork, cache: Cache, run: Path | None
) -> ValidationAnswers:
    """The answers of a model file to its validation part.

    Args:
        model: the file.
        network: the same, opened.
        cache: of the data set that it was trained on.
        run: whose selection.csv has the logits; None: they are computed again.
    """
    manifest = network.manifest
    rows = rows_of_part(cache, _PART, manifest)
    image_names = tuple(cache.table.image_names[row] for row in rows)
    targets = cache.table.take(image_names).targets(manifest.labels)

    # One pass of the file itself, for the scores, and for logits that nothing was fitted to.
    all_logits, ood_scores = _outputs(network, cache, rows)
    if run is not None:
        selection = read_selection(run, manifest)
        if selection.image_names != image_names:
            raise SystemExit(f"{run} was not validated on the photographs of {_PART}")
        all_logits = selection.logits
    else:
        refitted = fused_logits_out_of_fold(model, cache, rows)
        if refitted is not None:
            all_logits = {**all_logits, manifest.head: refitted}

    # Combinations that no photograph has are as unlikely as in a training.
    priors = combination_priors(manifest.labels, cache.table.targets(manifest.labels))
    fit = partial(fit_decision, priors=priors)
    logits = all_logits[manifest.head]
    answers = out_of_fold_answers(logits, targets, manifest.labels, fit)
    look_answers = tuple(
        out_of_fold_answers(all_logits[head], targets, manifest.labels, fit)
        for head in manifest.look_heads
    )
    return ValidationAnswers(logits, targets, ood_scores, answers, look_answers)


def _outputs(
    network: OnnxNetwork, cache: Cache, rows: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float32] | None]:
    """Logits [n, L] by head, and the scores [n], of some of a cache's photographs.

    The heads are that of the answer and those of the single looks.
    """
    manifest = network.manifest
    heads = dict.fromkeys([manifest.head, *manifest.look_heads])
    probabilities: dict[str, list[NDArray[np.float32]]] = {head: [] for head in heads}
    scores = []
    for start in range(0, len(rows), _BATCH_SIZE):
        arrays = network(np.asarray(cache.sources[rows[start : start + _BATCH_SIZE]]))
        for head, batches in probabilities.items():
            batches.append(arrays.probabilities[head])
        if arrays.ood_score is not None:
            scores.append(arrays.ood_score)

    logits = {
        head: logits_of(np.concatenate(batches), manifest.labels)
        for head, batches in probabilities.items()
    }
    return logits, np.concatenate(scores) if scores else None


if __name__ == "__main__":
    main()
