"""What several subcommands share: the options that name labelled photographs, and their cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from leafzoom.dataset.columns import AUTOMATIC, TableReading
from leafzoom.errors import needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.cache import Cache

__all__ = ["PATH", "data_options", "echo_to_stderr", "labelled_cache", "model_option"]

PATH = click.Path(path_type=Path)

_DATA_OPTIONS = (
    click.option(
        "--data",
        type=PATH,
        required=True,
        help="Kaggle's layout, a folder with a CSV, or a folder a class.",
    ),
    click.option(
        "--csv",
        "csv_file",
        type=PATH,
        help="The table image,labels, if not DIR/train.csv.",
    ),
    click.option("--image-column", default="", help="The table's column of photographs."),
    click.option(
        "--label-column",
        "label_columns",
        multiple=True,
        help="Its column of labels; several of 0 and 1 are a label each.",
    ),
    click.option(
        "--group-column",
        default="",
        help="Its column of orchards, say: none is on both sides of a split.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["auto", "table", "folders"]),
        default="auto",
        show_default=True,
        help="A table, or a folder a class (DIR/scab/1.jpg).",
    ),
    click.option(
        "--cache",
        "cache_folder",
        type=PATH,
        help="Where decoded photographs are kept.",
    ),
)

model_option = click.option(
    "--model",
    default="bundled",
    show_default=True,
    help="A run, an .onnx or .safetensors file.",
)
"""`--model` of the subcommands that predict."""


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a subcommand that reads labelled photographs.

    The subcommand gets `--data`, `--csv` and `--cache` by name, and `reading` for all that is said
    about the table's columns.
    """

    @wraps(command)
    def with_reading(
        *,
        image_column: str,
        label_columns: tuple[str, ...],
        group_column: str,
        layout: Literal["auto", "table", "folders"],
        **others: Any,
    ) -> None:
        reading = TableReading(image_column, label_columns, group_column, layout)
        command(reading=reading, **others)

    # click lists the option that was added last first.
    decorated: Callable[..., None] = with_reading
    for option in reversed(_DATA_OPTIONS):
        decorated = option(decorated)
    return decorated


def labelled_cache(
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    source_size: int,
    reading: TableReading = AUTOMATIC,
) -> Cache:
    """The cache of a folder of labelled photographs; built if it does not exist yet.

    Prints how the table is understood, and what looks wrong in its labels.

    Args:
        data: the folder.
        csv_file: its table; None for the one in the folder.
        cache_folder: None for the default one.
        source_size: side of the decoded photographs in pixels.
        reading: what the user says about the table's columns.

    Raises:
        DataError: the table or the cache cannot be used.
        MissingExtraError: the extra `train` is not installed.
    """
    with needs_extra("train", "reading labelled photographs"):
        from leafzoom.dataset.cache import build_cache, default_cache_folder
        from leafzoom.dataset.table import read_table

    # The default folder depends on the size, so that caches of several sizes can coexist.
    table = read_table(data, csv_file, reading)
    echo_to_stderr(f"{table.csv}: {table.description}")
    for warning in table.warnings:
        echo_to_stderr(f"warning: {warning}")
    folder = cache_folder or default_cache_folder(data, table.csv, source_size)
    return build_cache(table, folder, source_size, echo=echo_to_stderr)


def echo_to_stderr(line: str) -> None:
    """Print a line about progress, apart from the results on standard output."""
    click.echo(line, err=True)
