"""A user's own few photographs: all are learned from, and none makes a head overconfident."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import SHARED, TINY, needs_shared, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.inference.loading import open_network
from leafzoom.model_file.checkpoint import load_checkpoint, tensors_digest
from leafzoom.recipe import load_recipe
from leafzoom.training.run import Settings, train
from network_helpers import model_digest, silent

OWN_LEAVES = [*TINY[:5], "alternation.batch_size=12"]
HELD_OUT = 12


@pytest.fixture(scope="module")
def few_run(
    trained: Path, cache: Cache, split: Split, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of `own-leaves` on 54 leaves, which are few."""
    out = tmp_path_factory.mktemp("few") / "run"
    recipe = load_recipe("own-leaves", OWN_LEAVES)
    train(cache, split, recipe, out, init=str(trained / "model.safetensors"), echo=silent)
    return out


def test_the_scales_stay_as_they_start_but_for_their_linear_layers(
    few_run: Path, trained: Path
) -> None:
    before = load_checkpoint(trained / "model.safetensors")
    after = load_checkpoint(few_run / "model.safetensors")
    for part in ("scale1", "scale2", "scale3", "apn1", "apn2"):
        changed = {
            name
            for name, tensor in after.part(part).items()
            if not torch.equal(tensor, before.part(part)[name])
        }
        linear = {"network.classifier.weight", "network.classifier.bias"}
        assert changed == (linear if part.startswith("scale") else set())


@pytest.mark.slow
def test_a_teacher_has_no_effect_which_a_line_says(
    few_run: Path, trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    init = str(trained / "model.safetensors")
    recipe = load_recipe("own-leaves", [*OWN_LEAVES, "alternation.soft_labels=0.4"])
    out = tmp_path / "run"
    lines: list[str] = []
    settings = Settings(teachers=(init,))
    train(cache, split, recipe, out, init=init, settings=settings, echo=lines.append)

    assert [line for line in lines if "alternation.soft_labels has no effect" in line]
    untaught = load_checkpoint(few_run / "model.safetensors").tensors
    tensors = load_checkpoint(out / "model.safetensors").tensors
    assert tensors_digest(tensors) == tensors_digest(untaught)


def test_every_photograph_is_learned_from_and_judged(few_run: Path, split: Split) -> None:
    with (few_run / "selection.csv").open() as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert sorted(names) == sorted(split.train + split.validation)

    manifest = load_checkpoint(few_run / "model.safetensors").manifest
    assert manifest.data["cross_validated"] is True
    weights = manifest.metrics["fusion_fit"]["fusion123"]["scale_weights"]
    assert len(weights) == 3
    assert min(weights) >= 0

    # 54 photographs: the rule of succession.
    count = len(names)
    combinations = len(manifest.labels.combinations)
    for decision in manifest.decisions.values():
        greatest = 1 - decision.lapse_rate * (1 - 1 / combinations)
        assert greatest == pytest.approx((count + 1) / (count + 2))


def test_an_evaluation_says_that_the_validation_part_was_learned_from(
    few_run: Path, leaves: Path, split: Split, tmp_path: Path
) -> None:
    arguments = ("--data", leaves, "--split", "inner-validation", "--zooms", 0)
    result = run_command("evaluate", few_run, *arguments, "--out", tmp_path / "report")
    assert f"{len(split.validation)} of these photographs were trained on" in result.stderr


def test_it_is_the_same_each_time_and_goes_on_where_it_was_stopped(
    few_run: Path, trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("own-leaves", OWN_LEAVES)
    out = tmp_path / "run"

    def stop(line: str) -> None:
        if line.startswith("fusion"):
            raise KeyboardInterrupt

    init = str(trained / "model.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(cache, split, recipe, out, init=init, echo=stop)
    train(cache, split, recipe, out, init=init, resume=True, echo=silent)
    assert model_digest(out) == model_digest(few_run)


@pytest.mark.parametrize(
    "change",
    [
        "few_photographs.below=54",
        "fine_tuning.epochs=1",
        "warm_up.epochs=1",
        "alternation.rounds=1",
        "model.residual=0.5",
    ],
)
def test_photographs_are_held_out_where_scales_are_trained(change: str) -> None:
    assert load_recipe("own-leaves").freezes_scales(54)
    assert not load_recipe("own-leaves", [change]).freezes_scales(54)
    assert not load_recipe("default").freezes_scales(2)


def test_what_is_too_few_is_said(trained: Path, cache: Cache, split: Split, tmp_path: Path) -> None:
    lines: list[str] = []
    names = "data.labels=['healthy', 'ring_spot', 'solid_spot', 'rust']"
    recipe = load_recipe("own-leaves", [*OWN_LEAVES, names])
    init = str(trained / "model.safetensors")
    train(cache, split, recipe, tmp_path / "run", init=init, echo=lines.append)
    text = "\n".join(lines)
    assert "54 photographs are few" in text
    assert "too few: rust: no photograph has it, so it can never be the answer" in text
    assert "too few: the test part has" in text


def test_combinations_that_are_not_seen_are_possible(few_run: Path) -> None:
    """`healthy` excludes the others; the leaves have both kinds of spot together."""
    labels = load_checkpoint(few_run / "model.safetensors").manifest.labels
    assert labels.names == ("healthy", "ring_spot", "solid_spot")
    assert set(labels.combinations) == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)}


# The README's own command, on the bundled model. Rendered leaves stand for photographs where there
# are none: one kind is enough, because each training takes a minute and more.
KIND = "photographs" if SHARED.joinpath("plant-pathology-2021").exists() else "rendered"


def rendered(seed: int) -> Iterator[tuple[Image.Image, str]]:
    """Rendered leaves with one kind of spot at most."""
    for leaf in render_leaves(240, size=256, seed=seed):
        if len(leaf.labels) == 1:
            yield Image.fromarray(leaf.pixels), leaf.labels[0]


def photographed() -> Iterator[tuple[Image.Image, str]]:
    """Photographs of the competition with one label, where they are."""
    data = needs_shared("plant-pathology-2021")
    with (data / "train.csv").open(encoding="utf-8") as file:
        labels_of = {row["image"]: row["labels"] for row in csv.DictReader(file)}
    with tarfile.open(sorted(data.glob("*.tar"))[0]) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member)
            if content is not None and name in labels_of and " " not in labels_of[name]:
                yield Image.open(io.BytesIO(content.read())), labels_of[name]


