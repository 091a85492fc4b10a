"""A list of results, with what notebooks do with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from leafzoom.errors import needs_extra
from leafzoom.inference.prediction import FailedPhoto, Prediction

if TYPE_CHECKING:
    import pandas

__all__ = ["Results"]

# Of every photo that could be read.
_PLAIN_COLUMNS = ("photo", "labels", "verdict", "likely", "confidence", "strangeness", "model")
_NESTED_KEYS = ("probabilities", "scales", "evidence")
_PROBABILITY_COLUMN = "probability_{label}"


class Results(list[Prediction | FailedPhoto]):
    """Predictions and failed photos in the order of the photos.

    It is a list in every way: `Results(model.predict_many("orchard/"))` reads a stream to its end.
    A slice of it is one too.
    """

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Prediction | FailedPhoto: ...

    @overload
    def __getitem__(self, index: slice, /) -> Results: ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> Prediction | FailedPhoto | Results:
        """A result, or the results of a slice."""
        found = super().__getitem__(index)
        return Results(found) if isinstance(found, list) else found

    def to_pandas(self) -> pandas.DataFrame:
        """A row a photo.

        The columns are the keys of `Prediction.to_dict`, without the scales and the evidence; then
        `probability_LABEL` for each label; then `error`, where a photo could not be read. What a
        row lacks is missing (NaN or None). Without a photo that could be read, no probabilities are
        known, and their columns are missing.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needs_extra("pandas", "to_pandas"):
            import pandas

        rows = [_row(result.to_dict()) for result in self]

        # The keys of the first result are not those of all: a failed photo has other ones.
        columns = dict.fromkeys([*_PLAIN_COLUMNS, *(key for row in rows for key in row)])
        columns.pop("error", None)
        return pandas.DataFrame(rows, columns=[*columns, "error"])


def _row(content: dict[str, Any]) -> dict[str, Any]:
    """A result's values that fit in a cell, by column."""
    row = {key: value for key, value in content.items() if key not in _NESTED_KEYS}
    probabilities = content.get("probabilities", {})
    return row | {
        _PROBABILITY_COLUMN.format(label=label): probability
        for label, probability in probabilities.items()
    }
