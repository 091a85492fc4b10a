"""The evaluation's page: what it holds, what its gallery chooses, and that zoom value compares what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_lesions
from leafzoom.dataset.split import Split
from leafzoom.evaluation.evaluate import evaluate
from leafzoom.evaluation.figures import calibration, confusion
from leafzoom.evaluation.gallery import choose
from leafzoom.evaluation.report import _shares, report
from leafzoom.evaluation.zoom_value import KINDS, looks_by_kind, zoom_value
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.labels import Decision, LabelSet, combination_probabilities
from leafzoom.manifest import Manifest
from leafzoom.model.attention_proposal import AttentionProposal
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.checkpoint import load_checkpoint, network_tensors, save_checkpoint
from leafzoom.model.fusion import FusedRACNN, head_names
from leafzoom.recipe import load_recipe, recipe_to_dict

LABELS = LabelSet(("healthy", "ring_spot", "solid_spot"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)))


def network(*changes: str) -> FusedRACNN:
    torch.manual_seed(0)
    recipe = load_recipe("default", [*TINY, *changes])
    racnn = build_racnn(recipe, 3)
    fused = FusedRACNN(racnn, build_fusions(recipe.fusion, racnn))
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)  # so that every box and answer is its own
    return fused.eval()


@pytest.fixture
def page(leaves: Path, cache: Cache, split: Split, tmp_path: Path) -> str:
    """The report of an untrained network."""
    recipe = load_recipe("default", TINY)
    manifest = Manifest(
        LABELS, 96, 64, 3, {head: Decision((0.5, 0.4, 0.6), 1.5) for head in head_names(3)}, recipe_to_dict(recipe)
    )
    save_checkpoint(tmp_path / "x.safetensors", network_tensors(network()), manifest)
    loaded = TorchNetwork(load_checkpoint(tmp_path / "x.safetensors"))
    evaluation = evaluate(loaded, cache, split.train[:20])
    dataset = {"csv": "<b>leaves</b>", "split": "inner-train", "photographs": 20, "trained_on": 20}
    film = tmp_path / "film.gif"
    film.write_bytes(b"GIF89a")
    report(
        evaluation, cache, tmp_path / "report", dataset, {"name": "x"}, zooming=loaded.network, zooms=8,
        lesions=read_lesions(leaves, cache), film=film,
    )  # fmt: skip
    return (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else_and_holds_everything(page: str) -> None:
    assert not re.search(r"<script|<link|@import|src=\"(?!data:)|url\((?!#)", page)
    for part in (
        "What each look says", "Zoom value", "on 8 of these photographs", "By label", "samples average",
        "Precision and recall", "What is said when it should be something else", "How sure it is", "Suspect labels",
        "Does it look at the lesions?", "data:image/gif;base64,R0lGODlh",
        "20 of these photographs were trained on", "ring spot", "&lt;b&gt;leaves",
    ):  # fmt: skip
        assert part in page, part
    assert page.count("<svg ") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("data:image/jpeg;base64,") >= 3 * 8
    assert "nan" not in re.sub(r"base64,[^\"]+|<svg.*?</svg>", "", page, flags=re.DOTALL).lower()


def test_the_gallery_chooses_what_it_says() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0]])
    answers = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    shares = np.array([
        [0.97, 0.01, 0.01, 0.01], [0.2, 0.7, 0.05, 0.05], [0.3, 0.3, 0.4, 0.0], [0.95, 0.02, 0.02, 0.01],
        [0.1, 0.8, 0.05, 0.05], [0.0, 1.0, 0.0, 0.0],
    ])  # fmt: skip
    chosen = choose(targets, answers, shares, LABELS, 3)
    assert len({tuple(targets[row]) for row in chosen["right"]}) == 3  # one of each combination that is ever right
    assert set(chosen["wrong"]) == {3, 4}
    assert chosen["uncertain"] == [2, 1, 4]
    assert chosen["suspect"] == [3]


def test_zoom_value_gives_each_kind_its_boxes(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = network()
    targets = np.eye(3, dtype=int)[np.arange(12) % 3]
    sources = np.asarray(cache.sources[:12])
    boxes: dict[str, list[torch.Tensor]] = {}
    zoom = type(fused.racnn).zoom
    kinds = iter(kind for kind in KINDS for _ in range(2))  # one batch of twelve, two zooms a kind

    def spy(self, sources, parent, proposals):  # type: ignore[no-untyped-def]
        boxes.setdefault(next(kinds), []).append(proposals)
        return zoom(self, sources, parent, proposals)

    monkeypatch.setattr("leafzoom.evaluation.zoom_value._BATCH", 12)
    monkeypatch.setattr(type(fused.racnn), "zoom", spy)
    value = zoom_value(fused, sources, targets)
    assert set(value.exact_match) == set(KINDS)
    assert set(value.exact_match["centre"]) == {"scale2", "scale3", "fusion12", "fusion123"}
    for kind in KINDS[1:]:  # both zooms' boxes have the learned sizes, wherever they are
        for place in (0, 1):
            torch.testing.assert_close(boxes[kind][place][:, 2], boxes["learned"][place][:, 2])
    assert not boxes["centre"][0][:, :2].any()
    assert boxes["random"][0][:, :2].std() > 0.3
    assert (boxes["response"][0][:, :2] != boxes["learned"][0][:, :2]).any()
    for head, gain in value.gain["random"].items():
        expected = value.exact_match["learned"][head] - value.exact_match["random"][head]
        assert gain["difference"] == pytest.approx(expected)


def test_kinds_of_boxes_share_the_first_look_and_batches_do_not_mix(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = network()
    sources = np.asarray(cache.sources[:12])
    looked: list[int] = []
    look = type(fused.racnn).look

    def spy(self, scale, glimpse):  # type: ignore[no-untyped-def]
        looked.append(scale)
        return look(self, scale, glimpse)

    monkeypatch.setattr(type(fused.racnn), "look", spy)
    found = {}
    for batch in (12, 5):
        monkeypatch.setattr("leafzoom.evaluation.zoom_value._BATCH", batch)
        looked.clear()
        found[batch] = looks_by_kind(fused, sources)
        batches = -(-12 // batch)
        assert [looked.count(scale) for scale in range(3)] == [batches, len(KINDS) * batches, len(KINDS) * batches]
    for kind in ("learned", "centre", "response"):
        whole, parts = found[12][kind], found[5][kind]
        for head, answers in whole.answers.items():
            assert answers.shape == (12, 3)
            np.testing.assert_array_equal(answers, parts.answers[head])
        for scale, centres in whole.centres.items():
            np.testing.assert_allclose(centres, parts.centres[scale], atol=1e-5)
        for sizes, others in zip(whole.sizes, parts.sizes, strict=True):
            torch.testing.assert_close(sizes, others, atol=1e-5, rtol=0)
    for zoom in range(2):
        torch.testing.assert_close(found[5]["random"].sizes[zoom], found[5]["learned"].sizes[zoom])


def test_zoom_value_of_a_centred_network_is_none(cache: Cache) -> None:
    fused = network()
    with torch.no_grad():
        for apn in fused.racnn.apns:
            assert isinstance(apn, AttentionProposal)
            for parameter in apn.parameters():
                parameter.zero_()
    targets = np.eye(3, dtype=int)[np.arange(12) % 3]
    value = zoom_value(fused, np.asarray(cache.sources[:12]), targets)
    assert value.exact_match["learned"] == value.exact_match["centre"]
    assert all(gain == {"difference": 0, "interval": [0, 0]} for gain in value.gain["centre"].values())


def test_pointing_game_asks_whose_centre_lies_on_a_lesion(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lesions tight around the learned centres, and the same with x and y exchanged."""
    fused = network("model.apn_normalise=none")  # random weights put these centres far from the diagonal
    sources, targets = np.asarray(cache.sources[:12]), np.eye(3, dtype=int)[np.arange(12) % 3]
    boxes: list[torch.Tensor] = []
    zoom = type(fused.racnn).zoom

    def spy(self, *given):  # type: ignore[no-untyped-def]
        glimpse = zoom(self, *given)
        boxes.append(glimpse.boxes)
        return glimpse

    monkeypatch.setattr("leafzoom.evaluation.zoom_value._BATCH", 12)
    monkeypatch.setattr(type(fused.racnn), "zoom", spy)
    zoom_value(fused, sources, targets)
    centres = boxes[1][:, :2].numpy() / 96  # of the second learned zoom, the first kind to be looked with
    assert np.abs(centres[:, 0] - centres[:, 1]).min() > 0.002
    tight = [np.array([[x - 0.001, y - 0.001, x + 0.001, y + 0.001]]) for x, y in centres]
    found = zoom_value(fused, sources, targets, lesions=tight)
    assert found.pointing["learned"]["scale3"] == 1
    assert found.pointing_intervals["learned"]["scale3"] == pytest.approx([1, 1])
    assert found.pointing["random"]["scale3"] < 0.1
    assert found.pointing_gain["random"]["scale3"]["difference"] == pytest.approx(
        1 - found.pointing["random"]["scale3"]
    )
    turned = [box[:, [1, 0, 3, 2]] for box in tight]
    assert zoom_value(fused, sources, targets, lesions=turned).pointing["learned"]["scale3"] == 0


