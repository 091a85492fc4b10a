"""The photographs that an evaluation reads, and the split that a model was trained with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.paper_split import paper_split
from leafzoom.dataset.split import (
    INNER_PARTS,
    PRESENT_PARTS,
    Split,
    missing_file,
    present_name,
    read_split,
    splits_of_table,
)
from leafzoom.errors import DataError, UsageError

__all__ = ["evaluation_image_names", "split_of_model"]


def evaluation_image_names(
    cache: Cache,
    name_or_file: str,
    stored: Split | None,
    trained_with: str | None = None,
) -> tuple[str, ...]:
    """The photographs that an evaluation reads.

    Args:
        cache: of the data set.
        name_or_file: a part's name, or a file: a split in JSON (its test part, or its validation
            part where that is empty) or a text of one name a line.
        stored: the split of the evaluated run, which decides what the inner parts are.
        trained_with: the digest of the split that the model was trained with, where only that is
            known.

    Raises:
        UsageError: no part has this name, and no file.
        DataError: the table does not suit the part.
    """
    if name_or_file == "all":
        return cache.table.image_names
    if present_name(name_or_file) in INNER_PARTS:
        return _inner_image_names(cache, name_or_file, stored, trained_with)
    if name_or_file == "paper-train":
        return paper_split(cache.table)[0]
    if name_or_file == "paper-validation":
        validation = paper_split(cache.table)[1]
        if not validation:
            raise DataError(
                f"{cache.table.csv} has only the paper's training photographs: give Kaggle's full "
                "table for paper-validation"
            )
        return validation
    return cache.table.take(_image_names_of_file(Path(name_or_file))).image_names


def split_of_model(cache: Cache, stored: Split | None, trained_with: str | None) -> Split | None:
    """The split that a model was trained with, or None where it is not known.

    It is that of its run, or the table's `inner-train` or `all` split that has the digest.

    Args:
        cache: of the data set.
        stored: the split of the run, if it is there.
        trained_with: the split's digest in the model file, if it has one.
    """
    if stored or not trained_with:
        return stored

    # A table that cannot be split is not the one that the model was trained on.
    with suppress(DataError):
        for split in splits_of_table(cache):
            if split.digest() == trained_with:
                return split
    return None


def _inner_image_names(
    cache: Cache,
    part: str,
    stored: Split | None,
    trained_with: str | None,
) -> tuple[str, ...]:
    """The photographs of an inner part, of the split that the model was trained with."""
    # Without the run's own split, the digest tells which of the table's splits it was.
    splits = (stored,) if stored else splits_of_table(cache)
    matches = [split for split in splits if not trained_with or split.digest() == trained_with]
    if not matches:
        raise DataError(
            f"the model was trained with another split than {cache.table.csv} gives, so {part} may "
            "hold photographs that it was trained on: evaluate its run's folder, or name the "
            "photographs in a file"
        )

    split = matches[0]
    image_names = split.part(part)
    if not image_names:
        raise DataError(
            f"the model was trained with the split {split.name!r}, which has no photographs in "
            f"{part}: choose another part"
        )
    return cache.table.take(image_names).image_names


def _image_names_of_file(path: Path) -> tuple[str, ...]:
    """The photographs that a file names: a split in JSON, or a text of one name a line."""
    if path.suffix == ".json":
        split = read_split(path)
        image_names = split.test or split.validation
        if not image_names:
            raise DataError(
                f"the split {path} holds no photograph out, so there is none to evaluate on: name "
                "photographs in a text file, or give --split all"
            )
        return image_names
    if not path.is_file():
        raise UsageError(
            f"no split {str(path)!r}{missing_file(path)}: give a file or one of "
            f"{', '.join(PRESENT_PARTS)}"
        )

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the split {path} cannot be read as UTF-8 text ({error}): one name a line"
        ) from error

    # Blank lines are skipped, and a name that is there twice counts once.
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"the split {path} names no photograph: write one name a line")
    return tuple(names)
