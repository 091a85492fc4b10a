"""The whole estimate on simulated answers, and the answers of tiny models to rendered leaves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from experiments import confident_learning, label_noise_plot, publishing
from experiments.label_noise import boxes_entry, duplicates_entry, estimate_noise
from experiments.noise_estimates import duplicate_noise
from experiments.suspects import suspicion, write_page
from experiments.unseen_answers import (
    LabelledAnswers,
    UnseenAnswers,
    answers_of_logits,
    unseen_logits,
)
from leafzoom.dataset.audit import NearDuplicate
from leafzoom.dataset.table import Row, Table
from leafzoom.labels import LabelSet
from tools.evaluation_data import open_data
from tools.noise_tables import noise_by_combination, noise_estimates

COMBINATIONS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0))
LABELS = LabelSet(("complex", "rust", "scab"), COMBINATIONS)
PHOTOGRAPHS = 1500
NOISE = 0.1
PAIRS = [NearDuplicate(0, 1, 0.99), NearDuplicate(2, 3, 0.98), NearDuplicate(4, 5, 0.97)]
CHECKSUMS = np.array([1, 2, 3, 3, 4, 5], np.uint32)


def simulate() -> LabelledAnswers:
    """Three models, independent given the truth; only rust is labelled wrongly, as complex."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, PHOTOGRAPHS)
    given = truth.copy()
    wrong = random.choice(np.flatnonzero(truth == 1), round(NOISE * PHOTOGRAPHS), replace=False)
    given[wrong] = 2

    answers = {}
    for name in ("first", "second", "third"):
        scores = random.normal(size=(PHOTOGRAPHS, 4)) + 4 * np.eye(4)[truth]
        posterior = np.exp(4 * scores)
        posterior /= posterior.sum(axis=1, keepdims=True)
        marginals = posterior @ np.array(COMBINATIONS, float)
        answers[name] = UnseenAnswers(posterior, marginals, posterior.argmax(axis=1))
    return LabelledAnswers(np.array(COMBINATIONS, np.uint8)[given], LABELS, answers)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> LabelledAnswers:
    monkeypatch.setattr(confident_learning, "_RESAMPLES", 40)
    return simulate()


def test_the_noise_and_its_place_are_found(measured: LabelledAnswers) -> None:
    result = estimate_noise(measured)
    assert list(result["agreement"]) == ["first, second", "first, third", "second, third"]
    for pair in result["agreement"].values():
        assert pair["triplet"]["value"] == pytest.approx(NOISE, abs=0.02)
        low, high = pair["contradicted"]["interval"]
        assert low < NOISE < high

    # Nearly all that the models contradict is the rust that is labelled as complex.
    rows = {row["combination"]: row for row in result["by_combination"]}
    assert sum(row["photographs"] for row in rows.values()) == PHOTOGRAPHS
    assert max(rows, key=lambda name: rows[name]["contradicted"]) == "complex"
    assert next(iter(rows["complex"]["instead"])) == "rust"
    assert rows["scab"]["contradicted"] < 5

    kinds = result["by_kind"]
    alone = rows["rust"]["photographs"] + rows["scab"]["photographs"]
    assert kinds["one label"]["photographs"] == alone
    contradicted = [kinds[kind]["contradicted"] for kind in kinds]
    assert contradicted[0] < 10 < 140 < contradicted[1]
    exact = sum(kinds[kind]["exact"]["first"] for kind in kinds)
    assert exact / PHOTOGRAPHS == result["models"]["first"]["exact_match"]["value"]

    ceiling = result["ceiling"]
    assert ceiling["low"] < 1 - NOISE < ceiling["high"]
    assert ceiling["low"] >= ceiling["reached"]["value"]
    confident = result["confident_contradiction"]
    assert confident["of_all"]["value"] == pytest.approx(NOISE, abs=0.02)
    covered = [entry["photographs"] for entry in result["by_confidence"]]
    assert covered == sorted(covered, reverse=True)


