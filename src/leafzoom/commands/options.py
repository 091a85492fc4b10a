"""What several subcommands share: the options that name labelled photographs, and their cache."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from leafzoom.dataset.columns import AUTOMATIC, TableReading
from leafzoom.errors import UsageError, needs_extra
from leafzoom.inference.devices import AUTO, DEVICES
from leafzoom.model_file.hub import is_hub_address
from leafzoom.model_file.paths import MODEL_VARIABLE
from leafzoom.photo_file import is_url
from leafzoom.photo_url import is_storage_url

if TYPE_CHECKING:
    from leafzoom.dataset.cache import Cache
    from leafzoom.dataset.table import Table

__all__ = [
    "DESTINATION",
    "MODEL",
    "NAME_OR_FILE",
    "PATH",
    "PHOTO_PATH",
    "accelerator_option",
    "data_folder",
    "data_options",
    "device_option",
    "echo_to_stderr",
    "init_option",
    "labelled_cache",
    "labelled_table",
    "model_option",
    "precision_option",
    "recipe_option",
    "set_option",
    "source_cache",
    "source_size_option",
    "split_option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx")


class _PathType(click.Path):
    """A path: never empty, with `~` as the home folder, and no address on a network."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path as a `Path`."""
        text = os.fspath(value)
        if not text.strip():
            self.fail("the path is empty: is a variable unset?", param, ctx)
        if is_url(text):
            self.fail(f"{text} is an address, not a path: download it first", param, ctx)

        # No shell expands the ~ of --out=~/results.
        super().convert(text, param, ctx)
        path = Path(text)
        if text.startswith("~") and not path.exists():
            with suppress(RuntimeError):  # no home folder, or no such user
                return path.expanduser()
        return path


class _DestinationType(_PathType):
    """A folder's path as a `Path`, or an address of storage as it is written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or the address."""
        text = os.fspath(value)
        if is_url(text) and is_storage_url(text):
            return text
        return super().convert(value, param, ctx)


class _NameOrFileType(click.types.StringParamType):
    """A name of ours or a file's path: never empty, and no address on a network.

    Args:
        hub: whether it may be an address of a model on the hub.
    """

    def __init__(self, *, hub: bool = False) -> None:
        self.hub = hub

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        text = str(super().convert(value, param, ctx))
        if not text.strip():
            self.fail("it is empty: is a variable unset?", param, ctx)
        if self.hub and is_hub_address(text):
            return text
        if is_url(text):
            self.fail(f"{text} is an address, not a path: download it first", param, ctx)
        return text


class _PhotoPathType(click.Path):
    """What `predict` reads: kept as it is written, because an address is refused photo by photo."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, not empty."""
        text: str = os.fspath(value)
        if not text.strip():
            self.fail("the path is empty: is a variable unset?", param, ctx)
        return text


_MAX_SIZE_DIGITS = 6
_MAX_QUOTE = 40  # characters of a wrong value in a message


class _SourceSizeType(click.types.StringParamType):
    """A side in pixels, or `auto`: None."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How the help shows it."""
        return "[auto|N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The side; None for `auto`."""
        text = str(value).strip().casefold()
        if text == "auto":
            return None
        if not text.isdecimal() or len(text) > _MAX_SIZE_DIGITS:
            quote = str(value)[:_MAX_QUOTE]
            self.fail(f"auto or a number of pixels, not {quote!r}", param, ctx)
        return int(text)


DESTINATION = _DestinationType(path_type=Path)
"""A folder or an address on the command line."""

PATH = _PathType(path_type=Path)
"""A path on the command line."""

NAME_OR_FILE = _NameOrFileType()
"""A recipe or a split on the command line."""

MODEL = _NameOrFileType(hub=True)
"""A checkpoint on the command line."""

PHOTO_PATH = _PhotoPathType()
"""A photo, a folder, a pattern or an archive on the command line."""

source_size_option = click.option(
    "--source-size",
    type=_SourceSizeType(),
    default="auto",
    show_default=True,
    help="Side in pixels of what the network gets of a photo; auto: as its pixels carry.",
)
"""How large the square is that the network gets of a photo."""

_DATA_OPTIONS = (
    click.option(
        "--data",
        metavar="DIR",
        type=PATH,
        required=True,
        help="Kaggle's layout, a folder with a CSV, or a folder a class.",
    ),
    click.option(
        "--csv",
        "csv_file",
        metavar="FILE",
        type=PATH,
        help="The table image,labels, if not DIR/train.csv.",
    ),
    click.option("--image-column", default="", help="The table's column of photographs."),
    click.option(
        "--label-column",
        "label_columns",
        multiple=True,
        help="Its column of labels; several of 0 and 1 are a label each (may be repeated).",
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
        help="Where decoded photographs are kept, if not in LEAFZOOM_CACHE.",
    ),
)

