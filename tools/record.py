"""Put the figures of an evaluated run into results/NAME.json:
python -m tools.record NAME RUN REPORT -- the commands that made it

The file holds REPORT/metrics.json, the run's times, memory and machine, the commit, and the
commands as given. --memory-run names another run of the same recipe, whose memory is taken where
the run itself did not measure it. Takes less than a second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.provenance import ROOT, commit

__all__ = ["main", "parser", "recorded"]


def main() -> None:
    """Read a run and a report, write a result."""
    arguments = parser().parse_args()
    run = _read_json(arguments.run / "run.json")

    # Older runs did not measure their memory.
    memory_run = run
    if arguments.memory_run:
        memory_run = _read_json(arguments.memory_run / "run.json")

    metrics = _read_json(arguments.report / "metrics.json")
    if run.get("select_on") == "none":
        raise SystemExit(
            f"{arguments.run} held nothing out (--select-on none): it has no validation scores to "
            "record; use the report's metrics.json"
        )

    result = recorded(
        arguments.name,
        run=run,
        memory=memory_run.get("memory"),
        metrics=metrics,
        commands=arguments.commands,
    )
    path = ROOT / "results" / f"{arguments.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("name")
    options.add_argument("run", type=Path)
    options.add_argument("report", type=Path)
    options.add_argument("--memory-run", type=Path, help="a run that measured its memory")
    options.add_argument("commands", nargs="*", help="one argument a command")

    return options


def recorded(
    name: str,
    *,
    run: dict[str, Any],
    memory: dict[str, Any] | None,
    metrics: dict[str, Any],
    commands: Sequence[str],
) -> dict[str, Any]:
    """The content of a result file.

    Args:
        name: of the result.
        run: the content of `run.json`.
        memory: the most memory of each stage.
        metrics: the content of `metrics.json`.
        commands: that made the run.
    """
    model = run["recipe"]["model"]
    minutes = sum(run["seconds"].values()) / 60
    note = (
        f"{metrics['model']['trained_on']} photographs trained on, {model['backbone']} at "
        f"{model['input_size']} px, {minutes:.0f} minutes of training "
        f"({run['machine']['threads']} CPU threads); one seed, so no spread"
    )

    # The path of the model is of the machine that evaluated it.
    metrics["model"].pop("path", None)

    return {
        "name": name,
        "note": note,
        "commands": list(commands),
        "commit": commit(),
        "seconds": {stage: round(seconds, 1) for stage, seconds in run["seconds"].items()},
        "memory": memory,
        "machine": run["machine"],
        "recipe": run["recipe"],
        "split": run["split"],
        "inner_select": run["metrics"]["inner-select"],
        "metrics": metrics,
    }


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
