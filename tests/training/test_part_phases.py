"""The MA-CNN's phases: who learns what, and the clusters that the grouping starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from leafzoom.dataset.cache import Cache
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.grouping_loss import GroupingLoss
from leafzoom.model.macnn import MACNN, attention_maps
from leafzoom.recipe import OptimizerRecipe
from leafzoom.training.channel_clusters import channel_peaks, cluster_channels
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.mixing import Mixing
from leafzoom.training.part_phases import GroupingPhase, GroupingStartPhase, PartClassifierPhase
from leafzoom.training.phases import Phase
from network_helpers import changed_parts, random_batch, sgd, small_macnn, snapshot
from training.parts import part_of

GROUPING = {"grouping.layers"}
CLASSIFIERS = {
    "backbones.0",
    *(f"part_classifiers.{number}" for number in range(4)),
    "classifier.weight",
    "classifier.bias",
}


def classifier_phase(macnn: MACNN, rate: float = 0.1, frozen_stages: int = 0) -> Phase:
    """The phase in which all but the grouping learns."""
    learning = [macnn.backbone, macnn.part_classifiers, macnn.classifier]
    return PartClassifierPhase(
        macnn, sgd(learning, rate), torch.Tensor.backward, frozen_stages=frozen_stages
    )


def grouping_phase(macnn: MACNN, rate: float = 0.1) -> Phase:
    """The phase in which the grouping learns L_cng."""
    loss = GroupingLoss(diversity_weight=2.0, margin=0.02)
    return GroupingPhase(macnn, sgd([macnn.grouping], rate), torch.Tensor.backward, loss)


def start_phase(macnn: MACNN, rate: float = 0.1) -> Phase:
    """The phase in which the grouping learns its clusters."""
    return GroupingStartPhase(macnn, sgd([macnn.grouping], rate), torch.Tensor.backward)


@pytest.mark.parametrize(
    ("make", "learning"),
    [
        (start_phase, GROUPING),
        (grouping_phase, GROUPING),
        (classifier_phase, CLASSIFIERS),
    ],
)
def test_each_phase_changes_its_own_part_alone(make: object, learning: set[str]) -> None:
    """Buffers too: the batch norms of a frozen backbone keep their statistics."""
    macnn = small_macnn()
    assert callable(make)
    phase = make(macnn)
    images, targets = random_batch()
    phase.begin()
    before = snapshot(macnn)
    phase.step(images, targets)
    assert changed_parts(before, macnn) == learning


def test_the_phases_optimizers_share_no_parameter_and_miss_none() -> None:
    macnn = small_macnn()
    optimized: list[int] = []
    for phase in (classifier_phase(macnn), grouping_phase(macnn)):
        for group in phase.optimization.optimizer.param_groups:  # type: ignore[attr-defined]
            optimized += [id(parameter) for parameter in group["params"]]
    assert sorted(optimized) == sorted(id(parameter) for parameter in macnn.parameters())


def test_frozen_stages_stay() -> None:
    macnn = small_macnn()
    phase = classifier_phase(macnn, frozen_stages=2)
    phase.begin()
    before = snapshot(macnn.backbone.network.blocks[:2])
    phase.step(*random_batch())
    after = macnn.backbone.network.blocks[:2].state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_the_logged_losses_are_those_of_every_head() -> None:
    macnn = small_macnn("model.drop_rate=0", "parts.number=2")
    images, targets = random_batch()
    reference = small_macnn("model.drop_rate=0", "parts.number=2").train()
    with torch.no_grad():
        states = reference(reference.normalise(images))
        expected = [state.logits for state in states] + [reference.all_logits(states)]

    phase = classifier_phase(macnn)
    phase.begin()
    logged = phase.step(images, targets)

    names = ["scale1", "part1", "part2", "all"]
    assert list(logged)[::2] == [f"loss_{name}" for name in names]
    for name, logits in zip(names, expected, strict=True):
        loss = ClassifierLoss()(logits, targets)
        assert logged[f"loss_{name}"].item() == pytest.approx(loss.item(), rel=1e-5)


def test_mixed_batches_teach_all_classifiers() -> None:
    macnn = small_macnn()
    learning = [macnn.backbone, macnn.part_classifiers, macnn.classifier]
    phase = PartClassifierPhase(
        macnn, sgd(learning), torch.Tensor.backward, mixing=Mixing(1.0, "cutmix", 1.0)
    )
    phase.begin()
    before = snapshot(macnn)
    logged = phase.step(*random_batch())
    assert changed_parts(before, macnn) == CLASSIFIERS
    assert all(bool(torch.isfinite(value)) for value in logged.values())


def test_the_grouping_learns_its_clusters() -> None:
    macnn = small_macnn()
    channels = macnn.grouping.channels
    macnn.clusters[torch.arange(channels) % 4, torch.arange(channels)] = 1.0
    phase = start_phase(macnn, rate=100.0)
    images, targets = random_batch()

    phase.begin()
    losses = [phase.step(images, targets)["cluster_loss"].item() for _ in range(60)]
    assert losses[-1] < 0.05 * losses[0]

    # The greatest weight of each channel is that of its cluster.
    features = macnn.start(macnn.normalise(images)).last_map
    weights = macnn.grouping(features)
    assert torch.equal(weights.argmax(dim=1)[0], macnn.clusters.argmax(dim=0))


@pytest.mark.parametrize("normalise", ["none", "places"])
def test_the_grouping_loss_falls_on_a_batch(normalise: str) -> None:
    macnn = small_macnn("model.input_size=96", f"parts.normalise={normalise}")
    images, targets = random_batch()

    # A random backbone's maps are nearly flat, so the steps are large and the gain is small.
    recipe = OptimizerRecipe(learning_rate=0.03, weight_decay=0.0, schedule="constant")
    optimization = Optimization([macnn.grouping], recipe, 60)
    loss = GroupingLoss(diversity_weight=2.0, margin=0.02)
    phase = GroupingPhase(macnn, optimization, torch.Tensor.backward, loss)
    phase.begin()
    values = [phase.step(images, targets) for _ in range(60)]
    assert values[-1]["grouping_loss"] < 0.98 * values[0]["grouping_loss"]


def test_peaks_of_channels_are_where_they_respond_most(cache: Cache) -> None:
    macnn = small_macnn("data.source_size=96", "model.input_size=96").eval()
    part = part_of(cache, 5)
    found = channel_peaks(Fabric(accelerator="cpu"), macnn, part)
    channels = macnn.grouping.channels
    assert found.shape == (channels, 2 * 5)

    # The second photograph's, channel by channel.
    sources = torch.from_numpy(part.read(part.rows[1:2]))
    with torch.no_grad():
        features = macnn.start(macnn.normalise_pixels(sources)).last_map[0]
    side = features.shape[-1]
    for channel in range(0, channels, 17):
        row, column = divmod(int(features[channel].argmax()), side)
        expected = [(column + 0.5) / side, (row + 0.5) / side]
        assert found[channel, 2:4].tolist() == pytest.approx(expected)


def test_a_channel_that_never_responds_has_its_peak_in_the_middle(cache: Cache) -> None:
    macnn = small_macnn().eval()
    with torch.no_grad():
        for parameter in macnn.backbone.parameters():
            parameter.zero_()
    found = channel_peaks(Fabric(accelerator="cpu"), macnn, part_of(cache, 2))
    np.testing.assert_array_equal(found, 0.5)


def test_channels_of_one_place_are_one_cluster() -> None:
    random = np.random.default_rng(0)
    centres = np.array([[0.1, 0.1], [0.9, 0.2], [0.5, 0.9]])
    group = np.arange(30) % 3
    rows = np.tile(centres[group], 4) + random.normal(0, 0.02, (30, 8))

    clusters = cluster_channels(rows.astype(np.float32), 3, seed=0)

    assert clusters.shape == (3, 30)
    assert clusters.sum(dim=0).tolist() == [1.0] * 30
    found = clusters.argmax(dim=0).numpy()
    assert len({(int(a), int(b)) for a, b in zip(group, found, strict=True)}) == 3


def test_clusters_on_a_map_give_attention_at_their_places() -> None:
    """Two groups of channels that respond in two corners: the parts' peaks are there."""
    features = torch.zeros(1, 8, 4, 4)
    features[0, :4, 0, 0] = 3.0
    features[0, 4:, 3, 3] = 3.0
    weights = torch.zeros(1, 2, 8)
    weights[0, 0, :4] = 1.0
    weights[0, 1, 4:] = 1.0

    _, attention = attention_maps(features, weights)
    assert attention[0].flatten(1).argmax(dim=1).tolist() == [0, 15]