model_option = click.option(
    "--model",
    default="bundled",
    envvar=MODEL_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="A run, an .onnx or .safetensors file, or hf://OWNER/NAME@REVISION.",
)
"""`--model` of the subcommands that predict."""

device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=AUTO,
    show_default=True,
    help="Where the model is computed; auto: on a GPU where there is one, else on the CPU.",
)
"""`--device` of the subcommands that predict."""

accelerator_option = click.option(
    "--accelerator",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "gpu"]),
    help="What the training runs on; auto: a GPU where there is one.",
)
"""`--accelerator` of the subcommands that train."""

precision_option = click.option(
    "--precision",
    default="32-true",
    show_default=True,
    type=click.Choice(["32-true", "bf16-mixed"]),
    help="Of the numbers: single precision, or bfloat16 where it does no harm.",
)
"""`--precision` of the subcommands that train."""


def recipe_option(help_text: str) -> Callable[[_Command], _Command]:
    """`--recipe` of a subcommand that trains."""
    return click.option(
        "--recipe",
        "recipe_name",
        metavar="NAME|FILE",
        type=NAME_OR_FILE,
        required=True,
        help=help_text,
    )


def split_option(help_text: str) -> Callable[[_Command], _Command]:
    """`--split` of a subcommand that trains."""
    return click.option(
        "--split",
        "split_name",
        metavar="NAME|FILE",
        type=NAME_OR_FILE,
        default="inner-train",
        show_default=True,
        help=help_text,
    )


def init_option(help_text: str) -> Callable[[_Command], _Command]:
    """`--init` of a subcommand that trains."""
    return click.option("--init", metavar="RUN|FILE", type=MODEL, help=help_text)


def set_option(help_text: str) -> Callable[[_Command], _Command]:
    """`--set` of a subcommand that trains."""
    return click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help=help_text)


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a subcommand that reads labelled photographs.

    The subcommand gets `--data`, `--csv` and `--cache` by name, and `reading` for all that is said
    about the table's columns.
    """

    @functools.wraps(command)
    def with_reading(
        *,
        data: Path,
        csv_file: Path | None,
        image_column: str,
        label_columns: tuple[str, ...],
        group_column: str,
        layout: Literal["auto", "table", "folders"],
        **others: Any,
    ) -> None:
        folder, table = data_folder(data, csv_file)
        reading = TableReading(image_column, label_columns, group_column, layout)
        command(data=folder, csv_file=table, reading=reading, **others)

    # click lists the option that was added last first.
    decorated: Callable[..., None] = with_reading
    for option in reversed(_DATA_OPTIONS):
        decorated = option(decorated)
    return decorated


def data_folder(data: Path, csv_file: Path | None) -> tuple[Path, Path | None]:
    """The folder and the table of `--data` and `--csv`; a table for `--data` names its folder.

    Raises:
        UsageError: a file for `--data` that is no CSV, or a second table beside it.
    """
    if not data.is_file():
        return data, csv_file
    if data.suffix.lower() not in _TABLE_SUFFIXES:
        raise UsageError(f"--data {data} is a file: name the folder with its table and photographs")
    if csv_file is not None and csv_file.resolve() != data.resolve():
        raise UsageError(
            f"--data {data} and --csv {csv_file} are two tables: name the folder with --data"
        )
    return data.parent, data


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
    table = labelled_table(data, csv_file, reading)
    return source_cache(table, data, cache_folder, source_size)


def labelled_table(data: Path, csv_file: Path | None, reading: TableReading = AUTOMATIC) -> Table:
    """The table of a folder of labelled photographs; see `labelled_cache`."""
    with needs_extra("train", "reading labelled photographs"):
        from leafzoom.dataset.table import read_table

    table = read_table(data, csv_file, reading)
    echo_to_stderr(f"{table.csv}: {table.description}")
    for warning in table.warnings:
        echo_to_stderr(f"warning: {warning}")
    return table


def source_cache(table: Table, data: Path, cache_folder: Path | None, source_size: int) -> Cache:
    """The cache of a table's photographs; built if it does not exist yet.

    Raises:
        DataError: it cannot be used.
    """
    with needs_extra("train", "reading labelled photographs"):
        from leafzoom.dataset.cache import build_cache, default_cache_folder

    # The default folder depends on the size, so that caches of several sizes can coexist.
    folder = cache_folder or default_cache_folder(data, table.csv, source_size)
    return build_cache(table, folder, source_size, echo=echo_to_stderr)


def echo_to_stderr(line: str) -> None:
    """Print a line about progress, apart from the results on standard output."""
    click.echo(line, err=True)
