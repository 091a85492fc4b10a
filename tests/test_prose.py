"""How the documents read: short, in short sentences, with figures that are generated."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

from tools.text_figures import FIGURE

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

# Written by programs, or lists that are not read from start to end.
GENERATED = {
    *("recipes.md", "reference/cli.md", "reference/formats.md", "reference/http.md"),
    *("changelog.md", "reference/python.md", "tutorials/notebook.md"),
}
PAGES = [
    README,
    *(p for p in sorted(DOCS.rglob("*.md")) if str(p.relative_to(DOCS)) not in GENERATED),
]
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]

# Pages for those who work on leafzoom, or with much detail.
DENSE = {
    *("docs/benchmarks.md", "docs/dependencies.md", "docs/design.md", "docs/operate/security.md"),
    *("docs/orchard.md", "docs/review.md"),
}

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TABLE_OF_RESULTS = re.compile(r"<!-- (\w+) \S+ -->\n.*?<!-- end -->", re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?:    .*\n?)+", re.MULTILINE)
TAG = re.compile(r"<[^>]+>")
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
SENTENCE_END = re.compile(r"(?<=[.!?])[*)]*\s+(?=[^a-z])")
TYPED_FIGURE = re.compile(r"[+-]?\d+\.\d+|\d+(?:\.\d+)? %")

# Pages that name limits, versions and sections, but no measurement.
UNMEASURED = {
    "dependencies.md",
    "design.md",
    "python.md",
    "security.md",
    "serving.md",
    "upgrading.md",
}
MEASURED = [page for page in PAGES if page.name not in UNMEASURED]

# Numbers that are choices, not measurements: levels, aims, thresholds, examples, versions.
CHOICES = {
    *("95 %", "99 %", "80 %", "10 %", "6 %", "0.5", "0.2", "0.05"),
    *("0.3", "1.6", "2.5", "90 %", "3 %", "5 %"),
    *("3.11", "0.1", "0.2", "0.0", "127.0", "2.0", "4.0"),
}


def prose_of(page: Path) -> str:
    """A page's text without code, tables, pictures and comments."""
    text = page.read_text(encoding="utf-8")
    text = TABLE_OF_RESULTS.sub("", text)
    text = FIGURE.sub(r"\5", text)
    text = IMAGE.sub("", COMMENT.sub("", FENCED.sub("", text)))
    text = INDENTED.sub("", text)
    text = LINK.sub(r"\1", TAG.sub("", text))
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#"))]
    return "\n".join(lines)


def sentence_lengths(prose: str) -> list[int]:
    """Words of each sentence; items of lists are sentences of their own."""
    lengths = []
    for block in re.split(r"\n\s*\n|\n(?=[-\d]+[. ] ?)", prose):
        for sentence in SENTENCE_END.split(" ".join(block.split())):
            words = re.findall(r"[^\W_](?:[\w'.-]*\w)?", sentence)
            if len(words) > 1:
                lengths.append(len(words))
    return lengths


def words_of(page: Path) -> int:
    """What a reader reads, tables included."""
    text = FIGURE.sub(r"\5", page.read_text(encoding="utf-8"))
    text = COMMENT.sub("", FENCED.sub("", text))
    text = LINK.sub(r"\1", IMAGE.sub("", INDENTED.sub("", text)))
    return len(re.findall(r"[^\W_][\w'.-]*", text))


def ninetieth(lengths: list[int]) -> float:
    return statistics.quantiles(lengths, n=10, method="inclusive")[-1]


def test_sentences_are_counted() -> None:
    assert sentence_lengths("One two three. Four\nfive; six!\n\n- Eight nine\n- Ten eleven") == [
        3,
        3,
        2,
        2,
    ]


def test_the_readme_has_600_words_at_most() -> None:
    assert 300 < words_of(README) <= 600


def test_sentences_of_the_readme_are_short() -> None:
    lengths = sentence_lengths(prose_of(README))
    assert max(lengths) <= 20, lengths
    assert statistics.mean(lengths) <= 11


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_sentences_are_short(page: Path) -> None:
    lengths = sentence_lengths(prose_of(page))
    is_dense = str(page.relative_to(ROOT)) in DENSE
    if len(lengths) > 5:
        assert statistics.mean(lengths) <= (20 if is_dense else 15), statistics.mean(lengths)
        assert ninetieth(lengths) <= (32 if is_dense else 25), ninetieth(lengths)


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_in_sentences_are_generated(page: Path) -> None:
    """`python -m tools.tables` writes them between their marks; a typed one may become wrong."""
    text = FIGURE.sub("", page.read_text(encoding="utf-8"))
    text = TABLE_OF_RESULTS.sub("", text)
    text = INDENTED.sub("", FENCED.sub("", COMMENT.sub("", text)))
    text = LINK.sub(r"\1", IMAGE.sub("", re.sub(r"`[^`]*`", "", text)))
    typed = [figure.lstrip("+-") for figure in TYPED_FIGURE.findall(text)]
    assert [figure for figure in typed if figure not in CHOICES] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_only_the_history_shows_former_models(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = set(re.findall(r"<!-- (?:figure|\w+) ([\w/-]+)", text))
    former = {"coverage-predecessor", "first", "predecessor", "predecessor-run"}
    former |= {"confirm", "fair", "experiments/confirm", "experiments/fair"}
    assert page.name == "history.md" or not shown & former


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_no_line_starts_with_a_comment_within_a_sentence(page: Path) -> None:
    """Such a line would end the paragraph."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.lstrip().startswith("<!-- figure")] == []
