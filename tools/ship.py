"""Make the model that ships from a finished run:
python -m tools.ship [--before RUN] RUN DATA [the commands that made it, an argument each]

Rounds the weights to half precision, exports them (compared with the rounded checkpoint on 500
photographs), scores that very file on `inner-report`, and writes the figures into its metadata and
into results/shipped.json. A run that was trained on `inner-report` too (`--split all`) is scored on
`inner-select` by its logits there, fusions and decisions out of fold; the epoch was chosen there.
Takes minutes and needs the photographs.

--before: the run that shipped until now, whose exact match there is compared, or its model file
where the run is gone: that one's fusions were fitted on these photographs, which is to its
advantage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leafzoom.dataset.cache import Cache
from leafzoom.inference.export import Parity, export_onnx
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint
from leafzoom.model_file.onnx_writer import write_manifest
from leafzoom.storage import make_folder, write_json
from tools.evaluation_data import open_data
from tools.model_digest import model_digest
from tools.out_of_fold import compare_with_earlier, score_out_of_fold
from tools.provenance import ROOT, commit

__all__ = ["main", "parser"]

_MODEL = ROOT / "src" / "leafzoom" / "assets" / "models" / "apple-leaves.onnx"
_RESULT = ROOT / "results" / "shipped.json"
_NAME = "apple-leaves"
_PARITY_PHOTOGRAPHS = 500


def main() -> None:
    """Export, score, describe."""
    arguments = parser().parse_args()

    # The model file.
    checkpoint = load_checkpoint(arguments.run / "model.safetensors").in_half_precision()
    if checkpoint.manifest.holds_nothing_out:
        raise SystemExit(
            f"{arguments.run} held nothing out (--select-on none), so its decisions cannot be "
            "fitted: ship a run of --split all"
        )
    manifest = replace(checkpoint.manifest, name=_NAME)
    cache = open_data(arguments.data, manifest.source_size)
    parity = _export(replace(checkpoint, manifest=manifest), cache)

    # Its scores, on photographs that it was not trained on.
    run = json.loads((arguments.run / "run.json").read_text(encoding="utf-8"))
    trained_on_everything = run["split"]["name"] == "all"
    if trained_on_everything:
        metrics = score_out_of_fold(arguments.run, manifest)
        part = "inner-select, out of fold"
    else:
        metrics = _score_shipped(arguments.run, arguments.data)
        part = "inner-report"

    # Its own metadata names them.
    figures = {f"{part} (fitted)": _manifest_figures(metrics)}
    write_manifest(_MODEL, replace(manifest, metrics={**manifest.metrics, **figures}))

    result = {
        "name": "shipped",
        "note": _note(run, metrics, out_of_fold=trained_on_everything),
        "commands": [*arguments.commands, f"python -m tools.ship {arguments.run.name} DATA"],
        "commit": commit(),
        "model_digest": model_digest(_MODEL),
        "seconds": {stage: round(seconds, 1) for stage, seconds in run["seconds"].items()},
        "memory": run.get("memory"),
        "machine": run["machine"],
        "recipe": run["recipe"],
        "split": run["split"],
        "parity": {
            "probability": parity.probability,
            "box_px": parity.box_px,
            "photographs": parity.photographs,
        },
        "inner_select": run["metrics"]["inner-select"],
        "metrics": metrics,
    }
    if arguments.before:
        result["before"] = compare_with_earlier(arguments.run, arguments.before, cache)
    write_json(_RESULT, result)
    print(_RESULT)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.ship",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("run", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument(
        "--before",
        type=Path,
        help="the run, or the .onnx file, of the model that shipped until now",
    )
    options.add_argument("commands", nargs="*", help="one argument a command")

    return options


def _export(checkpoint: Checkpoint, cache: Cache) -> Parity:
    """Write the model that ships, compared with its checkpoint on photographs spread over all."""
    rows = np.linspace(0, len(cache.sources) - 1, _PARITY_PHOTOGRAPHS).astype(int)
    sources = np.asarray(cache.sources[rows])

    make_folder(_MODEL.parent)
    parity = export_onnx(checkpoint, _MODEL, sources)
    print(f"{_MODEL}: {_MODEL.stat().st_size / 1e6:.1f} MB, {parity}")
    return parity


def _score_shipped(run: Path, data: Path) -> dict[str, Any]:
    """`metrics.json` of the model that ships, on `inner-report`; zoom value is in the run's own."""
    report = run / "report-shipped"
    program = [sys.executable, "-m", "leafzoom", "evaluate", "bundled"]
    options = ["--data", str(data), "--split", "inner-report", "--out", str(report)]
    subprocess.run([*program, *options, "--zooms", "0"], check=True)

    metrics: dict[str, Any] = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    metrics["model"].pop("path", None)
    return metrics


def _manifest_figures(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the model file says about every head: {head: {score: value}}."""
    figures = {}
    for head, scores in metrics["heads_fitted"].items():
        # Overall scores, then the labels'.
        of_labels = {f"f1_{label}": values["f1"] for label, values in scores["per_label"].items()}
        figures[head] = {
            "exact_match": scores["exact_match"],
            "micro_f1": scores["micro"]["f1"],
            "macro_f1": scores["macro"]["f1"],
            **of_labels,
        }
    return figures


def _note(run: dict[str, Any], metrics: dict[str, Any], *, out_of_fold: bool) -> str:
    """How the figures of results/shipped.json were measured."""
    scored = "weights as shipped (half precision)"
    if out_of_fold:
        scored = (
            "scored where the epoch was chosen, fusions and decisions out of fold, "
            "before the weights were rounded"
        )

    minutes = sum(run["seconds"].values()) / 60
    return (
        f"{metrics['model']['trained_on']} photographs trained on, {scored}, "
        f"{minutes:.0f} minutes of training on {run['machine']['threads']} CPU thread(s) "
        "in its last run; one seed"
    )


if __name__ == "__main__":
    main()
