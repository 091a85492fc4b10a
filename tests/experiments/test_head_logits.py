"""A network's logits with mirror images and without, from one pass, are those of two networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from experiments.head_logits import MIRRORS, HeadLogits, logits_of_model
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model_file.checkpoint import load_checkpoint
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest


@pytest.fixture(scope="module")
def logits(
    trained: Path,
    leaves: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> HeadLogits:
    folder = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAFZOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        model = trained / "model.safetensors"
        logits = logits_of_model(model, leaves, folder)
        kept = logits_of_model(model, leaves, folder)

    network = model_digest(model)["network"]
    assert [path.name for path in folder.iterdir()] == [f"logits-{network[:12]}.npz"]
    assert kept.plain.keys() == logits.plain.keys()
    np.testing.assert_array_equal(kept.mirrored["fusion123"], logits.mirrored["fusion123"])
    return logits


@pytest.mark.parametrize("mirrors", [1, MIRRORS])
def test_scales_are_those_of_a_network_with_so_many_mirrors(
    trained: Path,
    leaves: Path,
    logits: HeadLogits,
    mirrors: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LEAFZOOM_CACHE", str(tmp_path))
    checkpoint = load_checkpoint(trained / "model.safetensors")
    network = network_from_checkpoint(checkpoint)
    network.tta = mirrors
    cache = open_data(leaves, checkpoint.manifest.source_size)
    rows = rows_of_part(cache, "inner-validation", checkpoint.manifest)
    sources = torch.from_numpy(np.asarray(cache.sources[rows]))
    with torch.inference_mode():
        expected = network(sources).logits

    assert len(sources) == len(logits.targets)
    measured = logits.plain if mirrors == 1 else logits.mirrored
    assert set(measured) == set(expected)
    for head in ("scale1", "scale2", "scale3"):
        np.testing.assert_allclose(
            expit(measured[head]), expit(expected[head].numpy()), atol=1e-4, err_msg=head
        )
