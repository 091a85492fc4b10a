"""Who trains when, what stays still, what a run leaves, and that a stopped one goes on as if it had not."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY
from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import ModelError, RecipeError, TrainingError
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.checkpoint import load_checkpoint
from leafzoom.model.losses import classification_loss
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe, load_recipe, recipe_names
from leafzoom.training.batches import Photographs, epoch_batches
from leafzoom.training.fusion_fit import fit_lbfgs, fit_sgd
from leafzoom.training.optimization import Optimization, schedule_factor
from leafzoom.training.phases import (
    ApnPhase,
    ClassifierPhase,
    FineTuningPhase,
    JointPhase,
    RankingLoss,
    WarmUpPhase,
)
from leafzoom.training.run import Settings, train
from leafzoom.training.selection import selection_metrics
from leafzoom.training.soft_labels import soft_targets

LABELS = 3


def silent(_: str) -> None:
    """Say nothing."""


def small_racnn(*changes: str) -> RACNN:
    torch.manual_seed(0)
    return build_racnn(load_recipe("default", [*TINY, *changes]), LABELS)


def batch(seed: int = 0, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 96, 96, generator=generator)
    targets = (torch.rand(count, LABELS, generator=generator) > 0.5).to(torch.uint8)
    targets[0] = 1
    return pictures, targets


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    """Names of the tensors that are not, bit for bit, as before."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def optimization(modules: list[torch.nn.Module], name: str = "sgd", rate: float = 0.1) -> Optimization:
    from leafzoom.recipe import OptimizerRecipe

    return Optimization(modules, OptimizerRecipe(name=name, learning_rate=rate, schedule="constant"), 10)  # type: ignore[arg-type]


def ranking_phase(racnn: RACNN, rate: float = 0.1) -> ApnPhase:
    ranking = RankingLoss(margin=1.0, labels="present", reduction="mean")
    return ApnPhase(racnn, optimization(list(racnn.apns), rate=rate), torch.Tensor.backward, ranking)


def test_classifier_phase_changes_backbones_alone() -> None:
    racnn = small_racnn()
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones)), torch.Tensor.backward)
    phase.begin()
    before = snapshot(racnn)
    logged = phase.step(*batch())
    names = changed(before, racnn)
    assert {name.split(".")[0] for name in names} == {"backbones"}
    assert {name.split(".")[1] for name in names} == {"0", "1", "2"}
    assert set(logged) == {f"{what}_scale{s}" for what in ("loss", "exact_match") for s in (1, 2, 3)}


def test_held_stages_stay_still_and_the_others_learn() -> None:
    racnn = small_racnn()
    for scale in racnn.backbones:
        scale.fold_batch_norm()
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones)), torch.Tensor.backward, held_stages=2)
    before = snapshot(racnn)
    phase.begin()
    phase.step(*batch())
    after = changed(before, racnn)
    held = ("network.conv_stem", "network.bn1", "network.blocks.0.", "network.blocks.1.")
    for scale in range(3):
        names = {name.removeprefix(f"backbones.{scale}.") for name in after if name.startswith(f"backbones.{scale}.")}
        assert not [name for name in names if name.startswith(held)]
        assert {"network.blocks.2.0.conv_pw.weight", "network.conv_head.weight", "network.classifier.bias"} & names


@pytest.mark.parametrize("surrogate", ["paper", "balanced", "exact"])
@pytest.mark.parametrize("zoom_from", ["view", "source"])
def test_a_scales_loss_reaches_no_other_scale(surrogate: str, zoom_from: str) -> None:
    """Even with every parameter asking for gradients, forward() keeps scale 3's loss in scale 3 and its APN."""
    racnn = small_racnn(f"model.surrogate={surrogate}", f"model.zoom_from={zoom_from}").train()
    pictures, targets = batch()
    outputs = racnn(racnn.normalise(pictures))
    classification_loss(outputs[2].logits, targets).backward()
    reached = {".".join(name.split(".")[:2]) for name, p in racnn.named_parameters() if p.grad is not None}
    assert reached == {"backbones.2", "apns.1"}


