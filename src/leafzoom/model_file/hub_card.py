"""The model card of a model on a hub: its metadata block and its text, from the manifest alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leafzoom.errors import needs_extra
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.outputs import Framework

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["LICENCE_FILE", "model_card"]

LICENCE_FILE = "LICENSE"
"""The file beside the card that has the model's licence as a text."""

_TASK = "image-classification"
_LICENCE_NAME = "licence-of-its-photographs"

# Names of scores as hubs know them.
_METRIC_TYPES = {"micro_f1": "f1", "macro_f1": "f1", "top1": "accuracy"}
_METRIC_NAMES = {"micro_f1": "micro F1", "macro_f1": "macro F1", "top1": "top-1 accuracy"}
_NETWORKS: dict[Framework, str] = {
    "ra-cnn": "a recurrent attention CNN (RA-CNN)",
    "ma-cnn": "a multi-attention CNN (MA-CNN)",
    "cal": "a network of counterfactual attention learning (CAL)",
    "attention-sampling": "a network of attention sampling",
}
_LABEL_SCORE = "f1_"
_VALIDATION_PART = "inner-validation"


@dataclass(frozen=True)
class _Score:
    """One figure of the head that answers: on which part, which score, and its value."""

    part: str
    metric: str
    name: str
    value: float


def model_card(manifest: Manifest, file: str, address: str, *, datasets: Sequence[str] = ()) -> str:
    """The card, in Markdown with a metadata block in YAML.

    Args:
        manifest: of the model; every figure is one of its metrics.
        file: the model's name in the repository.
        address: of the repository, `hf://OWNER/NAME`.
        datasets: the hub's names of the data sets that it was trained on; the file does not know
            them.

    Raises:
        MissingExtraError: the extra `hub` is not installed.
    """
    with needs_extra("hub", "a model card"):
        from huggingface_hub import ModelCardData

    scores = list(_scores(manifest))
    metadata = ModelCardData(
        license="other",
        license_name=_LICENCE_NAME,
        license_link=LICENCE_FILE,
        library_name="leafzoom",
        pipeline_tag=_TASK,
        tags=["leafzoom", manifest.framework, file.rpartition(".")[2], "plant-pathology"],
        datasets=list(datasets) or None,
        metrics=list(dict.fromkeys(score.metric for score in scores)) or None,
        model_name=manifest.name if scores else None,
        eval_results=[_eval_result(score, manifest) for score in scores] or None,
    )
    text = "\n".join(_lines(manifest, scores, file, address))
    return f"---\n{metadata.to_yaml()}\n---\n\n{text}\n"


def _scores(manifest: Manifest) -> Iterator[_Score]:
    """The answering head's scores on the parts of the split."""
    for part, heads in manifest.part_scores.items():
        for key, value in heads.get(manifest.head, {}).items():
            if key.startswith(_LABEL_SCORE):
                label = key.removeprefix(_LABEL_SCORE).replace("_", " ")
                yield _Score(part, "f1", f"F1 of {label}", float(value))
            else:
                name = _METRIC_NAMES.get(key, key.replace("_", " "))
                yield _Score(part, _METRIC_TYPES.get(key, key), name, float(value))


def _eval_result(score: _Score, manifest: Manifest) -> EvalResult:
    """A score as an entry of the card's model index."""
    from huggingface_hub import EvalResult

    # The data set has no name of its own: its table's digest says which one it is.
    table = str(manifest.data.get("csv", "a table of photographs"))
    return EvalResult(
        task_type=_TASK,
        dataset_type="image-table",
        dataset_name=table,
        dataset_split=score.part,
        dataset_revision=manifest.data.get("table"),
        metric_type=score.metric,
        metric_name=score.name,
        metric_value=score.value,
    )


def _lines(manifest: Manifest, scores: Sequence[_Score], file: str, address: str) -> Iterator[str]:
    """The card's text."""
    looks = _NETWORKS[manifest.framework]
    yield f"# {manifest.name}"
    yield ""
    yield (
        f"A leafzoom model: {looks} of {manifest.scales} looks, views of {manifest.input_size} px "
        f"from sources of {manifest.source_size} px. Made by leafzoom {manifest.leafzoom_version}, "
        f"in format {manifest.format_version}."
    )
    yield ""
    yield "```python"
    yield "import leafzoom"
    yield ""
    yield f'model = leafzoom.load("{address}@REVISION/{file}")'
    yield 'print(model.predict("leaf.jpg").summary)'
    yield "```"
    yield from _label_lines(manifest)
    yield from _score_lines(manifest, scores)
    yield from _origin_lines(manifest)


def _label_lines(manifest: Manifest) -> Iterator[str]:
    """The labels, with their thresholds where they have some."""
    yield ""
    yield "## Labels"
    yield ""
    decision = manifest.decisions[manifest.head]
    if manifest.labels.single_label:
        yield f"One of: {', '.join(f'`{name}`' for name in manifest.labels.names)}."
        return

    yield "| label | threshold |"
    yield "|---|---|"
    for name, threshold in zip(manifest.labels.names, decision.thresholds, strict=True):
        yield f"| `{name}` | {threshold:.3f} |"


def _score_lines(manifest: Manifest, scores: Sequence[_Score]) -> Iterator[str]:
    """The scores of the head that answers."""
    yield ""
    yield "## Scores"
    yield ""
    if not scores:
        yield "The file has none."
        return
    if manifest.holds_nothing_out:
        yield "Nothing was held out: these are scores on photographs that it was trained on."
        yield ""
    elif any(score.part.startswith(_VALIDATION_PART) for score in scores):
        yield (
            f"`{_VALIDATION_PART}` is the validation part: its photographs chose the epoch and "
            "fitted fusions and decisions. Out of fold, the fits had not seen the photograph."
        )
        yield ""

    yield "| photographs | score | value |"
    yield "|---|---|---|"
    for score in scores:
        yield f"| {score.part} | {score.name} | {score.value:.4f} |"


def _origin_lines(manifest: Manifest) -> Iterator[str]:
    """What it was trained on and with, and its licence."""
    yield ""
    yield "## Training"
    yield ""
    yield from _json_block("Data", manifest.data)
    yield from _json_block("Recipe", manifest.recipe)
    yield "## Licence"
    yield ""
    yield manifest.licence


def _json_block(title: str, content: dict[str, Any]) -> Iterator[str]:
    """An object, folded away."""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield "```json"
    yield json.dumps(content, indent=1, ensure_ascii=False)
    yield "```"
    yield ""
    yield "</details>"
    yield ""
