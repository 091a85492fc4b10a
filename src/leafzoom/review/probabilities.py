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
from leafzoom.fitting.fusion import LinearLayer, fit_lbfgs
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.linear_layers import shares_prior
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.fitting.scale_classifiers import fusion_prior
from leafzoom.labels import Decision, LabelSet
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import Fusion

__all__ = ["Features", "OutOfFoldLabels", "find_features", "fit_out_of_fold"]

_SEED = 0
_COMPONENTS = 256  # principal components of the descriptors; a fit on all takes ten times as long
_MIN_MEAN_SQUARE = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """How descriptors become the inputs of a linear classifier: their principal components.

    `mean`, `factors`: of descriptors, [W]; each scale then has a mean square of one. `directions`:
    [W, K], orthonormal. `own`: the model's own classifiers as one layer, [L, W], whose logits are
    inputs too; None where they may know the labels.
    """

    mean: Array
    factors: Array
    directions: Array
    own: LinearLayer | None

    def inputs(self, descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inputs [m, K] of descriptors [m, W]; [m, K + L] with the own logits."""
        components = ((descriptors - self.mean) * self.factors) @ self.directions
        if self.own is None:
            return np.asarray(components, np.float32)
        logits = descriptors @ self.own.weight.T + self.own.bias
        return np.concatenate([components, logits], axis=1).astype(np.float32)

    def prior(self, targets: NDArray[np.uint8], *, single_label: bool) -> LinearLayer:
        """The layer on the inputs that a fit starts from: the own logits, or the labels' shares."""
        count = self.directions.shape[1]
        if self.own is None:
            return shares_prior(targets, count, single_label=single_label)
        labels = len(self.own.bias)
        weight = np.concatenate([np.zeros((labels, count)), np.eye(labels)], axis=1)
        return LinearLayer(weight, np.zeros(labels))


@dataclass(frozen=True)
class OutOfFoldLabels:
    """What classifiers say of n photographs that they have not seen.

    `logits`: [n, L]. `probabilities`: of the labels, over the combinations that occur, [n, L].
    `combinations`: of all C combinations, [n, C]. `answers`: the labels of each photograph, 0 or 1,
    [n, L]. `features`, `classifier`, `decision`: of other photographs, fitted on all n.
    """

    logits: Array
    probabilities: Array
    combinations: Array
    answers: NDArray[np.uint8]
    features: Features
    classifier: Fusion
    decision: Decision
    single_label: bool = False

    @property
    def ranked_probabilities(self) -> Array:
        """The labels' probabilities [n, L] by which photographs are ranked.

        Each label by itself: `experiments.review_ranking` compares both.
        """
        return label_probabilities(self.logits, single_label=self.single_label)

    @torch.no_grad()
    def probabilities_of(self, descriptors: NDArray[np.float32]) -> Array:
        """The labels' probabilities [m, L] of other photographs, by descriptors [m, W]."""
        inputs = torch.from_numpy(self.features.inputs(descriptors))
        logits = self.classifier(inputs).double().numpy()
        return label_probabilities(logits, single_label=self.single_label)


def find_features(
    descriptors: NDArray[np.float32], *, scales: int, unseen_by: AttentionNetwork | None = None
) -> Features:
    """The features of n photographs; no label is looked at.

    Args:
        descriptors: of all scales side by side, [n, W].
        scales: of the model.
        unseen_by: the network of the descriptors, where it has the labels of the photographs and
            was trained on none of them; else None.
    """
    count, width = descriptors.shape
    mean = descriptors.mean(axis=0, dtype=np.float64)
    centred = descriptors - mean
    mean_square = np.square(centred).reshape(count, scales, -1).mean(axis=(0, 2))
    factors = np.repeat(1 / np.sqrt(np.maximum(mean_square, _MIN_MEAN_SQUARE)), width // scales)
    scaled = centred * factors

    # Of fewer photographs than descriptors, the smaller matrix has the same components.
    if count < width:
        _, vectors = np.linalg.eigh(scaled @ scaled.T)
        spanned = scaled.T @ vectors[:, -_COMPONENTS:]
        directions = np.linalg.qr(spanned)[0]
    else:
        _, vectors = np.linalg.eigh(scaled.T @ scaled)
        directions = vectors[:, -_COMPONENTS:]

    own = None
    if unseen_by is not None:
        labels = unseen_by.classifier_layers()[0].out_features
        fusion = _classifier(scales, width // scales, labels)
        own = fusion_prior(unseen_by, fusion)
    return Features(mean, factors, directions, own)


def fit_out_of_fold(
    features: Features,
    descriptors: NDArray[np.float32],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    groups: NDArray[np.int64],
) -> OutOfFoldLabels:
    """Classify n photographs, each by fits without its fold.

    Args:
        features: of the photographs.
        descriptors: [n, W].
        targets: as labelled, [n, L].
        labels: with C combinations.
        groups: [n], the same number for near-duplicates.
    """
    inputs = features.inputs(descriptors)
    single_label = labels.single_label
    classifier = _classifier(1, inputs.shape[1], len(labels.names))
    prior = features.prior(targets, single_label=single_label)
    fit = fit_lbfgs(
        classifier,
        inputs,
        targets,
        prior,
        _SEED,
        min_gain=0.0,
        single_label=single_label,
        groups=groups,
    )

    answers = out_of_fold_answers(fit.out_of_fold, targets, labels)
    combinations = np.array(labels.combinations, np.uint8)
    return OutOfFoldLabels(
        logits=fit.out_of_fold,
        probabilities=answers.probabilities @ combinations.astype(np.float64),
        combinations=answers.probabilities,
        answers=combinations[answers.answers],
        features=features,
        classifier=classifier.eval(),
        decision=fit_decision(fit.out_of_fold, targets, labels),
        single_label=single_label,
    )


def _classifier(scales: int, width: int, labels: int) -> Fusion:
    """A linear layer on inputs as they are."""
    return Fusion(scales=scales, width=width, labels=labels, inputs="descriptors", normalise="none")
