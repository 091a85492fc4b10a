"""`leafzoom info`: what a model file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from leafzoom.inference.devices import available_devices
from leafzoom.inference.loading import open_network
from leafzoom.labels import Decision
from leafzoom.model_file.manifest import PICTURES_KEY, Manifest
from leafzoom.model_file.paths import MODEL_VARIABLE

__all__ = ["info"]


@click.command()
@click.argument("model", default="bundled", envvar=MODEL_VARIABLE)
def info(model: str) -> None:
    """Show what MODEL is: labels, thresholds, recipe, figures, licence.

    MODEL is a run, an .onnx or .safetensors file, or hf://OWNER/NAME@REVISION; without it, the one
    of the variable LEAFZOOM_MODEL is shown, or the bundled one.

    \b
    Example: leafzoom info runs/first
    """
    manifest = open_network(model).manifest
    for line in _manifest_lines(manifest):
        click.echo(line)
    click.echo(f"devices of this machine's ONNX Runtime: {', '.join(available_devices())}")


def _manifest_lines(manifest: Manifest) -> Iterator[str]:
    """The manifest, for people."""
    yield (
        f"{manifest.name}: format {manifest.format_version}, "
        f"made by leafzoom {manifest.leafzoom_version}"
    )
    yield (
        f"source {manifest.source_size} px, views {manifest.input_size} px, {_looks_text(manifest)}"
    )
    yield from _decision_lines(manifest)

    # How the model was made, and how well it scored.
    yield f"data: {json.dumps(manifest.data)}"
    yield f"recipe: {json.dumps(manifest.recipe)}"
    yield from _metric_lines(manifest)
    yield from _picture_lines(manifest)
    yield f"licence: {manifest.licence}"


def _decision_lines(manifest: Manifest) -> Iterator[str]:
    """Labels with their thresholds, and what else was fitted for answers."""
    decision = manifest.decisions[manifest.head]
    if manifest.labels.single_label:
        yield f"classes: {', '.join(manifest.labels.names)}"
        yield f"the answer is the most probable class; temperature {decision.temperature:.3f}"
    else:
        yield from _threshold_lines(manifest, decision)

    # Models without a threshold for early exits always look at all scales.
    if manifest.early_exit is not None:
        yield (
            "--early-exit: the first look alone answers from a confidence of "
            f"{manifest.early_exit:.2f} on"
        )
    if manifest.conformal is not None:
        yield (
            f"--coverage: from {manifest.conformal.photographs} photographs, up to "
            f"{manifest.conformal.greatest_coverage:.4f}"
        )
    if manifest.reference is not None:
        yield f"leafzoom drift: compares with {manifest.reference.photographs} photographs"
    if manifest.confusion is not None:
        yield (
            "--group-by: shares are corrected by the confusion on "
            f"{manifest.confusion.photographs} photographs"
        )


def _threshold_lines(manifest: Manifest, decision: Decision) -> Iterator[str]:
    """A line a label with its threshold, then how many combinations are possible."""
    yield f"labels, with the thresholds of {manifest.head}:"
    for name, threshold in zip(manifest.labels.names, decision.thresholds, strict=True):
        yield f"  {name:<24} {threshold:.3f}"

    combinations = len(manifest.labels.combinations)
    yield f"{combinations} combinations of labels; temperature {decision.temperature:.3f}"


def _looks_text(manifest: Manifest) -> str:
    """What the network looks at."""
    if manifest.framework == "ma-cnn":
        return f"the whole and {manifest.scales - 1} parts (MA-CNN)"
    if manifest.framework == "cal":
        return "the whole and a crop (CAL)"
    if manifest.framework == "attention-sampling":
        return f"the whole and {manifest.scales - 1} patches (attention sampling)"
    return f"{manifest.scales} scales"


def _metric_lines(manifest: Manifest) -> Iterator[str]:
    """The scores on the parts of the split, a line a head."""
    if manifest.holds_nothing_out:
        yield "nothing was held out: these scores are of the photographs that it was trained on"
    for part, heads in manifest.part_scores.items():
        for head, scores in heads.items():
            values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
            yield f"{part} {head}: {values}"


def _picture_lines(manifest: Manifest) -> Iterator[str]:
    """The verdicts on kinds of pictures, a line a kind; older models have no such figures."""
    for kind, shares in manifest.metrics.get(PICTURES_KEY, {}).items():
        yield (
            f"pictures, {kind} ({shares['pictures']}): {shares['diagnosed']:.1%} diagnosed, "
            f"{shares['unsure']:.1%} unsure, {shares['not_a_leaf']:.1%} not a leaf"
        )
