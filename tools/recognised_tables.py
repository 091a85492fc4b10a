"""What the file that ships recognises: from the confusion that it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.onnx_reader import read_onnx
from tools.markdown import Lines, Result, heading, row

__all__ = ["label_row", "recognised", "shipped_file"]

_NAMES = {
    "complex": "several diseases at once (`complex`)",
    "frog_eye_leaf_spot": "frog-eye leaf spot",
    "powdery_mildew": "powdery mildew",
}


def recognised(result: Result) -> Lines:
    """A row a label: how often an answer with it is right, and how often there is no answer.

    Args:
        result: that of the model that ships; its note says of which photographs.
    """
    _, manifest = read_onnx(bundled_model())
    if manifest.confusion is None:
        raise ValueError("the shipped model keeps no confusion: python -m tools.refit adds it")
    counts = manifest.confusion.matrix()
    members = np.array(manifest.labels.combinations, dtype=bool)

    lines = heading(("on the leaf", "right when it names this", "answers `unsure`"))
    for index, label in enumerate(manifest.labels.names):
        lines.append(row([_NAMES.get(label, label), *label_row(counts, members[:, index])]))
    lines.append(row(["**all leaves**", *_total(counts)]))

    part = result["metrics"]["dataset"]["split"]
    photographs = int(counts.sum())
    return [
        *lines,
        "",
        f"{photographs:,} photographs (`{part}`): not trained on, but used to end the training.",
    ]


def shipped_file(result: Result) -> Lines:
    """What the metadata of the file that ships say of it."""
    _, manifest = read_onnx(bundled_model())
    model = manifest.recipe["model"]
    megabytes = bundled_model().stat().st_size / 1e6
    facts = {
        "framework": f"`{manifest.framework}`, {manifest.scales} scales",
        "backbone": f"`{model['backbone']}`, a CNN for each scale",
        "views": f"{manifest.input_size} px",
        "source in training": f"{manifest.source_size} px",
        "source of photos": f"up to {manifest.max_source_size} px",
        "labels": ", ".join(f"`{name}`" for name in manifest.labels.names),
        "combinations of labels": str(len(manifest.labels.combinations)),
        "photographs trained on": f"{manifest.data['trained_on']:,}",
        "file": f"{megabytes:.0f} MB, format {manifest.format_version}",
        "SHA-256 of the network": f"`{result['model_digest']['network'][:16]}…`",
    }
    return [
        *heading(("of the file", "")),
        *(row([f"**{name}**", fact]) for name, fact in facts.items()),
    ]


def label_row(counts: NDArray[np.int64], has_label: NDArray[np.bool_]) -> Sequence[str]:
    """The share of answers with a label that are right about it, and of its leaves without answer.

    Args:
        counts: photographs by true combination and answer; the last two answers are `unsure` and
            `not_a_leaf` [C, C + 2].
        has_label: which combinations have the label [C].
    """
    answered = counts[:, :-2][:, has_label]
    right = answered[has_label].sum() / answered.sum()
    of_label = counts[has_label]
    unsure = of_label[:, -2].sum() / of_label.sum()
    return [f"{right:.0%}".replace("%", " %"), f"{unsure:.0%}".replace("%", " %")]


def _total(counts: NDArray[np.int64]) -> Sequence[str]:
    """The same of whole answers: all labels right."""
    answered = counts[:, :-2]
    right = np.trace(answered) / answered.sum()
    unsure = counts[:, -2].sum() / counts.sum()
    return [f"{right:.0%}".replace("%", " %"), f"{unsure:.0%}".replace("%", " %")]
