"""The photographs of an evaluation, by name, by file and by the model's own split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.evaluated_part import evaluation_image_names, split_of_model
from leafzoom.dataset.split import Split, training_split
from leafzoom.errors import DataError, UsageError


def test_an_evaluation_takes_a_part_by_name(cache: Cache, split: Split) -> None:
    assert evaluation_image_names(cache, "all", None) == cache.table.image_names
    assert evaluation_image_names(cache, "inner-train", None) == split.train
    assert evaluation_image_names(cache, "inner-validation", None) == split.validation
    assert evaluation_image_names(cache, "inner-test", None) == split.test


def test_an_evaluation_takes_the_parts_of_the_models_own_split(cache: Cache, split: Split) -> None:
    stored = Split("mine", split.train, split.test, split.validation)
    assert evaluation_image_names(cache, "inner-test", stored) == split.validation

    digest = training_split(cache, "all").digest()
    validation = evaluation_image_names(cache, "inner-validation", None, digest)
    assert validation == split.validation
    train = evaluation_image_names(cache, "inner-train", None, digest)
    assert train == split.train + split.test

    message = "trained with the split 'all', which has no photographs in inner-test"
    with pytest.raises(DataError, match=message):
        evaluation_image_names(cache, "inner-test", None, digest)

    with pytest.raises(DataError, match=r"trained with another split than .* inner-test may hold"):
        evaluation_image_names(cache, "inner-test", None, "0" * 64)


def test_an_evaluation_takes_a_list_of_names(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("leaf-00003.jpg\nleaf-00001.jpg\n")
    image_names = evaluation_image_names(cache, str(path), None)
    assert image_names == ("leaf-00003.jpg", "leaf-00001.jpg")

    path.write_text("gone.jpg\n")
    with pytest.raises(DataError, match=r"no row for 'gone\.jpg' \(1 of 1"):
        evaluation_image_names(cache, str(path), None)

    path.write_text("\n\n")
    with pytest.raises(DataError, match=r"list\.txt names no photograph"):
        evaluation_image_names(cache, str(path), None)

    with pytest.raises(UsageError, match="no split 'nothing': give a file or one of all"):
        evaluation_image_names(cache, "nothing", None)


def test_the_split_of_a_model_is_known_by_its_digest(cache: Cache, split: Split) -> None:
    assert split_of_model(cache, None, None) is None
    assert split_of_model(cache, split, None) == split
    assert split_of_model(cache, None, split.digest()) == split
    everything = training_split(cache, "all")
    assert split_of_model(cache, None, everything.digest()) == everything
    for name in ("inner-train", "all"):
        whole = training_split(cache, name, "none")
        known = split_of_model(cache, None, whole.digest())
        assert known is not None
        assert known.select_on == "none"
        assert sorted(known.train) == sorted(whole.train)
    assert split_of_model(cache, None, "0" * 64) is None


def test_a_split_that_holds_nothing_out_has_nothing_to_evaluate_on(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(training_split(cache, "all", "none").to_dict()))
    with pytest.raises(DataError, match="holds no photograph out, so there is none to evaluate"):
        evaluation_image_names(cache, str(path), None)

    whole = split.without_validation()
    assert evaluation_image_names(cache, "inner-test", whole) == split.test
    with pytest.raises(DataError, match="has no photographs in inner-validation"):
        evaluation_image_names(cache, "inner-validation", whole)