def test_results_are_drawn_and_tabled(
    measured: LabelledAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = estimate_noise(measured) | {
        "boxes": {"lesions": {"photographs": 9, "extra": 1, **duplicate_noise(1, 9).to_dict()}},
        "duplicates": duplicates_entry(small_table(), PAIRS, CHECKSUMS),
        "command": "python -m experiments.label_noise DATA",
    }
    # 3 models, all at once, 2 estimates of 3 pairs, the sure ones, 2 rows of duplicates, boxes.
    assert len(noise_estimates(result)) == 2 + 3 + 1 + 6 + 1 + 2 + 1 + 2
    assert len(noise_by_combination(result)) == 2 + 4

    monkeypatch.setattr(publishing, "figure_path", lambda name: tmp_path / f"{name}.svg")
    drawing = label_noise_plot.draw(result, "noise").read_text(encoding="utf-8")
    assert drawing.lstrip().startswith("<?xml")


def small_table() -> Table:
    labels = (("rust",), ("rust",), ("rust",), ("rust", "complex"), ("rust",), ("scab",))
    rows = [Row(i, f"{i}.jpg", names, Path(f"{i}.jpg")) for i, names in enumerate(labels)]
    return Table(Path("train.csv"), tuple(rows), ())


def test_pairs_with_other_labels_are_counted() -> None:
    entry = duplicates_entry(small_table(), PAIRS, CHECKSUMS)
    assert (entry["in_pairs"], entry["all"]["pairs"], entry["all"]["differing_pairs"]) == (6, 3, 2)
    assert entry["labels"] == {"complex + rust / rust": 1, "rust / scab": 1}
    assert entry["least_wrong"] == pytest.approx(2 / 6)
    assert entry["all"]["never_alike"]["value"] == pytest.approx(1 - (1 / 3) ** 0.5)

    # The second pair is one picture twice.
    assert (entry["identical"]["pairs"], entry["identical"]["differing_pairs"]) == (1, 1)
    assert (entry["other_shots"]["pairs"], entry["other_shots"]["differing_pairs"]) == (2, 1)
    assert duplicates_entry(small_table(), PAIRS[:1], CHECKSUMS)["identical"] == {}


def test_boxes_of_other_diseases_are_counted(leaves: Path, tmp_path: Path) -> None:
    """One photograph gets a box of another disease, another one has no box of its own."""
    cache = open_data(leaves, 96)
    healthy = {"healthy", "complex"}
    rows = [row for row in cache.table.rows if row.labels and not healthy & set(row.labels)][:6]
    lines = [f"{row.image_name},1,1,9,9,{label}" for row in rows for label in row.labels]
    write_boxes(tmp_path, lines)
    entry = boxes_entry(cache, tmp_path)
    assert (entry["photographs"], entry["extra"], entry["lacking"]) == (6, 0, 0)

    write_boxes(tmp_path, [*lines, f"{rows[0].image_name},1,1,9,9,blight"])
    entry = boxes_entry(cache, tmp_path)
    assert (entry["extra"], entry["lacking"]) == (1, 0)
    assert entry["differing"]["value"] == pytest.approx(1 / 6)

    others = [line for line in lines if not line.startswith(rows[1].image_name)]
    write_boxes(tmp_path, [*others, f"{rows[1].image_name},1,1,9,9,blight"])
    entry = boxes_entry(cache, tmp_path)
    assert (entry["extra"], entry["lacking"]) == (1, 1)


def write_boxes(folder: Path, lines: list[str]) -> None:
    text = "\n".join(["image,x0,y0,x1,y1,label", *lines])
    (folder / "lesions.csv").write_text(text + "\n", encoding="utf-8")


def test_suspicion_is_the_least_confidence_in_one_other_combination() -> None:
    posteriors = np.array([[[0.1, 0.7, 0.2], [0.9, 0.1, 0.0]], [[0.0, 0.6, 0.4], [0.2, 0.5, 0.3]]])
    scores = suspicion(posteriors, np.array([0, 0]))
    assert scores == pytest.approx([0.6, 0.1])


def test_models_answer_leaves_and_the_page_shows_the_most_suspect(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    cache = open_data(leaves, 96)
    rows = np.arange(0, len(cache.table), 2)
    labels = cache.table.label_set()
    targets = cache.table.targets(labels)[rows]

    # Kept logits are read again, and are those of the same photographs only.
    model = str(trained / "model.safetensors")
    logits = unseen_logits(model, cache, rows, tmp_path)
    (kept,) = tmp_path.glob("model-*.npy")
    assert np.array_equal(np.load(kept), logits)
    assert np.array_equal(unseen_logits(model, cache, rows, tmp_path), logits)
    assert unseen_logits(model, cache, rows[:20], None).shape == (20, len(labels.names))

    answers = answers_of_logits(logits, targets, labels)
    assert answers.posterior.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    assert (answers.confidence == answers.posterior.max(axis=1)).all()
    measured = LabelledAnswers(targets, labels, {"one": answers, "two": answers})
    page = tmp_path / "page.html"
    write_page(page, cache, rows, measured, 3)
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure>") == 3

    # The first photograph is the most suspect one.
    scores = suspicion(measured.posteriors, measured.given)
    names = re.findall(r"<figcaption>\d\. (.*?)<br>", html)
    assert names[0] == cache.table.image_names[rows[scores.argmax()]]
