"""Zoom value: each kind of box is what its name says, and all are scored alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.untrained import untrained_network
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.bootstrap import Difference, Interval
from leafzoom.evaluation.box_kinds import BOX_KINDS, outputs_by_box_kind
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.zoom_value import _lesion_shares, measure_zoom_value, zoom_value
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.attention_proposal import AttentionProposal
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState, View

PHOTOGRAPHS = 12
TARGETS = np.eye(3, dtype=int)[np.arange(PHOTOGRAPHS) % 3]


@pytest.fixture
def sources(cache: Cache) -> NDArray[np.uint8]:
    return np.asarray(cache.sources[:PHOTOGRAPHS])


def use_batch_size(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("leafzoom.evaluation.box_kinds._BATCH_SIZE", size)


def test_each_kind_gets_its_boxes(
    sources: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = untrained_network()
    proposals_by_kind: dict[str, list[Tensor]] = {kind: [] for kind in BOX_KINDS}
    zoom = RACNN.zoom

    # One batch: each kind zooms twice in a row.
    kinds = iter(np.repeat(BOX_KINDS, 2))

    def spy(self: RACNN, state: ScaleState, proposals: Tensor) -> View:
        proposals_by_kind[next(kinds)].append(proposals)
        return zoom(self, state, proposals)

    use_batch_size(monkeypatch, PHOTOGRAPHS)
    monkeypatch.setattr(RACNN, "zoom", spy)
    zoom_value(network, sources, TARGETS)

    # Both zooms' boxes have the learned sizes.
    learned = proposals_by_kind["learned"]
    for kind in BOX_KINDS[1:]:
        for proposals, learned_proposals in zip(proposals_by_kind[kind], learned, strict=True):
            torch.testing.assert_close(proposals[:, 2], learned_proposals[:, 2])

    assert not proposals_by_kind["centre"][0][:, :2].any()
    assert proposals_by_kind["random"][0][:, :2].std() > 0.3
    assert (proposals_by_kind["response"][0][:, :2] != learned[0][:, :2]).any()


def test_all_zooming_heads_are_scored_and_gains_are_differences(
    sources: NDArray[np.uint8],
) -> None:
    value = zoom_value(untrained_network(), sources, TARGETS)
    assert set(value.exact_match) == set(BOX_KINDS)
    assert set(value.exact_match["centre"]) == {"scale2", "scale3", "fusion12", "fusion123"}

    for head, gain in value.gain["random"].items():
        expected = value.exact_match["learned"][head] - value.exact_match["random"][head]
        assert gain.value == pytest.approx(expected)


def test_learned_boxes_score_the_networks_own_answers(sources: NDArray[np.uint8]) -> None:
    """Targets are scale 3's own answers, with one photograph's labels inverted."""
    network = untrained_network(
        "model.residual=0.6", "model.surrogate=exact", "fusion.inputs=logits"
    )
    with torch.no_grad():
        logits = network(torch.from_numpy(sources.copy())).logits
    answers = {head: (values > 0).numpy() for head, values in logits.items()}
    targets = answers["scale3"].astype(np.uint8)
    targets[0] = 1 - targets[0]

    exact_match = zoom_value(network, sources, targets).exact_match["learned"]
    assert exact_match["scale3"] == pytest.approx(11 / 12)
    for head in ("scale2", "fusion12", "fusion123"):
        expected = (answers[head] == targets).all(axis=1).mean()
        assert exact_match[head] == pytest.approx(expected)


def test_kinds_of_boxes_share_the_first_look(
    sources: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = untrained_network()
    looked_at: list[int] = []
    look = RACNN.look

    def spy(
        self: RACNN, sources: Tensor, view: View, coarser: ScaleState | None = None
    ) -> ScaleState:
        state = look(self, sources, view, coarser)
        looked_at.append(state.scale)
        return state

    use_batch_size(monkeypatch, 5)
    monkeypatch.setattr(RACNN, "look", spy)
    outputs_by_box_kind(network, sources)

    batches = 3
    looks = [looked_at.count(scale) for scale in range(3)]
    assert looks == [batches, len(BOX_KINDS) * batches, len(BOX_KINDS) * batches]


def test_batches_do_not_mix(sources: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    network = untrained_network()
    use_batch_size(monkeypatch, PHOTOGRAPHS)
    whole_outputs = outputs_by_box_kind(network, sources)
    use_batch_size(monkeypatch, 5)
    batched_outputs = outputs_by_box_kind(network, sources)

    for kind in ("learned", "centre", "response"):
        whole = whole_outputs[kind]
        batched = batched_outputs[kind]
        for head, answers in whole.answers.items():
            assert answers.shape == (PHOTOGRAPHS, 3)
            np.testing.assert_array_equal(answers, batched.answers[head])
        for scale, centres in whole.centres.items():
            np.testing.assert_allclose(centres, batched.centres[scale], atol=1e-5)
        for sizes, batched_sizes in zip(whole.sizes, batched.sizes, strict=True):
            torch.testing.assert_close(sizes, batched_sizes, atol=1e-5, rtol=0)

    # Random boxes have other centres in other batches, and the learned sizes.
    for zoom in range(2):
        torch.testing.assert_close(
            batched_outputs["random"].sizes[zoom], batched_outputs["learned"].sizes[zoom]
        )


def test_learned_boxes_of_a_network_that_proposes_the_centre_gain_nothing(
    sources: NDArray[np.uint8],
) -> None:
    network = untrained_network()
    with torch.no_grad():
        for apn in network.racnn.apns:
            assert isinstance(apn, AttentionProposal)
            for parameter in apn.parameters():
                parameter.zero_()

    value = zoom_value(network, sources, TARGETS)
    assert value.exact_match["learned"] == value.exact_match["centre"]
    no_gain = Difference(0, Interval(0, 0))
    assert all(gain == no_gain for gain in value.gain["centre"].values())


def test_a_part_of_an_evaluations_photographs_is_measured(
    network: TorchNetwork, evaluation: Evaluation, cache: Cache
) -> None:
    """All twenty photographs give the evaluation's own scores, for it has no mirror images."""
    value = measure_zoom_value(network.network, evaluation, cache, photographs=8)
    assert value.photographs == 8
    assert value.pointing.photographs == 0

    everything = measure_zoom_value(network.network, evaluation, cache)
    assert everything.photographs == 20
    for head, exact_match in everything.exact_match["learned"].items():
        assert exact_match == pytest.approx(evaluation.heads[head].exact_match)


def test_lesions_are_shares_of_each_photos_own_sides(cache: Cache) -> None:
    """A photo that is wider than high."""
    wide = replace(cache, photo_sizes=np.tile([300, 200], (len(cache.table), 1)))
    lesions = {cache.table.image_names[3]: np.array([[30.0, 20.0, 60.0, 100.0]])}
    assert _lesion_shares(lesions, wide, 3).tolist() == [[0.1, 0.1, 0.2, 0.5]]
    assert _lesion_shares({}, wide, 3).shape == (0, 4)
