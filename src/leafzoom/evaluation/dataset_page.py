"""The page of `prepare`: the paper's figures 1 and 2, near-duplicates, problems.

The page loads no other file.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain, islice, zip_longest
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from leafzoom.dataset.audit import NearDuplicate
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.figures import bars
from leafzoom.storage import write_text

__all__ = ["combination_counts", "write_dataset_page"]

_BATCH_PHOTOGRAPHS = 24
_MAX_PAIRS = 24
_MAX_PROBLEMS = 200

_THUMBNAIL_HEIGHT_PX = 150
_MAX_THUMBNAIL_WIDTH_PX = 450
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class _Thumbnail:
    """A photograph as a data URI, with its name, its labels and its row of the CSV."""

    image: str
    image_name: str
    labels: str
    line: int


@dataclass(frozen=True)
class _Pair:
    """Two near-duplicates; `is_conflicting`: their labels differ."""

    photographs: tuple[_Thumbnail, _Thumbnail]
    is_conflicting: bool
    correlation: str


def combination_counts(label_sets: Sequence[Sequence[str]]) -> dict[str, int]:
    """How often each combination of labels occurs, the most frequent first, its labels sorted.

    >>> combination_counts([["b", "a"], ["a", "b"], []])
    {'a b': 2, '': 1}
    """
    counts = Counter(" ".join(sorted(labels)) for labels in label_sets)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def write_dataset_page(cache: Cache, pairs: Sequence[NearDuplicate], path: Path) -> None:
    """Write the page.

    Args:
        cache: of every photograph that can be read; its table lists the rows that cannot.
        pairs: near-duplicates, as indices into the cache.
        path: of the page.

    Raises:
        LeafzoomError: the page cannot be written.
    """
    # How often each label, and each combination of labels, occurs.
    table = cache.table
    label_counts = Counter(chain.from_iterable(row.labels for row in table.rows))
    combinations = combination_counts([row.labels for row in table.rows])

    # Pairs whose labels differ come first.
    shown_pairs = sorted(pairs, key=lambda pair: not pair.conflicting(table))[:_MAX_PAIRS]

    page = _template().render(
        csv=table.csv.name,
        photographs=len(table),
        labels=len(label_counts),
        combinations=len(combinations),
        duplicates=len(pairs),
        conflicts=sum(pair.conflicting(table) for pair in pairs),
        label_figure=_label_figure(label_counts),
        combination_figure=_combination_figure(combinations),
        batch=[_thumbnail(cache, row) for row in _mixed_batch(cache)],
        pairs=[_pair(cache, pair) for pair in shown_pairs],
        problems=table.problems[:_MAX_PROBLEMS],
        problem_count=len(table.problems),
        counts=[(_readable(name), count) for name, count in combinations.items()],
    )
    write_text(path, page)


def _template() -> jinja2.Template:
    source = resources.files("leafzoom.evaluation") / "dataset_page.html"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(source.read_text(encoding="utf-8"))


def _label_figure(counts: Counter[str]) -> str | None:
    """Figure 1; None without labels."""
    return bars(dict(counts.most_common()), "By label") if counts else None


def _combination_figure(counts: dict[str, int]) -> str | None:
    """Figure 2; None without photographs."""
    if not counts:
        return None

    # `ring_spot scab` becomes `ring_spot + scab`.
    named_counts = {name.replace(" ", " + ") or "no label": count for name, count in counts.items()}
    return bars(named_counts, "By combination of labels")


def _mixed_batch(cache: Cache) -> list[int]:
    """Rows drawn at random, the combinations of labels in turn, the most frequent first."""
    # In random order, so that the page shows more than the top of the table.
    shuffled = np.random.default_rng(0).permutation(len(cache.table.rows))
    rows_by_combination: dict[tuple[str, ...], list[int]] = {}
    for row in shuffled:
        combination = tuple(sorted(cache.table.rows[row].labels))
        rows_by_combination.setdefault(combination, []).append(int(row))

    # A turn takes one row of each combination that still has one.
    groups = sorted(rows_by_combination.values(), key=len, reverse=True)
    turns = chain.from_iterable(zip_longest(*groups))
    rows = (row for row in turns if row is not None)
    return list(islice(rows, _BATCH_PHOTOGRAPHS))


def _pair(cache: Cache, pair: NearDuplicate) -> _Pair:
    return _Pair(
        photographs=(_thumbnail(cache, pair.first), _thumbnail(cache, pair.second)),
        is_conflicting=pair.conflicting(cache.table),
        correlation=f"{pair.correlation:.3f}",
    )


def _thumbnail(cache: Cache, row: int) -> _Thumbnail:
    """A photograph of the cache in its own proportions, at most three times as wide as high."""
    photo_width, photo_height = (int(side) for side in cache.photo_sizes[row])
    width = round(_THUMBNAIL_HEIGHT_PX * photo_width / photo_height)
    width = max(1, min(_MAX_THUMBNAIL_WIDTH_PX, width))

    # The source is square; its photo need not be.
    source = Image.fromarray(np.asarray(cache.sources[row]))
    content = io.BytesIO()
    thumbnail = source.resize((width, _THUMBNAIL_HEIGHT_PX))
    thumbnail.save(content, "JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")

    table_row = cache.table.rows[row]
    return _Thumbnail(
        image=f"data:image/jpeg;base64,{encoded}",
        image_name=table_row.image_name,
        labels=_readable(" ".join(sorted(table_row.labels))),
        line=table_row.line,
    )


def _readable(combination: str) -> str:
    """A combination of labels for people: `ring_spot scab` becomes `ring spot + scab`."""
    return combination.replace(" ", " + ").replace("_", " ") or "no label"
