"""What the labels of a photograph should be, by classifiers that have not seen the photograph.

A linear classifier on the model's descriptors is fitted in five folds, and answers each photograph
from a fit on the other folds. Near-duplicates are in one fold. Where the model was trained on none
of the photographs, the fit starts from the model's own classifiers. Where it was, these know the
labels, so the fit starts from nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.fusion import fit_lbfgs
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.linear_layers import shares_prior
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.fitting.scale_classifiers import fusion_prior
from leafzoom.labels import Decision, LabelSet
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import Fusion

__all__ = ["OutOfFoldLabels", "fit_out_of_fold"]

_SEED = 0


@dataclass(frozen=True)
class OutOfFoldLabels:
    """What classifiers say of n photographs that they have not seen.

    `logits`: [n, L]. `probabilities`: of the labels, over the combinations that occur, [n, L].
    `combinations`: of all C combinations, [n, C]. `answers`: the labels of each photograph, 0 or 1,
    [n, L]. `classifier`, `decision`: of other photographs, fitted on all n.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    combinations: NDArray[np.float64]
    answers: NDArray[np.uint8]
    classifier: Fusion
    decision: Decision
    single_label: bool = False

    @property
    def ranked_probabilities(self) -> NDArray[np.float64]:
        """The labels' probabilities [n, L] by which photographs are ranked.

        Each label by itself: `experiments.review_ranking` compares both.
        """
        return label_probabilities(self.logits, single_label=self.single_label)

    @torch.no_grad()
    def probabilities_of(self, descriptors: NDArray[np.float32]) -> NDArray[np.float64]:
        """The labels' probabilities [m, L] of other photographs, by descriptors [m, scales * D]."""
        logits = self.classifier(torch.from_numpy(descriptors)).double().numpy()
        return label_probabilities(logits, single_label=self.single_label)


def fit_out_of_fold(
    descriptors: NDArray[np.float32],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    groups: NDArray[np.int64],
    *,
    scales: int,
    unseen_by: AttentionNetwork | None = None,
) -> OutOfFoldLabels:
    """Classify n photographs, each by fits without its fold.

    Args:
        descriptors: of all scales side by side, [n, scales * D].
        targets: as labelled, [n, L].
        labels: with C combinations.
        groups: [n], the same number for near-duplicates.
        scales: of the model.
        unseen_by: the network of the descriptors, where it has these labels and was not trained on
            any of the photographs; else None.
    """
    width = descriptors.shape[1]
    classifier = Fusion(
        scales=scales,
        width=width // scales,
        labels=len(labels.names),
        inputs="descriptors",
        normalise="rescale",
    )

    # Where nothing is known beforehand, the weakest gain counts.
    single_label = labels.single_label
    if unseen_by is None:
        prior = shares_prior(targets, width, single_label=single_label)
        options = {"min_gain": 0.0}
    else:
        prior = fusion_prior(unseen_by, classifier)
        options = {}
    fit = fit_lbfgs(
        classifier,
        descriptors,
        targets,
        prior,
        _SEED,
        single_label=single_label,
        groups=groups,
        **options,
    )

    answers = out_of_fold_answers(fit.out_of_fold, targets, labels)
    combinations = np.array(labels.combinations, np.uint8)
    return OutOfFoldLabels(
        logits=fit.out_of_fold,
        probabilities=answers.probabilities @ combinations.astype(np.float64),
        combinations=answers.probabilities,
        answers=combinations[answers.answers],
        classifier=classifier.eval(),
        decision=fit_decision(fit.out_of_fold, targets, labels),
        single_label=single_label,
    )
