"""An evaluation scores the heads asked for, on the photographs asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import DataError, UsageError
from leafzoom.evaluation.evaluate import Evaluation, evaluate, verdict_counts
from leafzoom.inference.torch_network import TorchNetwork


def test_scores_are_of_the_answers_at_threshold_one_half(evaluation: Evaluation) -> None:
    assert evaluation.head == "fusion123"
    for head, probabilities in evaluation.probabilities.items():
        is_exact = ((probabilities > 0.5) == evaluation.targets).all(axis=1)
        assert evaluation.heads[head].exact_match == pytest.approx(is_exact.mean())
        assert evaluation.heads[head].threshold == 0.5

        is_exact = (evaluation.answers_fitted[head] == evaluation.targets).all(axis=1)
        assert evaluation.heads_fitted[head].exact_match == pytest.approx(is_exact.mean())


def test_boxes_are_in_photo_pixels(network: TorchNetwork, cache: Cache, split: Split) -> None:
    """Photos of twice the source's width and half its height."""
    other_sizes = cache.photo_sizes * np.array([2.0, 0.5])
    stretched = replace(cache, photo_sizes=other_sizes.astype(np.int64))
    boxes = evaluate(network, cache, split.train[:3]).boxes
    stretched_boxes = evaluate(network, stretched, split.train[:3]).boxes
    for before, after in zip(boxes, stretched_boxes, strict=True):
        np.testing.assert_allclose(after, before * [2, 0.5, 2, 0.5], rtol=1e-6)


def test_the_last_head_asked_for_is_the_reports(
    network: TorchNetwork, cache: Cache, split: Split
) -> None:
    heads = ("fusion12", "scale2", "fusion12")
    evaluation = evaluate(network, cache, split.train[:3], heads)
    assert list(evaluation.heads) == ["fusion12", "scale2"]
    assert evaluation.head == "scale2"


def test_an_unknown_head_is_refused(network: TorchNetwork, cache: Cache, split: Split) -> None:
    with pytest.raises(UsageError, match="no head 'scale9': the model has scale1, scale2"):
        evaluate(network, cache, split.train[:3], ("scale9",))


def test_a_cache_of_another_size_is_refused(
    network: TorchNetwork, cache: Cache, split: Split
) -> None:
    smaller = replace(cache, sources=cache.sources[:, :64, :64])
    with pytest.raises(DataError, match="has sources of 64 px and the model reads 96 px"):
        evaluate(network, smaller, split.train[:3])


def test_every_photograph_has_one_verdict(evaluation: Evaluation) -> None:
    counts = verdict_counts(evaluation)
    assert set(counts) == {"diagnosis", "unsure", "not_a_leaf"}
    assert sum(count.photographs for count in counts.values()) == 20
    for count in counts.values():
        assert (count.exact_match is None) == (count.photographs == 0)
