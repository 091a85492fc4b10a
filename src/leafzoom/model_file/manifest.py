"""A model file's metadata: labels, decisions, preprocessing, recipe, data, figures, licence.

The same JSON is in the metadata of a `.safetensors` checkpoint and of an `.onnx` model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from leafzoom.errors import LeafzoomError, ModelError
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.calibration import ConformalCalibration, Reference
from leafzoom.model_file.confusion import Confusion
from leafzoom.model_file.outputs import BACKBONE_HEAD, Framework, look_heads
from leafzoom.photo import PREPROCESSING

__all__ = [
    "FORMAT_VERSION",
    "LICENCE",
    "METADATA_KEY",
    "PICTURES_KEY",
    "Manifest",
    "possible_source_sizes",
]

# Keys of `metrics`: files keep the names that parts had before version 0.2.
_INNER = "inner"
_FORMER_PARTS = {"inner-select": "inner-validation", "inner-report": "inner-test"}

FORMAT_VERSION = 2
"""The newest format that is read. Models of several labels are written in format 1."""

METADATA_KEY = "leafzoom"
PICTURES_KEY = "pictures"
"""In `metrics`: {kind of picture: how many, and the shares of the verdicts}."""

LICENCE = (
    "Weights trained on the Plant Pathology 2021 competition's photographs are for research and "
    "non-commercial use; weights trained on other photographs follow those. The code is Apache-2.0."
)

_OPTIONAL_ENTRIES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "conformal": ConformalCalibration.from_json,
    "reference": Reference.from_json,
    "confusion": Confusion.from_json,
}
"""How entries that older files lack are read."""

_FIRST_FORMAT = 1
_SINGLE_LABEL_FORMAT = 2
_USUAL_SOURCE_SIZES = (256, 1024)  # the least and the greatest side
_LEAST_VARIABLE_SIZE = 64
_MAX_SIZE_PX = 8192
_MAX_SCALES = 9
_MAX_QUOTE = 40  # characters of a wrong value in a message


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model file's metadata.

    `source_size`: side in pixels of the sources that it was trained with. `input_size`: of views.
    `max_source_size`: the greatest side of a source, which larger photos get
    (`prediction.max_source_size`); in older files the same as `source_size`. `decisions`:
    {head: Decision}. `head`: the one whose answer `predict` gives; by default the last decision's,
    as in files without this entry, and "" without decisions. `recipe`: every value. `data`: what it
    was trained on (photographs by part, digest). `metrics`: {part: {head: {name: value}}}.
    `early_exit`: from which confidence on scale 1's answer can replace that of all scales; None if
    this was not fitted. `conformal`: what sets of possible answers are made of; `reference`: what
    answers to the validation part look like; `confusion`: how often they are which; all three of
    `head`, and None in older files. `framework`: `ra-cnn`, as in older files, `ma-cnn`, whose
    `scales` are the whole and the parts, or `cal`, of the whole and a
    crop, or `attention-sampling`, of the whole and patches.
    `format_version`: 2 of single labels, else 1.

    Raises:
        ModelError: a value of the wrong type or range; a head whose thresholds or interactions do
            not fit the labels; a confusion of other combinations; a `head` without a decision.
    """

    labels: LabelSet
    source_size: int
    input_size: int
    scales: int
    decisions: dict[str, Decision]
    head: str = ""
    recipe: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    name: str = "unnamed"
    preprocessing: str = PREPROCESSING
    licence: str = LICENCE
    early_exit: float | None = None
    max_source_size: int = 0
    conformal: ConformalCalibration | None = None
    reference: Reference | None = None
    confusion: Confusion | None = None
    framework: Framework = "ra-cnn"
    leafzoom_version: str = ""
    format_version: int = 0

    def __post_init__(self) -> None:
        # Older files name no head: the last decision's gives the answer.
        if not self.head:
            last_head = next(reversed(self.decisions), "")
            object.__setattr__(self, "head", last_head)

        # A softmax over classes is what earlier versions cannot read.
        if not self.format_version:
            version = _SINGLE_LABEL_FORMAT if self.labels.single_label else _FIRST_FORMAT
            object.__setattr__(self, "format_version", version)

        if not self.max_source_size:
            object.__setattr__(self, "max_source_size", self.source_size)

        self._check_sizes()
        self._check_types()
        self._check_decisions()

    @property
    def network_heads(self) -> tuple[str, ...]:
        """The heads of the network: all but the plain backbone's."""
        return tuple(head for head in self.decisions if head != BACKBONE_HEAD)

    @property
    def part_scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """{part: {head: {score: value}}} of the split's parts, by the names they have today."""
        scores = {}
        for key, heads in self.metrics.items():
            if key.startswith(_INNER):
                part = key
                for former, present in _FORMER_PARTS.items():
                    part = part.replace(former, present)
                scores[part] = heads
        return scores

    @property
    def holds_nothing_out(self) -> bool:
        """Whether the training held no photograph out (`train --select-on none`)."""
        return self.data.get("select_on") == "none"

    @property
    def look_heads(self) -> tuple[str, ...]:
        """The heads of the single looks, one a box, the whole photo first."""
        return look_heads(self.scales, self.framework)

    def to_json(self) -> str:
        """One line of JSON; what is no text, as in the name of a folder, is escaped."""
        content = asdict(self)
        if not self.labels.single_label:
            del content["labels"]["single_label"]
        text = json.dumps(content, ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """The manifest that `to_json` wrote.

        Args:
            text: the JSON. Entries that `Manifest` lacks are ignored: a later leafzoom may add some
                to the same format.
            where: the file's name, for errors.

        Raises:
            ModelError: not a manifest, or one of a newer format.
        """
        try:
            content = json.loads(text)
            version = content["format_version"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(
                f"{where} is no leafzoom model: its metadata cannot be read"
            ) from error

        # Nothing else is judged before the version: a newer format may look quite different.
        is_number = isinstance(version, int) and not isinstance(version, bool)
        if not is_number or version > FORMAT_VERSION:
            raise ModelError(
                f"{where} has model format {version} and this leafzoom reads up to "
                f"{FORMAT_VERSION}: update leafzoom"
            )

        # Entries of later versions are dropped, and `__post_init__` checks the rest.
        try:
            known = {key: content[key] for key in content if key in cls.__dataclass_fields__}
            known["labels"] = _labels_from_json(content["labels"])
            known["decisions"] = {
                head: _decision_from_json(value) for head, value in content["decisions"].items()
            }
            for key, read in _OPTIONAL_ENTRIES.items():
                if known.get(key) is not None:
                    known[key] = read(known[key])
            return cls(**known)
        except LeafzoomError as error:
            raise ModelError(
                f"{where} has damaged metadata ({error}): export the model again"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{where} has incomplete metadata ({error}): export the model again"
            ) from error

    def _check_sizes(self) -> None:
        greatest_values = {
            "source_size": _MAX_SIZE_PX,
            "input_size": _MAX_SIZE_PX,
            "max_source_size": _MAX_SIZE_PX,
            "scales": _MAX_SCALES,
        }
        for key, greatest in greatest_values.items():
            value = getattr(self, key)
            if not isinstance(value, int) or not 1 <= value <= greatest:
                quote = str(value)[:_MAX_QUOTE]
                raise ModelError(f"{key} is a whole number from 1 to {greatest}, not {quote}")

    def _check_types(self) -> None:
        texts = (self.name, self.licence, self.preprocessing)
        if not all(isinstance(text, str) for text in texts):
            raise ModelError("name, licence and preprocessing are texts")

        objects = (self.recipe, self.data, self.metrics)
        if not all(isinstance(value, dict) for value in objects):
            raise ModelError("recipe, data and metrics are objects")

        if self.framework not in get_args(Framework):
            quote = str(self.framework)[:_MAX_QUOTE]
            known = " or ".join(get_args(Framework))
            raise ModelError(f"framework is {known}, not {quote}")

        confidence = self.early_exit
        if confidence is None:
            return
        if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
            quote = str(confidence)[:_MAX_QUOTE]
            raise ModelError(f"early_exit is a probability, not {quote}")

    def _check_decisions(self) -> None:
        label_count = len(self.labels.names)
        combination_count = len(self.labels.combinations)
        for head, decision in self.decisions.items():
            thresholds = len(decision.thresholds)
            needed = 0 if self.labels.single_label else label_count
            if thresholds != needed:
                raise ModelError(
                    f"head {head} has {thresholds} thresholds for {label_count} labels"
                    f"{', which exclude each other' if not needed else ''}"
                )

            # Older models have no interactions.
            interactions = len(decision.interactions)
            if interactions not in (0, combination_count):
                raise ModelError(
                    f"head {head} has {interactions} interactions for {combination_count} "
                    "combinations of labels"
                )

        confused = self.confusion.combinations if self.confusion else combination_count
        if confused != combination_count:
            raise ModelError(
                f"the confusion is of {confused} combinations of labels and the model has "
                f"{combination_count}"
            )

        if self.head and self.head not in self.decisions:
            quote = str(self.head)[:_MAX_QUOTE]
            raise ModelError(f"the head of the answer, {quote}, has no decision")


def possible_source_sizes(source_size: int, input_size: int) -> range:
    """The sides of sources that a network takes which was trained with one side.

    A network of very small sources takes that side alone.

    Args:
        source_size: that it was trained with, in pixels.
        input_size: V, of views.

    >>> sizes = possible_source_sizes(256, 224)
    >>> sizes[0], sizes[-1]
    (256, 1024)
    """
    if source_size < _LEAST_VARIABLE_SIZE:
        return range(source_size, source_size + 1)
    least, greatest = _USUAL_SOURCE_SIZES
    first = min(source_size, max(least, input_size))
    return range(first, max(source_size, greatest) + 1)


def _labels_from_json(content: Mapping[str, Any]) -> LabelSet:
    names = tuple(content["names"])
    combinations = tuple(tuple(row) for row in content["combinations"])
    single_label = content.get("single_label", False)  # models of several labels have no entry
    if not isinstance(single_label, bool):
        raise TypeError("single_label is true or false")
    return LabelSet(names, combinations, single_label)


def _decision_from_json(content: Mapping[str, Any]) -> Decision:
    thresholds = tuple(content["thresholds"])
    interactions = tuple(content.get("interactions", ()))
    lapse_rate = content.get("lapse_rate", 0.0)  # older models have none
    return Decision(thresholds, content["temperature"], interactions, lapse_rate)
