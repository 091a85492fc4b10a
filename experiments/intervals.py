"""Give stored differences intervals that hold for new seeds: python -m experiments.intervals

Results from before have percentile bootstraps over two or three seeds, which cover too little (see
`SeedEstimate`). This computes them again in results/experiments/*.json, from the differences by
seed and from the bootstraps, and draws the comparisons' plots again. What was stored is kept as
`bootstrap_interval` and `photograph_p`. Results that have been converted stay as they are.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from experiments.plots import Pair, draw_comparison
from experiments.publishing import write_result
from experiments.statistics import PairedDifference, with_seed_interval
from tools.provenance import ROOT, commit, machine

__all__ = ["converted", "main"]

_KEYS = {"difference", "interval", "by_seed", "p"}


def main() -> None:
    """Convert every result that has such intervals; print which."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()

    for path in sorted((ROOT / "results" / "experiments").glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        result = converted(stored)
        if result == stored:
            continue

        result["intervals"] = {
            "command": "python -m experiments.intervals",
            "commit": commit(),
            "machine": machine(),
        }
        print(write_result(path.stem, result))
        if "pairs" in result:
            _draw(path.stem, result)


def converted(value: Any) -> Any:
    """A result's content with every difference of several seeds converted, however deep."""
    if isinstance(value, list):
        return [converted(item) for item in value]
    if not isinstance(value, dict):
        return value
    content = {key: converted(item) for key, item in value.items()}
    return with_seed_interval(content) if content.keys() >= _KEYS else content


def _draw(name: str, result: dict[str, Any]) -> None:
    """Draw a comparison as `experiments.report` and `experiments.confirm` do."""
    exact_matches = {arm: row["exact_match_by_seed"] for arm, row in result["arms"].items()}
    pairs = [
        Pair(pair["arm"], pair["against"], _difference(pair), tuple(pair.get("median_move", ())))
        for pair in result["pairs"]
    ]
    print(draw_comparison(name, result["control"], exact_matches, pairs))


def _difference(pair: dict[str, Any]) -> PairedDifference:
    """A stored difference; of one seed its p-value is that of the photographs."""
    low, high = pair["interval"]
    return PairedDifference(
        difference=pair["difference"],
        interval=(low, high),
        by_seed=tuple(pair["by_seed"]),
        p=pair["p"],
        photograph_p=pair.get("photograph_p", pair["p"]),
        photograph_error=pair.get("photograph_error", 0.0),
    )


if __name__ == "__main__":
    main()
