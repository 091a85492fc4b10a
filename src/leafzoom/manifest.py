"""What a model file says of itself: labels, decision, preprocessing, recipe, data, figures, licence.

The same JSON is in the metadata of a `.safetensors` checkpoint and of an `.onnx` model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from leafzoom.errors import LeafzoomError, ModelError
from leafzoom.labels import Decision, LabelSet
from leafzoom.photo import PREPROCESSING

__all__ = ["FORMAT_VERSION", "LICENCE", "METADATA_KEY", "Manifest"]

FORMAT_VERSION = 1
METADATA_KEY = "leafzoom"
LICENCE = (
    "Weights trained on the Plant Pathology 2021 competition's photographs are for research and non-commercial "
    "use; weights trained on other photographs follow those. The code is Apache-2.0."
)


@dataclass(frozen=True)
class Manifest:
    """A model file's metadata.

    `decisions`: {head: Decision}, the last head being the one that `predict` uses. `recipe`: every value.
    `data`: what it was trained on (photographs by part, digest). `metrics`: {part: {head: {name: value}}}.
    `early_exit`: the confidence from which on scale 1's answer may stand for all scales'; None where nobody knows.

    Raises:
        ModelError: a value that is none of its kind; a head whose thresholds or interactions don't fit the labels.
    """

    labels: LabelSet
    source_size: int
    input_size: int
    scales: int
    decisions: dict[str, Decision]
    recipe: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    name: str = "unnamed"
    preprocessing: str = PREPROCESSING
    licence: str = LICENCE
    early_exit: float | None = None
    leafzoom_version: str = ""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        sizes = {"source_size": (1, 8192), "input_size": (1, 8192), "scales": (1, 9)}
        for key, (least, most) in sizes.items():
            value = getattr(self, key)
            if not isinstance(value, int) or not least <= value <= most:
                raise ModelError(f"{key} is a whole number from {least} to {most}, not {str(value)[:40]}")
        if not all(isinstance(getattr(self, key), str) for key in ("name", "licence", "preprocessing")):
            raise ModelError("name, licence and preprocessing are texts")
        if not all(isinstance(getattr(self, key), dict) for key in ("recipe", "data", "metrics")):
            raise ModelError("recipe, data and metrics are objects")
        exits = self.early_exit
        if exits is not None and not (isinstance(exits, int | float) and 0 <= exits <= 1):
            raise ModelError(f"early_exit is a probability, not {str(exits)[:40]}")
        for head, decision in self.decisions.items():
            if len(decision.thresholds) != len(self.labels.names):
                raise ModelError(
                    f"head {head} has {len(decision.thresholds)} thresholds for {len(self.labels.names)} labels"
                )
            if decision.interactions and len(decision.interactions) != len(self.labels.combinations):
                raise ModelError(
                    f"head {head} has {len(decision.interactions)} interactions for {len(self.labels.combinations)} "
                    "combinations of labels"
                )

    @property
    def head(self) -> str:
        """The head whose answer counts: the fusion of all scales."""
        return next(reversed(self.decisions), "")

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """The manifest that `to_json` wrote; `where` names the file in errors.

        Raises:
            ModelError: not a manifest, or one of a newer format.
        """
        try:
            content = json.loads(text)
            version = content["format_version"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(f"{where} is no leafzoom model: its metadata cannot be read") from error
        if not isinstance(version, int) or isinstance(version, bool) or version > FORMAT_VERSION:
            raise ModelError(
                f"{where} has model format {version} and this leafzoom reads up to {FORMAT_VERSION}: update leafzoom"
            )
        try:
            labels = LabelSet(
                tuple(content["labels"]["names"]),
                tuple(tuple(row) for row in content["labels"]["combinations"]),
            )
            decisions = {
                head: Decision(tuple(value["thresholds"]), value["temperature"], tuple(value.get("interactions", ())))
                for head, value in content["decisions"].items()
            }
            return cls(**{**_known(content), "labels": labels, "decisions": decisions})
        except LeafzoomError as error:
            raise ModelError(f"{where} has damaged metadata ({error}): export the model again") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{where} has incomplete metadata ({error}): export the model again") from error


def _known(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that `Manifest` has; a later version of the same format may add others."""
    return {key: content[key] for key in content if key in Manifest.__dataclass_fields__}
