"""An untrained network and its evaluation on twenty rendered leaves."""

from __future__ import annotations

import pytest

from conftest import TINY
from evaluation.untrained import LABELS, untrained_network
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.evaluation.evaluate import Evaluation, evaluate
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.labels import Decision
from leafzoom.model.build import network_tensors
from leafzoom.model.fusion import head_names
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.recipe import load_recipe, recipe_to_dict


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> TorchNetwork:
    """An untrained network, loaded from a checkpoint."""
    decision = Decision(thresholds=(0.5, 0.4, 0.6), temperature=1.5)
    manifest = Manifest(
        labels=LABELS,
        source_size=96,
        input_size=64,
        scales=3,
        decisions=dict.fromkeys(head_names(3), decision),
        recipe=recipe_to_dict(load_recipe("default", TINY)),
    )

    path = tmp_path_factory.mktemp("untrained") / "model.safetensors"
    save_checkpoint(path, network_tensors(untrained_network()), manifest)
    return TorchNetwork(load_checkpoint(path))


@pytest.fixture(scope="session")
def evaluation(network: TorchNetwork, cache: Cache, split: Split) -> Evaluation:
    """Its evaluation on twenty photographs."""
    return evaluate(network, cache, split.train[:20])
