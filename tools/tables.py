"""Write the tables of the documents from results/*.json: python -m tools.tables [--check]

The documents are README.md and the pages of docs/. Figures within sentences are written too
(`tools.text_figures`). --check writes nothing and exits with 1 if a document is not up to date.
Takes a second.

A table stands between the lines <!-- KIND NAME --> and <!-- end -->. NAME is a file in results/;
KIND is one of

    table         every head
    labels        every label, as `predict` decides
    recognised    what the file that ships recognises, how often it is right, when it is unsure
    shipped_file  what the file that ships is, by its metadata
    differences   paired, between heads
    cost          time and memory of a training's stages
    demo          what zooming is worth on rendered leaves, a column a seed
    verdicts      what the model answers to leaves and to other pictures
    outliers      the same by kind of picture, each kind left out of the detector's fit
    targets, profile, twelve_hours
                  of benchmarks
    devices       how near a device is to the CPU
    browsers, web_agreement, web_speed
                  of the app on the phone
    variants      what smaller and faster variants of the model lose and save

or, with NAME below results/experiments,

    experiment    an arm a row
    interval_coverage
                  how often intervals over a few seeds hold the truth
    orchard_coverage
                  the same of the intervals of an orchard report
    zoom_value    what an arm's boxes are worth
    early_exit    what stopping after the first scale costs and saves
    few_photographs
                  what trainings on few photographs reach
    price         what a diagnosis costs
    single_label  what the softmax reaches with one class a photograph
    cost_accuracy what is right for the cost
    source_sizes  what larger sources are worth
    detail        the same, of photographs that no training saw
    lesions_held  what boxes hold of lesions
    noise_estimates, noise_by_combination
                  how many labels are wrong, and which
    review_flips, review_duplicates
                  which wrong labels `leafzoom review` finds
    complex_heads, complex_decisions, complex_confusions, complex_folds
                  the errors of `complex`
    averages      what networks and averages of them reach
    paper_scores, paper_exact_match, paper_claims
                  the paper beside its reproduction
    rivals        networks of the same cost beside each other
    ray           Ray beside the local engine
    million       what a million photos cost
    two_processes a training by two processes beside one
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable

from tools import (
    benchmark_tables,
    closer_tables,
    complex_tables,
    evaluation_tables,
    experiment_tables,
    interval_tables,
    noise_tables,
    paper_tables,
    process_tables,
    recognised_tables,
    review_tables,
    rival_tables,
    scale_tables,
    single_label_tables,
    web_tables,
)
from tools.markdown import Lines, Result, with_present_part_names
from tools.provenance import ROOT
from tools.text_figures import fill_in_figures

__all__ = ["DOCUMENTS", "TABLES", "fill_in", "main"]

DOCUMENTS = (
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

_EXPERIMENT_TABLES: dict[str, Callable[[Result], Lines]] = {
    "experiment": experiment_tables.experiment,
    "interval_coverage": interval_tables.interval_coverage,
    "orchard_coverage": interval_tables.orchard_coverage,
    "zoom_value": experiment_tables.zoom_value,
    "early_exit": experiment_tables.early_exit,
    "few_photographs": experiment_tables.few_photographs,
    "source_sizes": closer_tables.source_sizes,
    "detail": closer_tables.detail,
    "lesions_held": closer_tables.lesions_held,
    "price": experiment_tables.price,
    "single_label": single_label_tables.single_label,
    "noise_estimates": noise_tables.noise_estimates,
    "noise_by_combination": noise_tables.noise_by_combination,
    "review_flips": review_tables.review_flips,
    "review_duplicates": review_tables.review_duplicates,
    "complex_heads": complex_tables.complex_heads,
    "complex_decisions": complex_tables.complex_decisions,
    "complex_confusions": complex_tables.complex_confusions,
    "complex_folds": complex_tables.complex_folds,
    "averages": complex_tables.averages,
    "paper_scores": paper_tables.paper_scores,
    "paper_exact_match": paper_tables.paper_exact_match,
    "paper_claims": paper_tables.paper_claims,
    "rivals": rival_tables.rivals,
    "ray": scale_tables.ray,
    "million": scale_tables.million,
    "two_processes": process_tables.two_processes,
    "cost_accuracy": experiment_tables.cost_accuracy,
}
TABLES: dict[str, Callable[[Result], Lines]] = {
    "table": evaluation_tables.heads,
    "labels": evaluation_tables.labels,
    "recognised": recognised_tables.recognised,
    "shipped_file": recognised_tables.shipped_file,
    "differences": evaluation_tables.differences,
    "cost": evaluation_tables.cost,
    "demo": evaluation_tables.demo,
    "verdicts": evaluation_tables.verdicts,
    "outliers": evaluation_tables.outliers,
    "targets": benchmark_tables.targets,
    "profile": benchmark_tables.profile,
    "twelve_hours": benchmark_tables.twelve_hours,
    "variants": benchmark_tables.variants,
    "devices": scale_tables.devices,
    "browsers": web_tables.browsers,
    "web_agreement": web_tables.web_agreement,
    "web_speed": web_tables.web_speed,
    **_EXPERIMENT_TABLES,
}
_TABLE = re.compile(rf"(<!-- ({'|'.join(TABLES)}) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write or check; returns the exit status."""
    arguments = parser().parse_args()

    outdated = []
    for document in DOCUMENTS:
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        filled_in = fill_in(text)
        if filled_in != text:
            outdated.append(document)
        if not arguments.check:
            path.write_text(filled_in, encoding="utf-8")

    if arguments.check and outdated:
        print(
            f"{', '.join(outdated)}: tables differ from results/; run python -m tools.tables",
            file=sys.stderr,
        )
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")

    return options


def fill_in(document: str) -> str:
    """A document's text with its tables and figures made from the results."""
    return fill_in_figures(_TABLE.sub(_table, document))


def _table(match: re.Match[str]) -> str:
    """A table with its marks."""
    start, kind, name, end = match.groups()
    folder = ROOT / "results"
    if kind in _EXPERIMENT_TABLES:
        folder = folder / "experiments"

    result = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    table = with_present_part_names("\n".join(TABLES[kind](result)))
    return f"{start}{table}\n{end}"


if __name__ == "__main__":
    sys.exit(main())
