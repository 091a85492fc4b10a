"""What a state holds, and how large it is."""

from __future__ import annotations

from pathlib import Path

import torch

from leafzoom.model.build import build_backbone, build_racnn
from leafzoom.recipe import load_recipe
from leafzoom.training.state import BestEpoch, Cursor, State, load_state, save_state

TENSORS = {"apns.weight": torch.arange(100_000.0), "backbones.weight": torch.ones(50_000)}
BYTES = 4 * 150_000


def state_with_best(best: dict[str, torch.Tensor]) -> State:
    return State(
        cursor=Cursor(2, 3),
        tensors={"racnn": TENSORS},
        optimizations={},
        best=BestEpoch(0.5, 2, best),
        log=[],
        seconds={},
    )


def test_what_the_best_epoch_shares_is_written_once(tmp_path: Path) -> None:
    sizes = {}
    for name, change in {"best now": 0.0, "other backbones": 1.0}.items():
        best = {**TENSORS, "backbones.weight": TENSORS["backbones.weight"] + change}
        best = {key: tensor.clone() for key, tensor in best.items()}
        folder = tmp_path / name
        save_state(folder, state_with_best(best))
        (path,) = folder.iterdir()
        sizes[name] = path.stat().st_size

        # It is read as it was.
        stored = load_state(folder)
        assert stored is not None
        assert stored.best is not None
        for key, tensor in best.items():
            assert torch.equal(stored.best.tensors[key], tensor)
            assert torch.equal(stored.tensors["racnn"][key], TENSORS[key])

    assert BYTES < sizes["best now"] < 1.1 * BYTES
    assert BYTES + 4 * 50_000 < sizes["other backbones"] < 1.1 * BYTES + 4 * 50_000


def test_a_state_of_the_recipe_paper_takes_what_its_header_says() -> None:
    """0.6 GB, and 1.2 GB where the best epoch has other weights than the last."""
    recipe = load_recipe("paper")
    with torch.device("meta"):
        racnn = build_racnn(recipe, 6)
        backbone = build_backbone(recipe.model, 6)
    values = sum(tensor.numel() for tensor in racnn.state_dict().values())
    momentum = sum(parameter.numel() for parameter in racnn.backbones.parameters())
    plain = sum(tensor.numel() for tensor in backbone.state_dict().values())

    least = 4 * (values + momentum + plain) / 1e9
    assert round(least, 1) == 0.6
    assert round(least + 4 * values / 1e9, 1) == 1.2