def test_random_boxes_hit_as_often_as_their_centres_range_says(cache: Cache) -> None:
    fused = network()
    sources, targets = np.asarray(cache.sources[:12]), np.eye(3, dtype=int)[np.arange(12) % 3]
    left, nothing = np.array([[0.0, 0.0, 0.5, 1.0]]), np.zeros((0, 4))
    value = zoom_value(fused, sources, targets, lesions=[left, nothing, np.concatenate([left, left])] * 4)
    assert value.pointing_photographs == 8
    for scale in ("scale2", "scale3"):
        assert value.pointing["random"][scale] == pytest.approx(0.5, abs=0.04)  # 1,600 draws
    assert value.pointing["centre"] == {"scale2": 1, "scale3": 1}
    assert zoom_value(fused, sources, targets).pointing == {}


def test_lesions_are_shares_of_each_photos_own_sides(cache: Cache) -> None:
    """A photo that is wider than high."""
    wide = replace(cache, photo_sizes=np.tile([300, 200], (len(cache.table), 1)))
    name = cache.table.images[3]
    assert _shares({name: np.array([[30.0, 20.0, 60.0, 100.0]])}, wide, 3).tolist() == [[0.1, 0.1, 0.2, 0.5]]
    assert _shares({}, wide, 3).shape == (0, 4)


