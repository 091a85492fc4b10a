"""Output formats that other distributions add, by the entry point group `leafzoom.formats`.

An entry point's name is the format's, and its object is a `FormatWriter`:

    [project.entry-points."leafzoom.formats"]
    lines = "my_package:write_lines"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TextIO

from leafzoom.errors import LeafzoomError
from leafzoom.inference.prediction import FailedPhoto, Prediction

__all__ = ["FormatWriter", "plugin_names", "plugin_writer"]

_GROUP = "leafzoom.formats"


class FormatWriter(Protocol):
    """A function that writes results in one format."""

    def __call__(
        self,
        results: Iterable[Prediction | FailedPhoto],
        out: TextIO,
        labels: Sequence[str],
        *,
        possible: bool,
    ) -> None:
        """Write results as they come; see `write_records`."""


def plugin_names() -> tuple[str, ...]:
    """The names of the formats that installed distributions add, sorted."""
    return tuple(sorted(entry_points(group=_GROUP).names))


def plugin_writer(name: str) -> FormatWriter:
    """The writer of a format that an installed distribution adds.

    Raises:
        LeafzoomError: there is none, or its module cannot be imported.
    """
    found = list(entry_points(group=_GROUP, name=name))
    if not found:
        raise LeafzoomError(f"no installed package adds the output format {name!r}: install it")

    entry = found[0]
    try:
        writer: FormatWriter = entry.load()
    except Exception as error:  # a module may fail in any way while it is imported
        raise LeafzoomError(
            f"the output format {name!r} of {_distribution(entry)} cannot be loaded "
            f"({type(error).__name__}: {error}): update the package, or choose another format"
        ) from error
    if not callable(writer):
        raise LeafzoomError(
            f"the output format {name!r} of {_distribution(entry)} is no function: update it"
        )
    return writer


def _distribution(entry: EntryPoint) -> str:
    """The name and version of the distribution that an entry point is of."""
    distribution = entry.dist
    return entry.value if distribution is None else f"{distribution.name} {distribution.version}"
