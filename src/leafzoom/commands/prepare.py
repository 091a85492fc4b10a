"""`leafzoom prepare`: check labelled photographs, find near-duplicates, build the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leafzoom.commands.options import PATH, data_options, echo_to_stderr, labelled_cache
from leafzoom.errors import DataError, needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.audit import NearDuplicate
    from leafzoom.dataset.cache import Cache
    from leafzoom.dataset.columns import TableReading
    from leafzoom.dataset.table import Table

__all__ = ["PrepareReport", "prepare"]

_CORRELATION_DECIMALS = 4


@dataclass(frozen=True)
class PrepareReport:
    """What the check of a data set gives.

    Attributes:
        cache: of every photograph that can be read; its table has the rows that cannot be used.
        pairs: near-duplicates, as indices of the table's rows.
        combinations: {labels of one photograph, sorted and separated by spaces: photographs}.
        warnings: which labels have too few photographs, and for what.
    """

    cache: Cache
    pairs: Sequence[NearDuplicate]
    combinations: dict[str, int]
    warnings: Sequence[str]

    @property
    def table(self) -> Table:
        """The data set's table."""
        return self.cache.table

    def echo(self) -> None:
        """Print the counts."""
        click.echo(
            f"{len(self.table)} photographs in {self.table.csv}, cached in {self.cache.folder}"
        )
        for combination, count in self.combinations.items():
            click.echo(f"  {count:6} {combination or '(no label)'}")

        # Where near-duplicates have different labels, one of the two is likely wrong.
        conflicts = sum(pair.conflicting(self.table) for pair in self.pairs)
        click.echo(
            f"{len(self.pairs)} pairs of near-duplicates, {conflicts} of them with different labels"
        )
        for warning in self.warnings:
            click.echo(f"too few: {warning}")

    def to_dict(self) -> dict[str, Any]:
        """The content of `prepare.json`."""
        return {
            "csv": str(self.table.csv),
            "photographs": len(self.table),
            "table_digest": self.table.digest(),
            "photographs_digest": self.cache.digest,
            "combinations": self.combinations,
            "warnings": list(self.warnings),
            "problems": [
                {"row": problem.line, "image": problem.image_name, "problem": problem.reason}
                for problem in self.table.problems
            ],
            "near_duplicates": [self._pair_to_dict(pair) for pair in self.pairs],
        }

    def _pair_to_dict(self, pair: NearDuplicate) -> dict[str, Any]:
        rows = [self.table.rows[pair.first], self.table.rows[pair.second]]
        return {
            "images": [row.image_name for row in rows],
            "labels": [" ".join(row.labels) for row in rows],
            "rows": [row.line for row in rows],
            "correlation": round(pair.correlation, _CORRELATION_DECIMALS),
            "conflicting": pair.conflicting(self.table),
        }


@click.command()
@data_options
@click.option("--out", type=PATH, help="Folder for the report (index.html and prepare.json).")
@click.option(
    "--source-size",
    type=click.IntRange(32, 2048),
    default=256,
    show_default=True,
    help="Side in pixels.",
)
def prepare(
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    reading: TableReading,
    out: Path | None,
    source_size: int,
) -> None:
    """Check every photograph, find duplicates, build the cache.

    \b
    Example: leafzoom prepare --data plant-pathology-2021 --out photographs
    """
    with needs_extra("train", "leafzoom prepare"):
        from leafzoom.dataset.audit import near_duplicates_of
        from leafzoom.dataset.lesions import read_lesions
        from leafzoom.dataset.sufficiency import table_warnings
        from leafzoom.evaluation.dataset_page import combination_counts
        from leafzoom.storage import make_folder

    # A folder that cannot be written to is an error before minutes of work, not after.
    if out:
        make_folder(out)

    # The check of all photographs, and its results.
    cache = labelled_cache(data, csv_file, cache_folder, source_size, reading)
    combinations = combination_counts([row.labels for row in cache.table.rows])
    warnings = table_warnings(cache.table)
    report = PrepareReport(cache, near_duplicates_of(cache), combinations, warnings)
    report.echo()
    if out:
        _write_report(report, out)

    # The report is written first: it lists the rows that have to be mended.
    _require_usable(cache.table)
    lesions = read_lesions(data, cache, warn=echo_to_stderr)
    if lesions:
        boxes = sum(map(len, lesions.values()))
        click.echo(f"{boxes} known lesions on {len(lesions)} photographs")


def _write_report(report: PrepareReport, folder: Path) -> None:
    """Write `prepare.json` and the page `index.html` into an existing folder."""
    from leafzoom.evaluation.dataset_page import write_dataset_page
    from leafzoom.storage import write_json

    json_path = folder / "prepare.json"
    page_path = folder / "index.html"

    write_json(json_path, report.to_dict())
    write_dataset_page(report.cache, report.pairs, page_path)
    click.echo(f"report in {page_path} and {json_path}")


def _require_usable(table: Table) -> None:
    """Print every row that cannot be used.

    Raises:
        DataError: there are such rows, or no rows at all.
    """
    for problem in table.problems:
        click.echo(f"leafzoom: {problem}", err=True)

    if table.problems:
        raise DataError(
            f"{len(table.problems)} rows of {table.csv} cannot be used (listed above): mend them"
        )
    if not len(table):
        table.require_clean()