def test_calibration_error_is_the_mean_gap() -> None:
    confidence = np.repeat([0.55, 0.95], 100)
    right = np.concatenate([np.arange(100) < 75, np.arange(100) < 85])
    # Within a value the order is kept, so the ten bins cut each hundred into five of twenty.
    _, error = calibration(confidence, right)
    gaps = [abs(0.55 - right[i : i + 20].mean()) for i in range(0, 100, 20)]
    gaps += [abs(0.95 - right[i : i + 20].mean()) for i in range(100, 200, 20)]
    assert error == pytest.approx(np.mean(gaps))


def test_confusion_names_every_combination_and_the_unknown() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 1]])
    figure = confusion(targets, np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]]), LABELS)
    assert figure.startswith("<svg ")
    assert 'aria-label="Which combination of labels is said for which"' in figure


def test_combination_probabilities_are_a_softmax() -> None:
    probabilities = np.array([[0.2, 0.8, 0.6]])
    odds = np.log(probabilities / (1 - probabilities))[0]
    old = Decision((0.5, 0.9, 0.5), 2.0)  # without interactions the thresholds are the answer's alone
    expected = np.exp(np.array([odds[0], odds[1], odds[2], odds[1] + odds[2]]) / 2)
    np.testing.assert_allclose(combination_probabilities(probabilities, old, LABELS)[0], expected / expected.sum())
    new = Decision((0.5, 0.9, 0.5), 2.0, (0.0, 0.0, 0.3, -1.0))
    shifted = odds - np.log([1, 9, 1])
    scores = np.array([shifted[0], shifted[1], shifted[2], shifted[1] + shifted[2]]) / 2 + [0, 0, 0.3, -1]
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(combination_probabilities(probabilities, new, LABELS)[0], expected)
