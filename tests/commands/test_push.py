"""`leafzoom push`: a model and its card on a hub, and back from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from conftest import failure_line, run_command
from hub_stand_in import TOKEN, HubStandIn, run_leafzoom
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.hub_card import model_card
from leafzoom.model_file.manifest import LICENCE
from leafzoom.model_file.onnx_reader import read_onnx

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = GOLDEN / "model-format-1.onnx"
SINGLE_LABEL_MODEL = GOLDEN / "model-format-2.onnx"
REPOSITORY = "hf://orchards/apples"


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    stand_in = HubStandIn()
    yield stand_in
    stand_in.stop()


def card_of(*words: str | Path) -> ModelCard:
    """The card that a dry run shows, as the hub's own library reads it."""
    shown = run_command("push", *words, "--dry-run")
    assert shown.exit_code == 0, shown.output
    card = ModelCard(shown.stdout)
    assert str(card).rstrip() == shown.stdout.rstrip()
    return card


def test_a_model_is_uploaded_and_loaded_again(hub: HubStandIn, tmp_path: Path) -> None:
    pushed = run_leafzoom(
        "push", MODEL, REPOSITORY, "--private", hub=hub.url, home=tmp_path, HF_TOKEN=TOKEN
    )
    assert pushed.returncode == 0, pushed.stderr

    repository = hub.repositories["orchards/apples"]
    (commit,) = repository.commits
    files = repository.commits[commit]
    assert set(files) == {"model.onnx", "README.md", "LICENSE"}
    assert files["model.onnx"] == MODEL.read_bytes()
    assert files["LICENSE"].decode() == f"{LICENCE}\n"
    assert repository.private

    # What it prints is an address that loads exactly this file.
    address = pushed.stdout.strip()
    assert address.startswith(f"{REPOSITORY}@{commit}/model.onnx#sha256=")
    loaded = run_leafzoom("info", address, hub=hub.url, home=tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == run_command("info", MODEL).stdout


def test_another_model_is_another_commit(hub: HubStandIn, tmp_path: Path) -> None:
    for model in (MODEL, SINGLE_LABEL_MODEL):
        pushed = run_leafzoom("push", model, REPOSITORY, hub=hub.url, home=tmp_path, HF_TOKEN=TOKEN)
        assert pushed.returncode == 0, pushed.stderr
    repository = hub.repositories["orchards/apples"]
    assert len(repository.commits) == 2
    latest = repository.commits[repository.names["main"]]
    assert latest["model.onnx"] == SINGLE_LABEL_MODEL.read_bytes()


def test_without_a_token_it_is_one_line(hub: HubStandIn, tmp_path: Path) -> None:
    refused = run_leafzoom("push", MODEL, REPOSITORY, hub=hub.url, home=tmp_path, HF_TOKEN="")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    lines = [line for line in refused.stderr.splitlines() if line.startswith("leafzoom:")]
    assert len(lines) == 1
    assert "HF_TOKEN" in lines[0]
    assert hub.repositories == {}


def test_without_a_network_it_is_one_line(tmp_path: Path) -> None:
    gone = HubStandIn()
    gone.stop()
    refused = run_leafzoom("push", MODEL, REPOSITORY, hub=gone.url, home=tmp_path, HF_TOKEN=TOKEN)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert refused.stderr.count("leafzoom:") == 1


def test_the_card_has_the_hubs_metadata() -> None:
    card = card_of("bundled", REPOSITORY, "--dataset", "orchards/photographs")
    data = card.data
    assert data.license == "other"
    assert data.license_link == "LICENSE"
    assert data.library_name == "leafzoom"
    assert data.pipeline_tag == "image-classification"
    assert {"leafzoom", "onnx", "ra-cnn"} <= set(data.tags)
    assert data.datasets == ["orchards/photographs"]
    assert data.metrics == ["exact_match", "f1"]


def test_the_cards_scores_are_those_of_the_file() -> None:
    """Every score of the head that answers, with its part, and no other."""
    card = card_of("bundled", REPOSITORY)
    manifest = read_onnx(bundled_model())[1]
    expected = {}
    for part, heads in manifest.metrics.items():
        if part.startswith("inner"):
            for name, value in heads[manifest.head].items():
                expected[part, name] = value

    results = card.data.eval_results
    assert len(results) == len(expected) > 3
    assert sorted(result.metric_value for result in results) == sorted(expected.values())
    parts = {part.replace("inner-select", "inner-validation") for part, _ in expected}
    assert {result.dataset_split for result in results} == parts
    fitted = [result for result in results if "fitted" in result.dataset_split]
    (exact,) = {result.metric_value for result in fitted if result.metric_name == "exact match"}
    assert f"| exact match | {exact:.4f} |" in card.text


def test_the_card_has_thresholds_and_the_licence() -> None:
    card = card_of("bundled", REPOSITORY)
    manifest = read_onnx(bundled_model())[1]
    thresholds = manifest.decisions[manifest.head].thresholds
    for label, threshold in zip(manifest.labels.names, thresholds, strict=True):
        assert f"| `{label}` | {threshold:.3f} |" in card.text
    assert manifest.licence in card.text
    assert "its photographs chose the epoch" in card.text
    assert f'leafzoom.load("{REPOSITORY}@REVISION/model.onnx")' in card.text


def test_the_card_of_single_labels_has_their_accuracy() -> None:
    card = card_of(SINGLE_LABEL_MODEL, REPOSITORY)
    manifest = read_onnx(SINGLE_LABEL_MODEL)[1]
    scores = manifest.metrics["inner-select"]

    (accuracy,) = [score for score in card.data.eval_results if score.metric_type == "accuracy"]
    assert accuracy.metric_value == scores[manifest.head]["top1"]
    assert f"One of: `{manifest.labels.names[0]}`" in card.text
    assert "threshold" not in card.text


def test_a_card_without_scores_says_so() -> None:
    manifest = replace(read_onnx(MODEL)[1], metrics={})
    card = ModelCard(model_card(manifest, "model.onnx", REPOSITORY))
    assert card.data.eval_results is None
    assert "The file has none." in card.text


@pytest.mark.parametrize(
    ("model", "repository", "problem"),
    [
        (MODEL, "hf://orchards/apples@v1", "names more than a repository"),
        (MODEL, "hf://orchards/apples/other.onnx", "names more than a repository"),
        (MODEL, "orchards/apples", "orchards/apples is no repository: write hf://OWNER/NAME"),
        ("hf://orchards/apples@v1", REPOSITORY, "is on a hub already"),
    ],
)
def test_what_is_no_repository_is_refused(model: object, repository: str, problem: str) -> None:
    assert problem in failure_line(run_command("push", model, repository, "--dry-run"), 2)


def test_what_is_no_model_is_not_uploaded(hub: HubStandIn, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(MODEL.read_bytes()[:-100])
    refused = run_leafzoom("push", broken, REPOSITORY, hub=hub.url, home=tmp_path, HF_TOKEN=TOKEN)
    assert refused.returncode == 1
    assert hub.repositories == {}
