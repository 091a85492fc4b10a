"""Measure how the code reads: python -m tools.style [FOLDER ...]

Counts, over all Python files below the folders, what a review compared with other projects: blank
and comment lines, long lines, tuple assignments, nested comprehensions, and functions of a
cyclomatic complexity over 10. Takes seconds.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Style", "measure", "nested_comprehensions", "tuple_assignments"]

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "tools", "experiments", "benchmarks")

_MAX_COLUMNS = 100
_MAX_COMPLEXITY = 10

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Style:
    """Counts over some files; the shares are of `lines` or of `functions`."""

    lines: int
    body_lines: int
    blank_body_lines: int
    comment_lines: int
    long_lines: int
    tuple_assignments: int
    nested_comprehensions: int
    functions: int
    complex_functions: int

    def __str__(self) -> str:
        per_thousand = 1000 / max(self.lines, 1)
        blank = self.blank_body_lines / max(self.body_lines, 1)
        comments = self.comment_lines / max(self.lines, 1)
        long_lines = self.long_lines / max(self.lines, 1)
        pairs = self.tuple_assignments * per_thousand
        nested = self.nested_comprehensions * per_thousand
        complex_functions = self.complex_functions / max(self.functions, 1)

        rows = {
            "lines": f"{self.lines}",
            "blank lines inside bodies": f"{blank:.1%}",
            "comment lines": f"{comments:.1%}",
            "lines over 100 columns": f"{long_lines:.1%}",
            "`a, b = x, y` per 1,000 lines": f"{pairs:.1f}",
            "nested comprehensions per 1,000 lines": f"{nested:.1f}",
            "functions of complexity > 10": f"{complex_functions:.1%}",
        }
        return "\n".join(f"{name:<40}{value:>8}" for name, value in rows.items())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", default=FOLDERS, metavar="FOLDER")
    arguments = parser.parse_args()

    paths = [path for folder in arguments.folders for path in sorted((ROOT / folder).rglob("*.py"))]
    print(measure(paths))


def measure(paths: list[Path]) -> Style:
    """Count over some Python files."""
    totals = [0] * 9
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
        body_lines, blank_lines = _body_lines(text, functions)

        counts = (
            len(text.splitlines()),
            body_lines,
            blank_lines,
            _comment_lines(text),
            sum(len(line) > _MAX_COLUMNS for line in text.splitlines()),
            len(list(tuple_assignments(tree))),
            len(list(nested_comprehensions(tree))),
            len(functions),
            sum(_complexity(function) > _MAX_COMPLEXITY for function in functions),
        )
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    return Style(*totals)


def tuple_assignments(tree: ast.AST) -> Iterator[ast.Assign]:
    """Assignments of several values to several names at once, but for exchanges of values."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Tuple):
            continue
        names = sorted(ast.unparse(element) for element in target.elts)
        values = sorted(ast.unparse(element) for element in node.value.elts)
        if names != values:
            yield node


def nested_comprehensions(tree: ast.AST) -> Iterator[ast.AST]:
    """Comprehensions that contain another comprehension."""
    for node in ast.walk(tree):
        if isinstance(node, _COMPREHENSIONS):
            inner = [below for below in ast.walk(node) if below is not node]
            if any(isinstance(below, _COMPREHENSIONS) for below in inner):
                yield node


def _body_lines(
    text: str, functions: list[ast.FunctionDef | ast.AsyncFunctionDef]
) -> tuple[int, int]:
    """Lines of functions' bodies without their docstrings, and how many of these are blank."""
    lines = text.splitlines()
    inside: set[int] = set()
    for function in functions:
        statements = function.body
        if ast.get_docstring(function) is not None:
            statements = statements[1:]
        if statements:
            inside.update(range(statements[0].lineno, (function.end_lineno or 0) + 1))
    return len(inside), sum(not lines[number - 1].strip() for number in inside)


def _comment_lines(text: str) -> int:
    """Lines that hold a comment alone."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    return sum(token.line.strip().startswith("#") for token in comments)


def _complexity(function: ast.AST) -> int:
    """McCabe's cyclomatic complexity, functions inside counted with it."""
    branches = 1
    for node in ast.walk(function):
        if isinstance(node, _BRANCHES):
            branches += 1
        elif isinstance(node, ast.BoolOp):
            branches += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            branches += 1 + len(node.ifs)
    return branches


if __name__ == "__main__":
    main()