def test_per_scale_backward_equals_the_summed_losss() -> None:
    racnn = small_racnn()
    pictures, targets = batch()
    phase = ClassifierPhase(racnn, optimization(list(racnn.backbones), rate=1e-12), torch.Tensor.backward)
    phase.begin()
    gradients: dict[str, torch.Tensor] = {}

    def keep() -> float:
        gradients.update({n: p.grad.clone() for n, p in racnn.named_parameters() if p.grad is not None})
        return 0.0

    phase.optimization.step = keep  # type: ignore[method-assign]
    state = snapshot(racnn)
    torch.manual_seed(1)
    phase.step(pictures, targets)
    racnn.load_state_dict(state)
    racnn.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    sources = racnn.normalise(pictures)
    total = sum(classification_loss(output.logits, targets) for output in racnn(sources))
    assert isinstance(total, torch.Tensor)
    total.backward()
    summed = {n: p.grad for n, p in racnn.named_parameters() if p.grad is not None}
    assert set(gradients) == set(summed) == {n for n, _ in racnn.named_parameters() if n.startswith("backbones")}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, summed[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("surrogate", ["paper", "balanced", "exact"])
def test_apn_phase_changes_no_backbone_parameter_or_buffer(surrogate: str) -> None:
    racnn = small_racnn(f"model.surrogate={surrogate}")
    phase = ranking_phase(racnn)
    racnn.train()  # begin() has to undo this
    phase.begin()
    before = snapshot(racnn)
    logged = phase.step(*batch())
    names = changed(before, racnn)
    assert {".".join(name.split(".")[:2]) for name in names} == {"apns.0", "apns.1"}
    assert set(logged) == {"ranking_loss12", "ranking_loss23"}
    assert all(parameter.grad is None for parameter in racnn.backbones.parameters())


def test_an_apn_learns_from_its_own_pair_alone() -> None:
    """Without the second pair's backward pass, the first APN's step is the same."""
    steps = []
    for scales in (3, 2):
        racnn = small_racnn()
        if scales == 2:
            racnn.apns, racnn.backbones = racnn.apns[:1], racnn.backbones[:2]
        phase = ranking_phase(racnn)
        phase.begin()
        phase.step(*batch())
        steps.append(snapshot(racnn.apns[0]))
    for name, tensor in steps[0].items():
        assert torch.equal(tensor, steps[1][name]), name


@pytest.mark.parametrize("target", ["response", "activation"])
def test_warm_up_moves_boxes_to_its_target(target: Literal["response", "activation"]) -> None:
    racnn = small_racnn("model.apn_normalise=places", "model.apn_activation=relu", "model.apn_hidden=32")
    apns = optimization(list(racnn.apns), "adamw", 0.01)
    phase = WarmUpPhase(racnn, apns, torch.Tensor.backward, target=target, size_target=1.0)
    phase.begin()
    before = snapshot(racnn)
    losses = [float(phase.step(*batch())["loss_apn1"]) for _ in range(60)]
    assert {name.split(".")[0] for name in changed(before, racnn)} == {"apns"}
    assert losses[-1] < 0.1 * losses[0]


def test_apn_phases_can_follow_class_activations(cache: Cache, split: Split, tmp_path: Path) -> None:
    changes = ["warm_up.target=activation", "alternation.apn_objective=activation", "model.apn_normalise=places"]
    run = tmp_path / "run"
    train(cache, split, load_recipe("default", [*TINY, *changes]), run, say=silent)
    keys = [row["key"] for row in csv.DictReader((run / "log.csv").open()) if "/apn/train" in row["key"]]
    assert keys == [f"{stage}/apn/train_loss_apn{n}" for stage in ("warm_up", "alternation") for n in (1, 2)]
    manifest = load_checkpoint(run / "model.safetensors").manifest
    assert manifest.recipe["model"]["apn_normalise"] == "places"


@pytest.mark.parametrize("name", ["vgg11", "convnext_atto"])
def test_class_activations_that_a_backbone_lacks_are_said_at_once(
    cache: Cache, split: Split, tmp_path: Path, name: str
) -> None:
    changes = ["warm_up.target=activation", f"model.backbone={name}", "alternation.held_stages=0"]
    changes += ["model.batch_norm=keep"]
    with pytest.raises(RecipeError, match=f"{name} has no class activation maps"):
        train(cache, split, load_recipe("default", [*TINY, *changes]), tmp_path / "run", say=silent)


def test_class_activations_are_asked_for_only_where_a_stage_uses_them(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """`default` wants them for its warm-up alone."""
    changes = ["model.backbone=convnext_atto", "alternation.held_stages=0", "model.batch_norm=keep"]
    changes += [f"{stage}=0" for stage in ("fine_tuning.epochs", "warm_up.epochs", "alternation.rounds")]
    changes += ["alternation.classifier_epochs=0", "data.train_limit=12", "data.select_limit=8"]
    train(cache, split, load_recipe("default", [*TINY, *changes]), tmp_path / "run", say=silent)


def test_a_map_of_one_place_cannot_be_normalised_over_places() -> None:
    with pytest.raises(RecipeError, match="input_size 32 has one place"):
        small_racnn("model.apn_normalise=places", "model.backbone=tf_efficientnet_lite0", "model.input_size=32")


def test_joint_has_no_apn_phases_to_choose_for() -> None:
    with pytest.raises(RecipeError, match="objective joint has no APN phases"):
        load_recipe("joint-loss", ["alternation.apn_objective=activation"])


def test_fine_tuning_changes_the_plain_backbone_alone() -> None:
    racnn = small_racnn()
    backbone = small_racnn().backbones[0]
    phase = FineTuningPhase(racnn, backbone, optimization([backbone]), torch.Tensor.backward)  # type: ignore[arg-type]
    phase.begin()
    before, plain = snapshot(racnn), snapshot(backbone)
    phase.step(*batch())
    assert not changed(before, racnn)
    assert changed(plain, backbone)


def test_joint_phase_reaches_what_the_paper_found_it_to_reach() -> None:
    """Figure 6: scale 3's loss reaches scale 1's convolutions, through crop and APN."""
    racnn = small_racnn("alternation.objective=joint", "model.surrogate=paper")
    grabbed: dict[str, bool] = {}
    phase = JointPhase(racnn, [], torch.Tensor.backward, margin=0.05, labels="present", reduction="sum")
    phase.begin()
    phase.step(*batch())
    for name, parameter in racnn.named_parameters():
        grabbed[name] = parameter.grad is not None
    assert all(grabbed.values())


@pytest.mark.parametrize("fit", ["sgd", "lbfgs"])
def test_fusion_training_changes_no_racnn_parameter_or_buffer(
    fit: str, cache: Cache, split: Split, tiny: Recipe
) -> None:
    from lightning.fabric import Fabric

    from leafzoom.training.selection import read_scales

    racnn = small_racnn()
    fusion = build_fusions(load_recipe("default", [*TINY, f"fusion.fit={fit}"]).fusion, racnn)[1]
    racnn.train()
    labels = cache.table.label_set()
    photographs = Photographs(cache.sources, cache.table.targets(labels), cache.table.images, np.arange(24))
    before, linear = snapshot(racnn), snapshot(fusion)
    read = read_scales(Fabric(accelerator="cpu"), racnn, photographs, (fusion,))
    targets = photographs.part_targets
    if fit == "sgd":
        fit_sgd(fusion, read.gathered[0], targets, tiny.fusion, 0)
    else:
        width = read.gathered[0].shape[1]
        fit_lbfgs(fusion, read.gathered[0], targets, (torch.zeros(LABELS, width), torch.zeros(LABELS)), 0)
    assert not changed(before, racnn)
    assert "linear.weight" in changed(linear, fusion)


def test_lbfgs_finds_the_minimum_that_scikit_learn_finds() -> None:
    from sklearn.linear_model import LogisticRegression

    from leafzoom.model.fusion import Fusion
    from leafzoom.training.fusion_fit import _Problem

    random = np.random.default_rng(0)
    x, w = random.normal(size=(80, 5)), random.normal(size=5)
    y = (x @ w + random.normal(size=80) > 0).astype(np.float64)
    problem = _Problem(x, np.zeros((80, 1)), y[:, None])
    everything = np.ones(80, bool)
    offset, bias = problem.solve(everything, 0.05, (np.zeros((1, 5)), np.zeros(1)))
    wanted = LogisticRegression(C=1 / (0.05 * 80), tol=1e-10).fit(x, y)
    np.testing.assert_allclose(offset, wanted.coef_, atol=1e-3)
    np.testing.assert_allclose(bias, wanted.intercept_, atol=1e-3)
    # Far more inputs than photographs: the basis of their span gives the same head.
    wide = Fusion(scales=2, width=60, labels=1, inputs="descriptors", normalise="rescale")
    gathered = random.normal(size=(40, 120)).astype(np.float32)
    start = torch.from_numpy(random.normal(size=(1, 120))).float() * 0.1, torch.zeros(1)
    fit = fit_lbfgs(wide, gathered, y[:40, None].astype(np.uint8), start, 0)
    scaled = (gathered - wide.shift.numpy()) * wide.scale.numpy()
    full = _Problem(scaled, scaled @ (start[0].numpy() / wide.scale.numpy()).T, y[:40, None])
    direct, _ = full.solve(np.ones(40, bool), fit.penalty, (np.zeros((1, 120)), np.zeros(1)))
    expected = start[0].numpy() / wide.scale.numpy() + direct
    np.testing.assert_allclose(wide.linear.weight.detach().numpy(), expected, atol=2e-3)


def test_every_parameter_is_optimized_once() -> None:
    racnn = small_racnn()
    for modules in ([*racnn.backbones], [*racnn.apns]):
        groups = optimization(modules).optimizer.param_groups
        optimized = [id(parameter) for group in groups for parameter in group["params"]]
        wanted = [id(parameter) for module in modules for parameter in module.parameters()]
        assert sorted(optimized) == sorted(wanted)
        assert len(set(optimized)) == len(optimized)
    decayed = [g["weight_decay"] for g in optimization([racnn.apns[0]]).optimizer.param_groups]
    assert decayed == [0.01, 0.0]


def test_schedules() -> None:
    assert [schedule_factor("constant", s, 10) for s in (0, 9)] == [1, 1]
    cosine = [schedule_factor("cosine", s, 100) for s in range(100)]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[0] > 0.999
    assert cosine[-1] < 0.001
    cycle = [schedule_factor("one_cycle", s, 100) for s in range(100)]
    assert int(np.argmax(cycle)) in (24, 25)
    assert cycle[0] < 0.06
    assert cycle[-1] < 0.001


def test_augmentation_draws_for_each_photograph_and_from_the_seed_alone(cache: Cache) -> None:
    augmentation = Augmentation(
        source_size=96, flip=True, transpose=True, crop_scale=0.6, crop_aspect=1.25,
        brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0,
    )  # fmt: skip
    same = torch.from_numpy(np.repeat(cache.sources[:1], 8, axis=0))
    torch.manual_seed(5)
    first = augmentation(same, 1)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(first, augmentation(same, 1))
    assert torch.equal(torch.get_rng_state(), torch.manual_seed(7).get_state())
    assert not torch.equal(first, augmentation(same, 2))
    assert len({tensor.numpy().tobytes() for tensor in first}) == 8
    assert first.min() >= 0
    assert first.max() <= 1
    del state


def test_an_epoch_reads_every_photograph_once_and_can_start_in_its_middle(cache: Cache) -> None:
    labels = cache.table.label_set()
    part = Photographs(cache.sources, cache.table.targets(labels), cache.table.images, np.arange(5, 50))
    plain = Augmentation(
        source_size=96, flip=True, transpose=False, crop_scale=1.0, crop_aspect=1.0,
        brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0,
    )  # fmt: skip
    cpu = torch.device("cpu")
    whole = list(epoch_batches(part, plain, batch_size=8, seed=3, device=cpu))
    assert sorted(image for b in whole for image in b.images) == sorted(part.images[5:50])
    assert {len(b.images) for b in whole} <= {7, 8}
    rest = list(epoch_batches(part, plain, batch_size=8, seed=3, device=cpu, first=4))
    assert [b.index for b in rest] == [4, 5]
    assert torch.equal(rest[0].pictures, whole[4].pictures)
    other = list(epoch_batches(part, plain, batch_size=8, seed=4, device=cpu))
    assert [b.images for b in other] != [b.images for b in whole]


def test_selection_metrics_show_a_collapsed_apn() -> None:
    targets = np.array([[1, 0], [0, 1]], np.uint8)
    logits = (np.array([[2.0, -2.0], [-2.0, 2.0]], np.float32),) * 2
    whole = np.full((2, 3), 48, np.float32)
    collapsed = np.array([[40, 40, 20], [40, 40, 20]], np.float32)
    metrics = selection_metrics(logits, (whole, collapsed), targets)
    assert metrics["exact_match_scale1"] == metrics["micro_f1_scale2"] == 1
    assert metrics["box2_x_spread"] == metrics["box2_half_side_spread"] == 0
    assert metrics["box2_x_mean"] == pytest.approx(40 / 96)
    assert metrics["ranking_loss12"] == pytest.approx(0.05)
    wide = selection_metrics(logits, (whole, collapsed), targets, margin=0.2, ranking_labels="all")
    assert wide["ranking_loss12"] == pytest.approx(0.4)  # the recipe's margin, for each of the two labels
    assert metrics["loss_scale1"] == pytest.approx(np.log1p(np.exp(-2)))


def test_selection_does_not_mind_a_network_that_is_surer_of_itself() -> None:
    """What selects is the loss after the best temperature, so a factor on the logits changes nothing."""
    random = np.random.default_rng(0)
    targets = (random.random((400, 3)) < 0.4).astype(np.uint8)
    logits = (random.normal(size=(400, 3)) + 2 * targets - 1).astype(np.float32)
    losses = [selection_metrics((factor * logits, logits), (), targets) for factor in (1.0, 9.0)]
    assert losses[1]["loss_scale1"] > 1.1 * losses[0]["loss_scale1"]
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=1e-4)
    assert losses[0]["loss"] <= losses[0]["loss_scale1"] + losses[0]["loss_scale2"]
    worse = selection_metrics((logits[::-1].copy(), logits), (), targets)
    assert worse["loss"] > losses[0]["loss"]


@pytest.fixture(scope="module")
def finished(cache: Cache, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the tiny recipe."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(cache, split, load_recipe("default", TINY), out, say=silent)
    return out


def losses_of(run: Path) -> list[str]:
    with (run / "log.csv").open() as file:
        return [f"{row['key']} {row['value']}" for row in csv.DictReader(file) if "/train_" in row["key"]]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_leaves_everything(finished: Path, split: Split) -> None:
    files = {path.name for path in finished.iterdir()}
    assert files >= {"run.json", "recipe.json", "split.json", "log.csv", "attention.gif", "zooms", "states",
                     "backbone.safetensors", "model.safetensors"}  # fmt: skip
    run = json.loads((finished / "run.json").read_text())
    assert run["status"] == "finished"
    assert set(run["seconds"]) == {"fine_tuning", "warm_up", "alternation", "fusion"}
    assert set(run["memory"]) == set(run["seconds"]) == {"fine_tuning", "warm_up", "alternation", "fusion"}
    if sys.platform == "linux":
        assert all(100 < memory["process_mb"] < 20_000 for memory in run["memory"].values())
    assert Split.from_dict(json.loads((finished / "split.json").read_text()), finished) == split
    with (finished / "log.csv").open() as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    for key in (
        "fine_tuning/classifier/train_loss", "fine_tuning/classifier/select_exact_match",
        "warm_up/apn/train_loss_apn2", "alternation/classifier/train_loss_scale3",
        "alternation/classifier/train_exact_match_scale2", "alternation/apn/train_ranking_loss12",
        "alternation/apn/select_ranking_loss23", "alternation/classifier/select_exact_match_scale1",
        "alternation/apn/select_box2_x_spread", "alternation/apn/select_box3_half_side_mean",
    ):  # fmt: skip
        assert key in keys
    # Warm-up, two classifier epochs, an APN epoch, two classifier epochs.
    assert len(list((finished / "zooms").glob("*.png"))) == 6
    with Image.open(finished / "attention.gif") as film:
        assert film.n_frames >= 2
    checkpoint = load_checkpoint(finished / "model.safetensors")
    assert checkpoint.parts == {"backbone", "scale1", "scale2", "scale3", "apn1", "apn2", "fusion12", "fusion123"}
    assert list(checkpoint.manifest.decisions) == ["backbone", "scale1", "scale2", "scale3", "fusion12", "fusion123"]


def test_the_same_seed_gives_the_same_run(
    finished: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    """With TensorBoard's log as well, which changes nothing."""
    train(cache, split, tiny, tmp_path / "whole", settings=Settings(tensorboard=True), say=silent)
    assert list((tmp_path / "whole" / "tensorboard").glob("events.*"))
    assert losses_of(tmp_path / "whole") == losses_of(finished)
    assert digest(tmp_path / "whole") == digest(finished)


# Written by: python tests/golden/write_tiny_losses.py, on a 2-core x86-64, torch 2.15.
PINNED = Path(__file__).parent / "golden" / "tiny-losses.json"


def test_pinned_losses(finished: Path) -> None:
    """A short training's losses, all stages; another machine or torch may differ in the third digit."""
    lines = (line.split(" ") for line in losses_of(finished))
    everything = [[key, float(value)] for key, value in lines if "loss" in key]
    wanted = json.loads(PINNED.read_text())
    assert [key for key, _ in everything] == [key for key, _ in wanted]
    assert [value for _, value in everything] == pytest.approx([value for _, value in wanted], rel=2e-2)


class Stop(Exception):  # noqa: N818
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_resume_equals_an_uninterrupted_run(
    finished: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path, stop_after: int
) -> None:
    said = 0

    def say(line: str) -> None:
        nonlocal said
        said += "(" in line
        if said == stop_after:
            raise Stop

    with pytest.raises(Stop):
        train(cache, split, tiny, tmp_path / "whole", say=say)
    assert not (tmp_path / "whole" / "model.safetensors").exists()
    train(cache, split, tiny, tmp_path / "whole", resume=True, say=silent)
    assert losses_of(tmp_path / "whole") == losses_of(finished)
    assert digest(tmp_path / "whole") == digest(finished)


def test_a_folder_holds_one_run(finished: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds a run already: go on with --resume"):
        train(cache, split, tiny, finished, say=silent)
    with pytest.raises(TrainingError, match="another recipe"):
        train(cache, split, load_recipe("default", [*TINY, "seed=1"]), finished, resume=True, say=silent)
    other = Split(split.name, split.train[1:], split.select, split.report)
    with pytest.raises(TrainingError, match="another split"):
        train(cache, other, tiny, finished, resume=True, say=silent)
    moved = Split(split.name, (*split.train[1:], split.report[0]), split.select, (*split.report[1:], split.train[0]))
    with pytest.raises(TrainingError, match="another split"):  # of the same sizes
        train(cache, moved, tiny, finished, resume=True, say=silent)
    before = digest(finished)
    assert train(cache, split, tiny, finished, resume=True, say=silent) == finished / "model.safetensors"
    assert digest(finished) == before


def test_a_start_that_fails_leaves_a_folder_that_serves(
    cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="timm has no network 'nope'"):
        train(cache, split, load_recipe("default", [*TINY, "model.backbone=nope"]), tmp_path, say=silent)
    with pytest.raises(TrainingError, match="--accelerator gpu cannot be had"):
        train(cache, split, tiny, tmp_path, settings=Settings(accelerator="gpu"), say=silent)
    assert not (tmp_path / "run.json").exists()
    train(cache, split, load_recipe("default", [*TINY, "fine_tuning.epochs=1"]), tmp_path, say=silent)


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_backbones_without_a_map_are_refused(name: str) -> None:
    size = 224 if "swin" in name else 160
    changes = [f"model.backbone={name}", "model.pretrained=none", f"model.input_size={size}"]
    with pytest.raises(RecipeError, match="not a square map"):
        build_racnn(load_recipe("default", changes), LABELS)


def test_a_batch_that_spoils_the_weights_stops_before_they_are_saved(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """One batch an epoch: its loss is finite, what it leaves is not."""
    changes = [*TINY, "fine_tuning.batch_size=100", "fine_tuning.optimizer.learning_rate=1e30",
               "fine_tuning.optimizer.name=sgd"]  # fmt: skip
    with pytest.raises(TrainingError, match="the selection loss is nan, so the weights are spoilt"):
        train(cache, split, load_recipe("default", changes), tmp_path, say=silent)
    assert not list(tmp_path.glob("states/*"))


def test_two_trainings_in_one_folder(cache: Cache, split: Split, tiny: Recipe, tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / "lock"), pytest.raises(TrainingError, match="another training is at work"):
        train(cache, split, tiny, tmp_path, say=silent)


def test_a_loss_that_is_not_finite_stops_and_names_the_photographs(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe(
        "default", [*TINY, "fine_tuning.optimizer.learning_rate=1e30", "fine_tuning.optimizer.name=sgd"]
    )
    with pytest.raises(TrainingError, match=r"fine_tuning \d/2 .*: loss is (nan|inf) at batch .*leaf-000\d\d\.jpg"):
        train(cache, split, recipe, tmp_path / "run", say=silent)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "training"
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_init_from_a_checkpoint_with_other_labels(finished: Path, cache: Cache, split: Split, tmp_path: Path) -> None:
    """The commonest real use: features of a trained network, a new linear layer."""
    from leafzoom.model.build import initial_checkpoint, pretrained_backbone

    recipe = load_recipe("default", TINY)
    stored = initial_checkpoint(str(finished / "model.safetensors"))
    same = pretrained_backbone(recipe, ("healthy", "ring_spot", "solid_spot"), stored)
    other = pretrained_backbone(recipe, ("blotch", "canker"), stored)
    plain = stored.part("backbone")
    assert torch.equal(same.network.classifier.weight, plain["network.classifier.weight"])
    assert other.network.classifier.weight.shape[0] == 2
    assert torch.equal(other.network.conv_head.weight, plain["network.conv_head.weight"])
    assert initial_checkpoint("bundled").manifest.name == "apple-leaves"
    with pytest.raises(ModelError, match=r"no checkpoint 'nowhere\.safetensors'.*'timm'"):
        initial_checkpoint("nowhere.safetensors")
    no_tuning = load_recipe("default", [*TINY, "fine_tuning.epochs=0", "warm_up.epochs=0", "alternation.rounds=0",
                                        "alternation.classifier.learning_rate=1e-9"])  # fmt: skip
    train(cache, split, no_tuning, tmp_path / "on", init=str(finished / "model.safetensors"), say=silent)
    on = load_checkpoint(tmp_path / "on" / "model.safetensors")
    for part in ("scale3", "apn2"):
        for name, tensor in on.part(part).items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(tensor, stored.part(part)[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("reads", ["places", "none"])
def test_apns_that_read_otherwise_start_anew(
    reads: str, finished: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    """The finished run's APNs read differences between places: their weights mean nothing to ones that do not."""
    said: list[str] = []
    changes = ["fine_tuning.epochs=0", "warm_up.optimizer.learning_rate=1e-9", "alternation.rounds=0"]
    recipe = load_recipe("default", [*TINY, *changes, f"model.apn_normalise={reads}"])
    init = str(finished / "model.safetensors")
    train(cache, split, recipe, tmp_path, init=init, say=said.append)
    before, after = (load_checkpoint(run / "model.safetensors").part("apn1") for run in (finished, tmp_path))
    kept = all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert kept == (reads == "places")
    told = [line for line in said if "start anew" in line]
    assert len(told) == (reads == "none")
    assert all("apn_normalise" in line and init in line for line in told)


def test_apns_that_read_otherwise_and_never_learn_are_refused(
    finished: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    init = str(finished / "model.safetensors")
    changes = ["fine_tuning.epochs=0", "warm_up.epochs=0", "alternation.rounds=0", "model.apn_normalise=none"]
    message = r"read maps with model\.apn_normalise places, this recipe's with none, and nothing trains"
    with pytest.raises(RecipeError, match=message):
        train(cache, split, load_recipe("default", [*TINY, *changes]), tmp_path / "run", init=init, say=silent)
    without = load_recipe("default", [*TINY, *changes, "model.proposals=centre"])
    train(cache, split, without, tmp_path / "centre", init=init, say=silent)


def test_scales_are_not_trained_on_boxes_of_random_apns(finished: Path, tmp_path: Path) -> None:
    """As `own-leaves` without --init, or with fine-tuning, would; boxes that are random on purpose are allowed."""
    from leafzoom.model.build import initial_checkpoint
    from leafzoom.training.checks import check_recipe

    stored = initial_checkpoint(str(finished / "model.safetensors"))
    plain = initial_checkpoint(str(finished / "backbone.safetensors"))
    labels = stored.manifest.labels
    small = TINY[:4]
    own = load_recipe("own-leaves", small)
    check_recipe(own, labels, stored)
    refused = (
        (own, None, r"there is no --init .*--init bundled"),
        (load_recipe("own-leaves", [*small, "fine_tuning.epochs=1"]), stored, r"only its backbone where fine_tuning"),
        (own, plain, r"backbone\.safetensors has no apn1"),
        (load_recipe("own-leaves", [*small, "model.scales=4"]), stored, r"has no apn3.*warm_up\.epochs to 1"),
    )
    for recipe, init, message in refused:
        with pytest.raises(RecipeError, match=message):
            check_recipe(recipe, labels, init)
    for change in ("warm_up.epochs=1", "model.proposals=centre", "alternation.box_jitter=1", "alternation.rounds=1"):
        check_recipe(load_recipe("own-leaves", [*small, change]), labels, None)
    check_recipe(load_recipe("own-leaves", [*small, "alternation.classifier_epochs=0"]), labels, None)


def test_a_pin_of_the_pretrained_weights_is_not_of_init(
    finished: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    pinned = replace(tiny, model=replace(tiny.model, pretrained_sha256="0" * 64))
    with pytest.raises(RecipeError, match=r"pretrained_sha256 is of what model\.pretrained names, not of --init"):
        train(cache, split, pinned, tmp_path, init=str(finished / "model.safetensors"))


def test_init_from_another_network_names_the_tensor(
    finished: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("default", [*TINY, "model.backbone=efficientnet_b0"])
    with pytest.raises(ModelError, match=r"trained with test_efficientnet\).*made for another network|has shape"):
        train(cache, split, recipe, tmp_path / "run", init=str(finished / "model.safetensors"), say=silent)


SMALL = (
    "model.pretrained=none", "data.source_size=64", "model.input_size=64", "model.apn_hidden=4",
    "data.train_limit=4", "data.select_limit=8", "alternation.rounds=1", "warm_up.epochs=1",
    "fine_tuning.batch_size=4", "warm_up.batch_size=4", "alternation.batch_size=4", "fusion.epochs=1",
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "vgg19"])
def test_every_recipe_runs_one_step_of_every_stage(name: str, leaves: Path, tmp_path: Path) -> None:
    from leafzoom.dataset.cache import build_cache
    from leafzoom.dataset.split import training_split
    from leafzoom.dataset.table import read_table

    changes = list(SMALL)
    if load_recipe(name).fine_tuning.epochs:
        changes.append("fine_tuning.epochs=1")
    changes.append("model.backbone=test_efficientnet")
    small = build_cache(read_table(leaves), tmp_path / "cache", 64, workers=1)
    run = tmp_path / "run"
    train(small, training_split(small, "inner-train"), load_recipe(name, changes), run, say=silent)
    assert "fusion123" in load_checkpoint(run / "model.safetensors").parts


def test_vgg19_takes_a_step_of_every_phase() -> None:
    """The original's backbone: 140 M parameters a scale, so the steps alone, at the recipe's own values."""
    recipe = load_recipe(
        "vgg19", ["model.input_size=64", "data.source_size=64", "model.scales=2", "model.apn_hidden=4"]
    )
    racnn = build_racnn(recipe, LABELS)
    pictures, targets = torch.rand(2, 3, 64, 64), torch.tensor([[1, 0, 0], [0, 1, 1]])
    for phase in (
        ClassifierPhase(
            racnn, Optimization(list(racnn.backbones), recipe.alternation.classifier, 1), torch.Tensor.backward
        ),
        WarmUpPhase(racnn, optimization(list(racnn.apns)), torch.Tensor.backward, target="response", size_target=1.0),
        ranking_phase(racnn),
    ):
        before = snapshot(racnn)
        phase.begin()
        assert all(bool(torch.isfinite(value)) for value in phase.step(pictures, targets).values())
        assert changed(before, racnn)


# Soft labels.


def test_soft_labels_keep_the_side_that_the_label_is_on() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    soft = soft_targets(targets, np.array([0, 2]), np.array([[0.0, 1.0], [0.5, 0.9]], np.float32), 0.4)
    assert soft == pytest.approx(np.array([[0.6, 0.4], [0, 1], [0.8, 0.96]], np.float32))
    assert ((soft > 0.5) == (targets > 0)).all()


def test_a_training_learns_from_soft_labels_and_goes_on_from_what_it_stored(
    finished: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    soft = load_recipe("default", [*TINY, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"])
    hard = load_recipe("default", [*TINY, "fine_tuning.epochs=0"])
    init = str(finished / "model.safetensors")
    train(cache, split, hard, tmp_path / "hard" / "run", init=init, say=silent)
    train(cache, split, soft, tmp_path / "soft" / "run", init=init, say=silent)
    assert digest(tmp_path / "soft" / "run") != digest(tmp_path / "hard" / "run")
    (file,) = (tmp_path / "soft" / "run").glob("soft-labels-*.npy")
    stored = np.load(file)
    network = TorchNetwork(load_checkpoint(finished / "model.safetensors"))
    rows = [row for row, image in enumerate(cache.table.images) if image in set(split.train)]
    wanted = network(np.asarray(cache.sources[rows])).probabilities["fusion123"]
    assert stored == pytest.approx(wanted, abs=1e-5)

    said = 0

    def stop(line: str) -> None:
        nonlocal said
        said += "classifier" in line
        if said:
            raise Stop

    with pytest.raises(Stop):
        train(cache, split, soft, tmp_path / "again" / "run", init=init, say=stop)
    (tmp_path / "again" / "run" / file.name).write_bytes(b"half")  # damaged: computed again
    train(cache, split, soft, tmp_path / "again" / "run", init=init, resume=True, say=silent)
    assert digest(tmp_path / "again" / "run") == digest(tmp_path / "soft" / "run")


def test_soft_labels_need_a_network_that_can_teach(
    finished: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    soft = load_recipe("default", [*TINY, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"])
    with pytest.raises(ModelError, match="name it with --init"):
        train(cache, split, soft, tmp_path / "none", say=silent)
    with pytest.raises(ModelError, match="holds backbone and no scale1"):
        train(cache, split, soft, tmp_path / "backbone", init=str(finished / "backbone.safetensors"), say=silent)
    smaller = load_recipe(
        "default", [*TINY, "fine_tuning.epochs=0", "alternation.soft_labels=0.4", "data.source_size=80"]
    )
    with pytest.raises(ModelError, match=r"cannot teach.*96 px.*80 px"):
        train(cache, split, smaller, tmp_path / "size", init=str(finished / "model.safetensors"), say=silent)
    with pytest.raises(RecipeError, match="soft_labels"):
        load_recipe("default", ["alternation.soft_labels=0.5"])
