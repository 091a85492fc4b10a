"""What `prepare` found, as one page that needs nothing else: the paper's figures 1 and 2, duplicates, problems."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from leafzoom.dataset.audit import NearDuplicate
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.figures import bars
from leafzoom.storage import write_text

__all__ = ["combination_counts", "write_dataset_page"]

_BATCH = 24
_PAIRS = 24
_PROBLEMS = 200
_HEIGHT = 150


def combination_counts(label_sets: Sequence[Sequence[str]]) -> dict[str, int]:
    """How often each combination of labels occurs, the most frequent first; labels of one are sorted.

    >>> combination_counts([["b", "a"], ["a", "b"], []])
    {'a b': 2, '': 1}
    """
    counts = Counter(" ".join(sorted(labels)) for labels in label_sets)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def write_dataset_page(cache: Cache, pairs: Sequence[NearDuplicate], path: Path) -> None:
    """Write the page.

    Args:
        cache: of every photograph that can be read; its table knows the rows that cannot.
        pairs: near-duplicates, as indices into the cache.
        path: of the page.

    Raises:
        LeafzoomError: the page cannot be written.
    """
    table = cache.table
    labels = Counter(label for row in table.rows for label in row.labels)
    combinations = combination_counts([row.labels for row in table.rows])
    shown = sorted(pairs, key=lambda pair: not pair.conflicting(table))[:_PAIRS]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string(
        (resources.files("leafzoom.evaluation") / "dataset_page.html").read_text(encoding="utf-8")
    )
    page = template.render(
        csv=table.csv.name,
        photographs=len(table),
        labels=len(labels),
        combinations=len(combinations),
        duplicates=len(pairs),
        conflicts=sum(pair.conflicting(table) for pair in pairs),
        label_figure=bars(dict(labels.most_common()), "By label") if labels else None,
        combination_figure=bars(
            {name.replace(" ", " + ") or "no label": count for name, count in combinations.items()},
            "By combination of labels",
        )
        if combinations
        else None,
        batch=[_photograph(cache, row) for row in _one_of_each(cache)],
        pairs=[
            {
                "two": [_photograph(cache, pair.first), _photograph(cache, pair.second)],
                "conflicting": pair.conflicting(table),
                "correlation": f"{pair.correlation:.3f}",
            }
            for pair in shown
        ],
        problems=[{"row": p.line, "image": p.image, "what": p.what} for p in table.problems[:_PROBLEMS]],
        problem_count=len(table.problems),
        counts=[
            (name.replace(" ", " + ").replace("_", " ") or "no label", count) for name, count in combinations.items()
        ],
    )
    write_text(path, page)


def _one_of_each(cache: Cache) -> list[int]:
    """Rows of a batch in which every combination of labels takes turns, drawn at random."""
    order = np.random.default_rng(0).permutation(len(cache.table.rows))
    by_combination: dict[tuple[str, ...], list[int]] = {}
    for row in order:
        by_combination.setdefault(tuple(sorted(cache.table.rows[row].labels)), []).append(int(row))
    groups = sorted(by_combination.values(), key=len, reverse=True)
    most = max(map(len, groups), default=0)
    turns = (rows[turn] for turn in range(most) for rows in groups if turn < len(rows))
    return [row for row, _ in zip(turns, range(_BATCH), strict=False)]


def _photograph(cache: Cache, row: int) -> dict[str, Any]:
    """A thumbnail of the photograph's own proportions, its name, labels and row of the CSV."""
    width, height = (int(side) for side in cache.photo_sizes[row])
    size = (max(1, min(3 * _HEIGHT, round(_HEIGHT * width / height))), _HEIGHT)
    content = io.BytesIO()
    Image.fromarray(np.asarray(cache.sources[row])).resize(size).save(content, "JPEG", quality=80)
    listed = cache.table.rows[row]
    return {
        "picture": "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii"),
        "image": listed.image,
        "labels": " + ".join(sorted(listed.labels)).replace("_", " ") or "no label",
        "row": listed.line,
    }
