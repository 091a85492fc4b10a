"""`metrics.json` describes photographs and model with the entries that readers expect."""

from __future__ import annotations

from leafzoom.evaluation.result_files import DatasetDescription, ModelDescription


def test_a_table_is_described_by_its_digest_and_overlap() -> None:
    dataset = DatasetDescription(
        csv="train.csv",
        split="all",
        photographs=60,
        trained_on=48,
        table_digest="abc",
        source_sizes=(256, 640),
    )
    assert dataset.to_dict() == {
        "csv": "train.csv",
        "split": "all",
        "photographs": 60,
        "trained_on": 48,
        "selected_on": None,
        "table_digest": "abc",
        "source_sizes": [256, 640],
    }


def test_rendered_leaves_are_described_by_their_seed() -> None:
    dataset = DatasetDescription(csv="leaves", split="inner-test", photographs=6, seed=0)
    assert dataset.to_dict() == {
        "csv": "leaves",
        "split": "inner-test",
        "photographs": 6,
        "seed": 0,
    }


def test_a_model_without_a_path_has_no_such_entry() -> None:
    model = ModelDescription(name="demo", recipe="demo", trained_on=48, leafzoom="0.1.0")
    expected = {"name": "demo", "recipe": "demo", "trained_on": 48, "leafzoom": "0.1.0"}
    assert model.to_dict() == {**expected, "select_on": "validation"}

    model = ModelDescription(name="x", path="runs/x", recipe=None, trained_on=None, leafzoom="")
    assert model.to_dict()["path"] == "runs/x"
