"""A model as the app reads it: two graphs, and the decision as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from leafzoom import __version__
from leafzoom.errors import ModelError
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.source_sizes import source_sizes_of
from leafzoom.model_file.confusion import MAX_OOD_SCORE, MIN_CONFIDENCE
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_split import split_model
from leafzoom.model_file.onnx_subgraph import output_names, with_outputs
from leafzoom.model_file.outputs import (
    FIRST_EVIDENCE_BIAS_OUTPUT,
    FIRST_EVIDENCE_OUTPUT,
    FIRST_OOD_SCORE_OUTPUT,
    box_outputs,
    probability_outputs,
    scale_head,
)

__all__ = ["WebModel", "decision_of", "web_model"]

WebModel = tuple[dict[str, bytes], dict[str, Any]]
"""Files by name, and the description that the app reads."""

_FIRST_FILE = "first-look.onnx"
_SECOND_FILE = "closer-looks.onnx"
_WHOLE_FILE = "all-looks.onnx"


def web_model(path: Path) -> WebModel:
    """The files of a model, and its description.

    A model with an early exit becomes two graphs: the first look, and what goes on from it. Any
    other is one graph.

    Args:
        path: of an `.onnx` file that leafzoom exported.

    Raises:
        ModelError: it cannot be read, or its graph does not fit its metadata.
    """
    # Opened as for any prediction, so that a file that fails is refused here, not on a phone.
    network = OnnxNetwork(path)
    content, manifest = read_onnx(path)
    try:
        available = output_names(content)
        files, parts = _parts(content, manifest, available)
    except ValueError as error:
        raise ModelError(
            f"{path} is no ONNX model or is damaged ({error}): copy it again"
        ) from error

    sizes = source_sizes_of(network)
    description = {
        **decision_of(manifest),
        "source_sizes": {"least": sizes.least, "greatest": sizes.greatest},
        "maps": network.has_evidence,
        "parts": parts,
    }
    return files, description


def decision_of(manifest: Manifest) -> dict[str, Any]:
    """What an answer is made with, after the network: the page's module `decision.js` reads it."""
    heads = {head: asdict(manifest.decisions[head]) for head in manifest.network_heads}
    conformal = manifest.conformal
    return {
        "name": manifest.name,
        "labels": list(manifest.labels.names),
        "combinations": [list(row) for row in manifest.labels.combinations],
        "single_label": manifest.labels.single_label,
        "scales": manifest.scales,
        "framework": manifest.framework,
        "head": manifest.head,
        "look_heads": list(manifest.look_heads),
        "decisions": heads,
        "early_exit": manifest.early_exit,
        "conformal": None if conformal is None else asdict(conformal),
        "min_confidence": MIN_CONFIDENCE,
        "max_ood_score": MAX_OOD_SCORE,
        "licence": manifest.licence,
        "leafzoom": __version__,
    }


def _parts(
    content: bytes, manifest: Manifest, available: set[str]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The files of the graphs, and for each its name, what it reads and what it computes."""
    first = [
        *probability_outputs([scale_head(1)]),
        *box_outputs([scale_head(1)]),
        FIRST_OOD_SCORE_OUTPUT,
        FIRST_EVIDENCE_OUTPUT,
        FIRST_EVIDENCE_BIAS_OUTPUT,
    ]
    if manifest.early_exit is None or FIRST_OOD_SCORE_OUTPUT not in available:
        outputs = sorted(available)
        part = {"file": _WHOLE_FILE, "reads": [], "hands_on": [], "outputs": outputs}
        return {_WHOLE_FILE: with_outputs(content, outputs)}, [part]

    first = [name for name in first if name in available]
    second = sorted(available.difference(first))
    split = split_model(content, first, second)
    handed_on = list(split.handed_on)
    parts = [
        {"file": _FIRST_FILE, "reads": [], "hands_on": handed_on, "outputs": first},
        {"file": _SECOND_FILE, "reads": handed_on, "hands_on": [], "outputs": second},
    ]
    return {_FIRST_FILE: split.first, _SECOND_FILE: split.second}, parts
