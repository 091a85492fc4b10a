"""Would an average of networks be right more often, or a network that learned from one?

    python -m experiments.averages DATA [--keep FOLDER]

Averages the logits of the shipped model's fusion with those of plain networks in weights/, on
`inner-validation`, which none of them was trained on. Fusions and decisions are fitted out of fold.
A student is seldom better than its teacher: an average that gains nothing is not worth a training.
Writes results/experiments/averages.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.complex_label import scores_of_answers
from experiments.head_logits import MIRRORS, logits_of_model
from experiments.publishing import write_result
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.labels import LabelSet
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.outputs import BACKBONE_HEAD, fusion_head
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine

__all__ = ["main", "measure"]

_NAME = "averages"
_LABEL = "complex"
_SHIPPED = "shipped"
_PLAIN = {
    "Lite2": "lite2-224-fine-tuned.safetensors",
    "Lite0": "lite0-224-fine-tuned.safetensors",
}
_SHARES = (
    {_SHIPPED: 1.0},
    {"Lite2": 1.0},
    {"Lite0": 1.0},
    {_SHIPPED: 0.5, "Lite2": 0.5},
    {_SHIPPED: 0.7, "Lite2": 0.3},
    {_SHIPPED: 0.4, "Lite2": 0.3, "Lite0": 0.3},
)

Logits = NDArray[np.float64]


def main() -> None:
    """Compute, average, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="Folder for the networks' logits.")
    arguments = parser.parse_args()

    model = bundled_model()
    manifest = load_checkpoint(model).manifest
    shipped = logits_of_model(model, arguments.data, arguments.keep)
    logits = {_SHIPPED: shipped.as_predicted[fusion_head(manifest.scales)]}

    # A plain network looks at the photograph and its mirror image.
    for name, file in _PLAIN.items():
        plain = logits_of_model(ROOT / "weights" / file, arguments.data, arguments.keep)
        logits[name] = plain.mirrored[BACKBONE_HEAD]

    result = {
        "name": _NAME,
        "command": "python -m experiments.averages DATA",
        "commit": commit("src", "experiments", "tools"),
        "model_digest": model_digest(model),
        "machine": machine(),
        "mirrors": MIRRORS,
        **measure(logits, shipped.targets, manifest.labels),
    }
    print(write_result(_NAME, result))


def measure(
    logits: Mapping[str, Logits], targets: NDArray[np.uint8], labels: LabelSet
) -> dict[str, Any]:
    """The scores of each network and of averages of their logits, against the shipped one.

    Args:
        logits: by network, [n, L].
        targets: [n, L].
        labels: of the networks, `complex` among them.
    """
    combinations = np.array(labels.combinations, np.uint8)
    answers = {}
    for shares in _SHARES:
        mean = sum(share * logits[network] for network, share in shares.items())
        answered = out_of_fold_answers(np.asarray(mean), targets, labels)
        answers[_title(shares)] = combinations[answered.answers]

    column = labels.names.index(_LABEL)
    return {
        "label": _LABEL,
        "photographs": len(targets),
        "averages": scores_of_answers(targets, answers, _SHIPPED, labels, column),
    }


def _title(shares: Mapping[str, float]) -> str:
    """Networks with their shares.

    >>> _title({"shipped": 0.7, "Lite2": 0.3})
    '70 % shipped, 30 % Lite2'
    """
    if len(shares) == 1:
        return next(iter(shares))
    return ", ".join(
        f"{share:.0%} {network}".replace("%", " %") for network, share in shares.items()
    )


if __name__ == "__main__":
    main()
