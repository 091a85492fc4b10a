"""What an orchard report holds: photos, the shares of diseases by group and day, what is counted.

Pages, tables and maps are made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leafzoom.exif import NO_EXIF, Exif
from leafzoom.inference.journal import JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import NOT_A_LEAF, UNSURE, Confusion
from leafzoom.model_file.manifest import Manifest
from leafzoom.orchard.groups import NO_DATE, Grouping, day_of
from leafzoom.orchard.prevalence import GroupAnswers, Share, estimate_shares

__all__ = ["GroupShares", "OrchardPhoto", "OrchardReport", "make_report", "printable"]

_HEALTHY = "healthy"


@dataclass(frozen=True)
class OrchardPhoto:
    """A photo of the orchard.

    Attributes:
        name: its path.
        picture: the file name of its diagnosis; None if it could not be read.
        verdict: of the prediction, or `failed`.
        labels: of the diagnosis.
        confidence: of the answer; None if it could not be read.
        exif: when, where and with what it was taken.
        groups: its group's name in each grouping.
    """

    name: str
    picture: str | None
    verdict: str
    labels: tuple[str, ...]
    confidence: float | None
    exif: Exif
    groups: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The diagnosis in words."""
        if self.verdict != "diagnosis":
            return {"unsure": "unsure", "not_a_leaf": "not a leaf"}.get(self.verdict, "unreadable")
        return " + ".join(self.labels).replace("_", " ") or "no label"

    @property
    def kind(self) -> str:
        """`diseased`, `healthy`, or the verdict that is no diagnosis."""
        if self.verdict != "diagnosis":
            return self.verdict
        return "diseased" if set(self.labels) - {_HEALTHY} else "healthy"


@dataclass(frozen=True)
class GroupShares:
    """What is known of a group.

    Attributes:
        by: the grouping.
        name: of the group.
        photos: of the group, in their order.
        shares: of leaves with each label.
    """

    by: str
    name: str
    photos: tuple[OrchardPhoto, ...]
    shares: tuple[Share, ...]

    def having(self, verdict: str) -> tuple[OrchardPhoto, ...]:
        """The photos with a verdict."""
        return tuple(photo for photo in self.photos if photo.verdict == verdict)

    def labelled(self, label: str) -> tuple[OrchardPhoto, ...]:
        """The photos that were diagnosed with a label."""
        return tuple(photo for photo in self.photos if label in photo.labels)

    @property
    def leaves(self) -> int:
        """How many photos were taken for leaves."""
        return len(self.having("diagnosis")) + len(self.having("unsure"))


@dataclass(frozen=True)
class OrchardReport:
    """A report of many photos.

    Attributes:
        model: its name.
        labels: the model's.
        groupings: their names, from the largest groups to the smallest.
        groups: of all groupings.
        days: the photos by day; empty if they are of fewer than two known days.
        photos: all.
        uncorrected: why shares are not corrected for what the model confuses; empty if they are.
        validation_photographs: that the confusion was counted on.
    """

    model: str
    labels: tuple[str, ...]
    groupings: tuple[str, ...]
    groups: tuple[GroupShares, ...]
    days: tuple[GroupShares, ...]
    photos: tuple[OrchardPhoto, ...]
    uncorrected: str
    validation_photographs: int


def make_report(
    entries: Iterable[JournalEntry],
    groupings: Sequence[Grouping],
    manifest: Manifest,
    *,
    uncorrected: str = "",
) -> OrchardReport:
    """Group the results of many photos, and estimate the shares of each group.

    Args:
        entries: the results.
        groupings: at least one.
        manifest: of the model that gave them.
        uncorrected: why the model's confusion is not that of these answers; "" if it is.
    """
    photos = tuple(_photo(entry, groupings) for entry in entries)
    confusion = None if uncorrected else manifest.confusion
    if confusion is None and not uncorrected:
        uncorrected = f"the model {manifest.name} does not hold its confusion"

    groups: list[GroupShares] = []
    for index, grouping in enumerate(groupings):
        names = [photo.groups[index] for photo in photos]
        groups += _group(grouping.by, photos, names, manifest.labels, confusion)

    # A trend needs two days; photos without a date have no place in it.
    dated = [photo for photo in photos if day_of(photo.exif) != NO_DATE]
    day_names = [day_of(photo.exif) for photo in dated]
    days: list[GroupShares] = []
    if len(set(day_names)) > 1:
        days = _group("day", dated, day_names, manifest.labels, confusion)

    return OrchardReport(
        model=manifest.name,
        labels=manifest.labels.names,
        groupings=tuple(grouping.by for grouping in groupings),
        groups=tuple(groups),
        days=tuple(days),
        photos=photos,
        uncorrected=uncorrected,
        validation_photographs=0 if confusion is None else confusion.photographs,
    )


def printable(text: str) -> str:
    """A path as text that UTF-8 can write; bytes that are no text become question marks."""
    return text.encode(errors="replace").decode()


def _photo(entry: JournalEntry, groupings: Sequence[Grouping]) -> OrchardPhoto:
    result = entry.result
    exif = NO_EXIF if isinstance(result, FailedPhoto) else result.exif
    groups = tuple(printable(grouping.group_of(result.photo, exif)) for grouping in groupings)
    name = printable(result.photo)
    if not isinstance(result, Prediction):
        return OrchardPhoto(name, None, "failed", (), None, exif, groups)
    return OrchardPhoto(
        name=name,
        picture=entry.picture,
        verdict=result.verdict,
        labels=result.labels,
        confidence=result.confidence,
        exif=exif,
        groups=groups,
    )


def _group(
    by: str,
    photos: Sequence[OrchardPhoto],
    names: Sequence[str],
    labels: LabelSet,
    confusion: Confusion | None,
) -> list[GroupShares]:
    """The groups in the order of their names, with numbers in them as numbers."""
    members: dict[str, list[OrchardPhoto]] = {}
    for photo, name in zip(photos, names, strict=True):
        members.setdefault(name, []).append(photo)

    groups = []
    for name in sorted(members, key=_natural_key):
        shares = estimate_shares(_answers(members[name], labels), labels, confusion)
        groups.append(GroupShares(by, name, tuple(members[name]), shares))
    return groups


def _natural_key(name: str) -> list[tuple[int, str]]:
    """A key by which row 9 comes before row 10.

    >>> sorted(["row 10", "row 9"], key=_natural_key)
    ['row 9', 'row 10']
    """
    key = []
    word = ""
    for character in [*name.lower(), ""]:
        if word and (not character or character.isdigit() != word[-1].isdigit()):
            key.append((int(word), "") if word.isdecimal() else (-1, word))
            word = ""
        word += character
    return key


def _answers(photos: Sequence[OrchardPhoto], labels: LabelSet) -> GroupAnswers:
    """How many photos got each answer."""
    combinations = [tuple(labels.decode(np.array(row))) for row in labels.combinations]
    counts = np.zeros(len(combinations) + 2, np.int64)
    for photo in photos:
        if photo.verdict == "diagnosis":
            counts[combinations.index(photo.labels)] += 1
        elif photo.verdict == "unsure":
            counts[UNSURE] += 1
        elif photo.verdict == "not_a_leaf":
            counts[NOT_A_LEAF] += 1
    return GroupAnswers(counts)