def lay_out(
    photos: Iterator[tuple[Image.Image, str]], counts: dict[str, int], folder: Path
) -> None:
    """Write `own/` with so many photographs of each label, and `held/LABEL/` with others."""
    written: Counter[str] = Counter()
    rows = ["image,labels"]
    for photo, label in photos:
        if label not in counts or written[label] >= counts[label] + HELD_OUT:
            continue
        number = written[label]
        own = number < counts[label]
        path = folder / ("own/images" if own else f"held/{label}") / f"{label}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        rows += [f"{path.name},{label}"] if own else []
        written[label] += 1
    assert written == {label: count + HELD_OUT for label, count in counts.items()}
    (folder / "own" / "labels.csv").write_text("\n".join(rows) + "\n")


def diagnose_held_out(folder: Path, label: str) -> list[dict[str, object]]:
    """What the trained model answers to photographs of a label that it has not seen."""
    command = ("predict", folder / "held" / label, "--model", folder / "run", "--format", "json")
    diagnoses: list[dict[str, object]] = json.loads(run_command(*command).stdout)
    assert len(diagnoses) == HELD_OUT
    return diagnoses


def train_own_leaves(folder: Path) -> None:
    """The README's command."""
    own = ("--data", folder / "own", "--recipe", "own-leaves", "--init", "bundled")
    result = run_command("train", *own, "--out", folder / "run")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KIND])
def test_a_rare_label_is_said_where_the_scales_see_it(kind: str, tmp_path: Path) -> None:
    """22 healthy, 22 with a common disease, 4 with a rare one, which the fusion never said."""
    if kind == "photographs":
        counts = {"healthy": 22, "scab": 22, "powdery_mildew": 4}
        lay_out(photographed(), counts, tmp_path)
    else:
        counts = {"healthy": 22, "ring_spot": 22, "solid_spot": 4}
        lay_out(rendered(7), counts, tmp_path)
    train_own_leaves(tmp_path)
    rare = list(counts)[-1]
    diagnoses = diagnose_held_out(tmp_path, rare)

    # Scale 3 by itself, and the fused answer.
    seen = 0
    said = 0
    for diagnosis in diagnoses:
        probabilities = diagnosis["scales"][-1]["probabilities"]  # type: ignore[index]
        seen += max(probabilities, key=probabilities.get) == rare
        said += diagnosis["labels"] == [rare]
    assert said >= seen - 2
    if kind == "photographs":
        assert said >= 9

    manifest = open_network(str(tmp_path / "run")).manifest
    assert max(d["confidence"] for d in diagnoses) <= 49 / 50  # type: ignore[type-var]
    healthy_and_rare = tuple(int(name in ("healthy", rare)) for name in manifest.labels.names)
    assert healthy_and_rare not in manifest.labels.combinations


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KIND])
def test_five_photographs_of_each_label_do_not_make_it_sure(kind: str, tmp_path: Path) -> None:
    """All scab leaves became `healthy` at confidence 1.0."""
    disease = "scab" if kind == "photographs" else "solid_spot"
    photos = photographed() if kind == "photographs" else rendered(8)
    lay_out(photos, {"healthy": 5, disease: 5}, tmp_path)
    train_own_leaves(tmp_path)

    wrong = 0
    for label in ("healthy", disease):
        for diagnosis in diagnose_held_out(tmp_path, label):
            assert diagnosis["confidence"] <= 11 / 12  # type: ignore[operator]
            wrong += diagnosis["labels"] not in ([label], [])
    assert wrong <= (2 if kind == "photographs" else 12)
