"""Scales that correct the coarser ones, and what APNs learn from besides the ranking loss."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from conftest import TINY
from leafzoom.errors import RecipeError
from leafzoom.evaluation.zoom_value import zoom_value
from leafzoom.model.attention_proposal import decode_boxes, placed_proposals
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.fusion import FusedRACNN
from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN, Glimpse
from leafzoom.recipe import OptimizerRecipe, load_recipe
from leafzoom.training.alternation import alternation_phases
from leafzoom.training.expected_loss import ExpectedLossPhase, candidates, expected_loss
from leafzoom.training.heads import _mean_classifier
from leafzoom.training.optimization import Optimization
from leafzoom.training.phases import ApnPhase, ClassifierPhase, FinerLoss, Phase, RankingLoss, WarmUpPhase

LABELS = 3
RESIDUAL = ("model.residual=0.6", "model.surrogate=exact")


def small_racnn(*changes: str) -> RACNN:
    torch.manual_seed(0)
    return build_racnn(load_recipe("default", [*TINY, *changes]), LABELS)


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(count, 3, 96, 96, generator=generator)
    return pictures, (torch.rand(count, LABELS, generator=generator) > 0.5).to(torch.uint8)


def optimization(modules: list[torch.nn.Module], rate: float = 0.1) -> Optimization:
    return Optimization(
        modules, OptimizerRecipe(name="sgd", learning_rate=rate, weight_decay=0.0, schedule="constant"), 10
    )


def changed(racnn: RACNN, before: dict[str, torch.Tensor]) -> set[str]:
    """The parts of a network of which a tensor, buffers too, is not bit for bit as before."""
    return {
        ".".join(name.split(".")[:2]) for name, tensor in racnn.state_dict().items() if not tensor.equal(before[name])
    }


def copied(racnn: RACNN) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in racnn.state_dict().items()}


def test_a_residual_scale_adds_its_own_logits_to_a_share_of_the_coarser_ones() -> None:
    racnn, plain = small_racnn(*RESIDUAL).eval(), small_racnn("model.surrogate=exact").eval()
    pictures, _ = batch()
    with torch.no_grad():
        totals = [output.logits for output in racnn(racnn.normalise(pictures))]
        own = [output.logits for output in plain(plain.normalise(pictures))]
    torch.testing.assert_close(totals[0], own[0])
    torch.testing.assert_close(totals[1], own[1] + 0.6 * own[0])
    torch.testing.assert_close(totals[2], own[2] + 0.6 * own[1] + 0.36 * own[0])
    assert not torch.allclose(totals[1], own[1], atol=1e-4)


def test_a_residual_scales_loss_reaches_no_coarser_scale() -> None:
    racnn = small_racnn(*RESIDUAL).train()
    pictures, targets = batch()
    classification_loss(racnn(racnn.normalise(pictures))[2].logits, targets).backward()
    reached = {".".join(name.split(".")[:2]) for name, p in racnn.named_parameters() if p.grad is not None}
    assert reached == {"backbones.2", "apns.1"}


@pytest.mark.parametrize("inputs", ["logits", "descriptors"])
def test_a_fusion_starts_from_the_finest_residual_scale(inputs: str) -> None:
    recipe = load_recipe("default", [*TINY, *RESIDUAL, f"fusion.inputs={inputs}"])
    racnn = small_racnn(*RESIDUAL).eval()
    fusion = build_fusions(recipe.fusion, racnn)[1]
    pictures, _ = batch()
    weight, bias = _mean_classifier(racnn, fusion)
    with torch.no_grad():
        outputs = racnn(racnn.normalise(pictures))
        torch.testing.assert_close(fusion.gather(outputs) @ weight.T + bias, outputs[2].logits, atol=1e-5, rtol=1e-4)


def test_zoom_value_scores_what_the_network_says() -> None:
    recipe = load_recipe("default", [*TINY, *RESIDUAL, "fusion.inputs=logits"])
    racnn = small_racnn(*RESIDUAL)
    network = FusedRACNN(racnn, build_fusions(recipe.fusion, racnn)).eval()
    sources = np.random.default_rng(0).integers(0, 256, (12, 96, 96, 3), dtype=np.uint8)
    with torch.no_grad():
        said = network(torch.from_numpy(sources)).logits
    targets = (said["scale3"] > 0).numpy().astype(np.uint8)
    targets[0] = 1 - targets[0]
    value = zoom_value(network, sources, targets)
    assert value.exact_match["learned"]["scale3"] == pytest.approx(11 / 12)
    assert value.exact_match["learned"]["scale2"] == pytest.approx(
        ((said["scale2"] > 0).numpy() == targets).all(axis=1).mean()
    )


@pytest.mark.parametrize("changes", [(), RESIDUAL])
def test_every_apn_learns_its_finer_scales_loss_end_to_end(changes: tuple[str, ...]) -> None:
    """One step moves the APN's weights by the gradient of the next scale's loss alone."""
    racnn = small_racnn("model.surrogate=exact", *changes)
    pictures, targets = batch()
    phase = ClassifierPhase(
        racnn,
        optimization(list(racnn.backbones), 1e-9),
        torch.Tensor.backward,
        apn=optimization(list(racnn.apns), rate=1.0),
    )
    before = copied(racnn)
    phase.begin()
    for backbone in racnn.backbones:
        backbone.eval()  # dropout would differ from the pass below
    phase.step(pictures, targets)
    reference = small_racnn("model.surrogate=exact", *changes).eval()
    outputs = reference(reference.normalise(pictures))
    for apn, output in zip(reference.apns, outputs[1:], strict=True):
        weight = apn.layers[3].weight
        (wanted,) = torch.autograd.grad(classification_loss(output.logits, targets), weight, retain_graph=True)
        assert wanted.abs().max() > 0
        place = list(reference.apns).index(apn)
        moved = before[f"apns.{place}.layers.3.weight"] - racnn.apns[place].layers[3].weight  # type: ignore[index]
        torch.testing.assert_close(moved, wanted, atol=1e-6, rtol=1e-3)


def test_held_scales_stay_as_they_are() -> None:
    racnn = small_racnn()
    before = copied(racnn)
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones)), torch.Tensor.backward, held_scales=1)
    phase.begin()
    logged = phase.step(*batch())
    assert changed(racnn, before) == {"backbones.1", "backbones.2"}
    assert set(logged) == {f"{what}_scale{s}" for what in ("loss", "exact_match") for s in (1, 2, 3)}


def test_jittered_boxes_are_legal_elsewhere_and_come_from_the_seed() -> None:
    racnn = small_racnn("model.proposals=centre", "warm_up.epochs=0", "alternation.rounds=0")
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones)), torch.Tensor.backward, box_jitter=2.0)
    proposals = torch.zeros(500, 3)
    torch.manual_seed(3)
    moved = phase._moved(proposals)
    torch.manual_seed(3)
    torch.testing.assert_close(phase._moved(proposals), moved)
    assert moved.abs().max() == 1
    assert moved.std(dim=0).min() > 0.5
    phase.box_jitter = 0.0
    assert phase._moved(proposals) is proposals


def test_attention_dropping_blots_out_the_next_box_in_what_is_learnt_alone() -> None:
    racnn = small_racnn("model.zoom_bounds=[0.5, 0.5]", *RESIDUAL)
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones)), torch.Tensor.backward, dropping=1.0)
    size = racnn.input_size
    views = torch.rand(2, 3, size, size) + 1
    blotted = phase._dropped(views, torch.tensor([[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))
    half = size // 2
    assert blotted[0, :, half:, :half].abs().max() == blotted[1, :, half:, half:].abs().max() == 0
    for row, hidden in enumerate([(slice(half, None), slice(half)), (slice(half, None), slice(half, None))]):
        left = torch.ones(size, size, dtype=torch.bool)
        left[hidden] = False
        torch.testing.assert_close(blotted[row][:, left], views[row][:, left])
    phase.dropping = 0.5
    torch.manual_seed(0)
    many = phase._dropped(views[:1].expand(200, -1, -1, -1), torch.zeros(1, 3).expand(200, -1))
    assert 70 < sum(bool((view == 0).any()) for view in many) < 130

    def first_step(dropping: float) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
        network = small_racnn("model.zoom_bounds=[0.5, 0.5]", *RESIDUAL)
        learning = ClassifierPhase(
            network, optimization(list(network.backbones)), torch.Tensor.backward, dropping=dropping
        )
        learning.begin()
        for backbone in network.backbones:
            backbone.eval()  # dropout would differ
        logged = learning.step(*batch())
        return logged, [backbone.state_dict() for backbone in network.backbones]

    # Scale 1 learns from what is left: its step is that of the loss of blotted views.
    blotting = small_racnn("model.zoom_bounds=[0.5, 0.5]", *RESIDUAL).eval()
    pictures, targets = batch()
    with torch.no_grad():
        glimpse = blotting.first_glimpse(blotting.normalise(pictures))
        proposals = blotting.propose(0, blotting.look(0, glimpse).features)
    phase.dropping = 1.0
    hidden = phase._dropped(glimpse.view, proposals)
    own = blotting.look(0, Glimpse(hidden, glimpse.boxes)).logits
    wanted = classification_loss(own, targets)
    whole, dropped = first_step(0.0), first_step(1.0)
    torch.testing.assert_close(dropped[0]["loss_scale1"], wanted.detach())
    assert whole[0]["loss_scale1"] != dropped[0]["loss_scale1"]
    assert whole[0]["loss_scale2"] != dropped[0]["loss_scale2"]
    # The last scale has no next box, and its residual logits come from whole views: it learns the same.
    torch.testing.assert_close(whole[0]["loss_scale3"], dropped[0]["loss_scale3"])
    for name, tensor in whole[1][2].items():
        torch.testing.assert_close(dropped[1][2][name], tensor, msg=name)
    # The coarser ones do not: scale 1 takes the step of the blotted views' loss.
    gradients = torch.autograd.grad(wanted, [weight for _, weight in blotting.backbones[0].named_parameters()])
    for (name, weight), gradient in zip(blotting.backbones[0].named_parameters(), gradients, strict=True):
        torch.testing.assert_close(
            dropped[1][0][name], weight.detach() - 0.1 * gradient, atol=1e-5, rtol=1e-3, msg=name
        )
    assert any(not dropped[1][1][name].equal(tensor) for name, tensor in whole[1][1].items())


@pytest.mark.parametrize("kind", ["classification", "expected"])
def test_these_phases_train_the_apns_alone_and_lower_the_loss(kind: str) -> None:
    racnn = small_racnn(*RESIDUAL)
    apn = optimization(list(racnn.apns), rate=1.0)
    phase: Phase = ExpectedLossPhase(racnn, apn, torch.Tensor.backward)
    if kind == "classification":
        phase = ApnPhase(racnn, apn, torch.Tensor.backward, FinerLoss())
    phase.begin()
    before = copied(racnn)
    pictures, targets = batch()
    logged = [phase.step(pictures, targets) for _ in range(2)]
    assert changed(racnn, before) == {"apns.0", "apns.1"}
    names = {"classification": {"finer_loss12", "finer_loss23"}, "expected": {"expected_loss12", "expected_loss23"}}
    assert set(logged[0]) == names[kind]
    assert all(torch.isfinite(value) for value in logged[0].values())


def test_the_classification_phases_step_is_the_losss_gradient() -> None:
    racnn = small_racnn(*RESIDUAL)
    phase = ApnPhase(racnn, optimization(list(racnn.apns), 1.0), torch.Tensor.backward, FinerLoss())
    phase.begin()
    before = copied(racnn)
    pictures, targets = batch()
    phase.step(pictures, targets)
    reference = small_racnn(*RESIDUAL).eval()
    outputs = reference(reference.normalise(pictures))
    weight = reference.apns[1].layers[1].weight  # type: ignore[index]
    (wanted,) = torch.autograd.grad(classification_loss(outputs[2].logits, targets), weight)
    moved = before["apns.1.layers.1.weight"] - racnn.apns[1].layers[1].weight  # type: ignore[index]
    torch.testing.assert_close(moved, wanted, atol=1e-6, rtol=1e-3)


def test_the_expected_loss_is_the_slow_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    proposals = torch.rand(4, 3, generator=generator, dtype=torch.float64) * 2 - 1
    tried = torch.rand(4, 9, 3, generator=generator, dtype=torch.float64) * 2 - 1
    losses = torch.rand(4, 9, generator=generator, dtype=torch.float64)
    for row in range(4):
        weights = [float(torch.exp(-((tried[row, k] - proposals[row]) ** 2).sum() / (2 * 0.4**2))) for k in range(9)]
        wanted = sum(w * float(loss) for w, loss in zip(weights, losses[row], strict=True)) / sum(weights)
        assert float(expected_loss(proposals, tried, losses)[row]) == pytest.approx(wanted, rel=1e-9)


def test_one_candidate_lies_in_every_cell() -> None:
    torch.manual_seed(0)
    tried = candidates(50, like=torch.zeros(1))
    assert tried.shape == (9, 50, 3)
    assert tried.abs().max() <= 1
    cells = ((tried[..., :2] + 1) * 1.5).floor().clamp(0, 2)
    for place in range(9):
        assert (cells[place] == torch.tensor([place % 3, place // 3])).all()
    assert tried[..., 2].std() > 0.5


def test_boxes_without_an_apn() -> None:
    features = torch.zeros(2, 8, 4, 4)
    features[0, 3, 0, 3] = 1.0  # the right upper cell
    features[1, 1, 2, 1] = 1.0
    size = torch.full((2, 1), -1.0)
    centred = placed_proposals("centre", features, size, 64, (0.5, 0.75), "own")
    assert centred.tolist() == [[0.0, 0.0, -1.0]] * 2
    boxes = decode_boxes(placed_proposals("response", features, size, 64, (0.5, 0.75), "own"), 64, (0.5, 0.75), "own")
    assert boxes[0].tolist() == pytest.approx([48.0, 16.0, 16.0])  # clamped into the view
    assert boxes[1, 0] < 32 < boxes[1, 1]
    racnn = small_racnn("model.proposals=centre", "warm_up.epochs=0", "alternation.rounds=0").eval()
    with torch.no_grad():
        outputs = racnn(racnn.normalise(batch()[0]))
    torch.testing.assert_close(outputs[1].boxes, torch.tensor([[48.0, 48.0, 32.0]]).expand(6, 3))


def test_a_warm_up_at_the_centre_brings_the_boxes_there() -> None:
    racnn = small_racnn()
    with torch.no_grad():
        for apn in racnn.apns:
            apn.layers[3].bias.copy_(torch.tensor([0.5, -0.5, 0.5]))  # type: ignore[index]
    phase = WarmUpPhase(
        racnn, optimization(list(racnn.apns), 0.5), torch.Tensor.backward, target="centre", size_target=0.0
    )
    phase.begin()
    pictures, targets = batch()
    for _ in range(120):
        phase.step(pictures, targets)
    with torch.no_grad():
        features = racnn.look(0, racnn.first_glimpse(racnn.normalise(pictures))).features
    assert racnn.propose(0, features).abs().max() < 0.05


def test_each_zoom_can_warm_up_to_a_size_of_its_own() -> None:
    racnn = small_racnn()
    apns = optimization(list(racnn.apns), 0.5)
    phase = WarmUpPhase(racnn, apns, torch.Tensor.backward, target="centre", size_target=(0.8, -0.8))
    phase.begin()
    pictures, targets = batch()
    for _ in range(150):
        phase.step(pictures, targets)
    with torch.no_grad():
        sources = racnn.normalise(pictures)
        glimpse = racnn.first_glimpse(sources)
        first = racnn.propose(0, racnn.look(0, glimpse).features)
        second = racnn.propose(1, racnn.look(1, racnn.zoom(sources, glimpse, first)).features)
    assert first[:, 2].mean() == pytest.approx(0.8, abs=0.05)
    assert second[:, 2].mean() < -0.7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["warm_up.size_target=[1.0]"], "one for each of the 2 zooms"),
        (["warm_up.size_target=[1.0, 1.5]"], "from -1 (least) to 1 (greatest), not 1.5"),
        (["warm_up.size_target=-3"], "from -1 (least) to 1 (greatest), not -3"),
        (["warm_up.size_target=[]"], "one for each of the 2 zooms"),
        (["alternation.attention_dropping=0.5", "alternation.held_scales=2"], "lower held_scales"),
        (["alternation.attention_dropping=0.5", "alternation.objective=joint"], "joint trains everything as it is"),
    ],
)
def test_sizes_and_dropping_that_cannot_be_are_refused(changes: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        load_recipe("default", changes)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        (
            ["alternation.rounds=1", "alternation.apn_objective=classification"],
            [ClassifierPhase, FinerLoss],
        ),
        (["alternation.rounds=1", "alternation.apn_objective=expected"], [ClassifierPhase, ExpectedLossPhase]),
        (["alternation.rounds=1"], [ClassifierPhase, RankingLoss]),
        (["alternation.rounds=0", "alternation.objective=end_to_end"], [ClassifierPhase]),
    ],
)
def test_recipes_give_these_phases(changes: list[str], kinds: list[type]) -> None:
    recipe = load_recipe("default", [*TINY, "alternation.classifier_epochs=1", *changes])
    racnn = build_racnn(recipe, LABELS)
    phases, optimizations = alternation_phases(recipe, racnn, 4, torch.Tensor.backward)
    found = [type(phase.loss) if isinstance(phase, ApnPhase) else type(phase) for phase in phases]
    assert found == [*kinds, ClassifierPhase][: 1 + 2 * recipe.alternation.rounds]
    assert optimizations["classifier"].total_steps == 4 * (recipe.alternation.rounds + 1)
    assert optimizations["apn"].total_steps == 4
    last = phases[-1]
    assert isinstance(last, ClassifierPhase)
    assert (last.apn is not None) == (recipe.alternation.objective == "end_to_end")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.proposals=centre"], "uses no APN"),
        (["alternation.objective=end_to_end", "alternation.rounds=2"], "set rounds to 0"),
        (
            ["alternation.objective=end_to_end", "alternation.apn_objective=expected"],
            "leave apn_objective at ranking",
        ),
        (["alternation.objective=joint", "alternation.held_scales=1"], "leave held_scales"),
        (["alternation.held_scales=3"], "leaves no scale to train"),
        (["model.residual=1.5"], "model.residual"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("default", changes)
