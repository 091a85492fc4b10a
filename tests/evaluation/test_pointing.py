"""The pointing game: whose box centres lie on lesions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.untrained import untrained_network
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.box_kinds import outputs_by_box_kind
from leafzoom.evaluation.pointing import PointingGame, play_pointing_game

PHOTOGRAPHS = 12


@pytest.fixture
def sources(cache: Cache) -> NDArray[np.uint8]:
    return np.asarray(cache.sources[:PHOTOGRAPHS])


def test_a_hit_is_a_box_whose_centre_lies_on_a_lesion(sources: NDArray[np.uint8]) -> None:
    """Lesions tight around the learned centres, and the same with x and y exchanged."""
    # With random weights and this normalisation, the centres are far from the diagonal.
    network = untrained_network("model.apn_normalise=none")
    outputs = outputs_by_box_kind(network, sources)
    centres = outputs["learned"].centres["scale3"]
    assert np.abs(centres[:, 0] - centres[:, 1]).min() > 0.002

    tight = [np.concatenate([centre - 0.001, centre + 0.001])[None] for centre in centres]
    game = play_pointing_game(network.racnn, outputs, tight)
    random_rate = game.hit_rates["random"]["scale3"]
    assert game.photographs == PHOTOGRAPHS
    assert game.hit_rates["learned"]["scale3"] == 1
    assert game.intervals["learned"]["scale3"].to_list() == pytest.approx([1, 1])
    assert random_rate < 0.1
    assert game.gain["random"]["scale3"].value == pytest.approx(1 - random_rate)
    assert "learned" not in game.gain

    transposed = [box[:, [1, 0, 3, 2]] for box in tight]
    game = play_pointing_game(network.racnn, outputs, transposed)
    assert game.hit_rates["learned"]["scale3"] == 0


def test_random_boxes_hit_as_often_as_their_area_says(sources: NDArray[np.uint8]) -> None:
    """Lesions that cover the left half of two photographs in three."""
    network = untrained_network()
    outputs = outputs_by_box_kind(network, sources)
    left = np.array([[0.0, 0.0, 0.5, 1.0]])
    nothing = np.zeros((0, 4))
    lesions = [left, nothing, np.concatenate([left, left])] * 4

    game = play_pointing_game(network.racnn, outputs, lesions)
    assert game.photographs == 8
    assert game.hit_rates["centre"] == {"scale2": 1, "scale3": 1}
    for scale in ("scale2", "scale3"):
        assert game.hit_rates["random"][scale] == pytest.approx(0.5, abs=0.04)  # of 1,600 draws


def test_without_lesions_the_game_is_empty(sources: NDArray[np.uint8]) -> None:
    network = untrained_network()
    outputs = outputs_by_box_kind(network, sources)
    assert play_pointing_game(network.racnn, outputs, ()) == PointingGame()
    nothing = [np.zeros((0, 4))] * PHOTOGRAPHS
    assert play_pointing_game(network.racnn, outputs, nothing) == PointingGame()
