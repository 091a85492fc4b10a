"""What the package promises to whoever imports it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import leafzoom
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.results import Results

MODULES = [
    module.name
    for module in pkgutil.walk_packages(leafzoom.__path__, "leafzoom.")
    if not module.name.endswith("__main__")
]


def test_public_names() -> None:
    assert leafzoom.__all__ == ["Results", "__version__", "load"]
    assert leafzoom.Results is Results
    with pytest.raises(AttributeError, match="no attribute 'results'"):
        leafzoom.results  # noqa: B018


def test_public_methods_of_the_predictor() -> None:
    public = [name for name in vars(Predictor) if not name.startswith("_")]

    assert public == [
        *("labels", "predict", "predict_many", "predict_proba", "embed", "predict_decoded"),
    ]
    assert callable(Predictor.__call__)


def test_the_options_of_load_are_those_of_the_predictor() -> None:
    options = set(inspect.signature(leafzoom.load).parameters) - {"model"}

    # The device is the network's, which a predictor is given.
    assert options - {"device"} <= set(inspect.signature(Predictor).parameters)
    assert "device" in inspect.signature(open_network).parameters


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_exists(name: str) -> None:
    module = importlib.import_module(name)

    missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
    assert not missing
