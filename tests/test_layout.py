"""Imports go one way, without circles; every module says what it is and names its public parts."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tools.style import measure, nested_comprehensions, tuple_assignments

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "leafzoom"

# Each package imports from its left alone; those of one row do not import each other in a circle.
ORDER = [
    ["errors"],
    ["exif", "file_kinds", "fonts", "photo_file", "photo_archive", "photo_url", "source_size"],
    ["storage", "labels", "photo", "metrics", "drawing", "recipe", "streams"],
    ["own_pictures", "passed_over", "photo_files"],
    ["model_file"],
    ["dataset"],
    ["model"],
    ["fitting"],
    ["training"],
    ["inference"],
    ["orchard"],
    ["evaluation"],
    ["tuning"],
    ["web"],
    ["serve"],
    ["review"],
    ["demo"],
    ["commands"],
    ["cli", "__init__", "__main__"],
]
FILES = sorted(SOURCE.rglob("*.py"))
PROGRAM_FILES = [
    *sorted((ROOT / "tools").rglob("*.py")),
    *sorted((ROOT / "experiments").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))

# What `leafzoom --help` and a prediction without PyTorch import.
LIGHT = [
    "errors",
    "exif",
    "storage",
    "streams",
    "labels",
    "file_kinds",
    "fonts",
    "photo",
    "photo_archive",
    "photo_file",
    "photo_files",
    "photo_url",
    "own_pictures",
    "passed_over",
    "source_size",
    "metrics",
    "drawing",
    "cli",
    "model_file/bundled",
    "model_file/calibration",
    "model_file/checksum",
    "model_file/confusion",
    "model_file/manifest",
    "model_file/onnx_reader",
    "model_file/outputs",
    "model_file/paths",
    "inference/formats",
    "inference/index_page",
    "inference/journal",
    "inference/loading",
    "inference/network",
    "inference/photo_like",
    "inference/photo_list",
    "inference/prediction",
    "inference/predictor",
    "inference/prediction_sets",
    "inference/result_reader",
    "inference/results_folder",
    "inference/verdict",
    "orchard/drawings",
    "orchard/exports",
    "orchard/folder",
    "orchard/groups",
    "orchard/page",
    "orchard/pooled",
    "orchard/prevalence",
    "orchard/report",
    "orchard/workbook",
    "web/folder",
    "web/model",
    "web/runtime",
    "commands/drift",
    "commands/predict",
    "commands/serve",
    "commands/info",
]
HEAVY = {
    "torch",
    "timm",
    "lightning",
    "kornia",
    "sklearn",
    "scipy",
    "onnx",
    "pydantic",
    "safetensors",
    "matplotlib",
    "ray",
    "pyarrow",
    "fsspec",
}

MAX_FILE_LINES = 450
MIN_BLANK_SHARE = 0.06
MAX_COMPLEX_SHARE = 0.02


def name_of(path: Path) -> str:
    """A test's name for a file."""
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def rank(module: str) -> int:
    """The row of a top-level module or package in the order."""
    (row,) = [row for row, names in enumerate(ORDER) if module in names]
    return row


def imported_modules(tree: ast.AST) -> list[str]:
    """All modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.append(node.module or "")
    return names


def parse(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    own = rank(parts[0])
    for name in imported_modules(parse(path)):
        if name.startswith("leafzoom."):
            assert rank(name.split(".")[1]) <= own, f"{path} imports {name}, which is to its right"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions count too; those for type checking alone do not run."""
    modules = {module_of(path) for path in FILES}
    graph: dict[str, set[str]] = {}
    for path in FILES:
        tree = parse(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = [ast.Pass()]
        graph[module_of(path)] = modules.intersection(imported_modules(tree)) - {"leafzoom"}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' -> '.join(error.args[1])}") from None


@pytest.mark.parametrize("name", LIGHT)
def test_the_prediction_path_imports_nothing_heavy_at_its_top(name: str) -> None:
    tree = parse(SOURCE / f"{name}.py")
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = imported_modules(ast.Module(imports, []))
    assert not {module.split(".")[0] for module in names} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_name_their_public_parts(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree)
    if path.name == "__init__.py" and path.parent != SOURCE:
        return

    exported: list[str] = []
    public: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            exported = ast.literal_eval(node.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            public.add(node.name)
    assert public <= set(exported), f"not in __all__: {sorted(public - set(exported))}"


@pytest.mark.parametrize("path", [*FILES, *PROGRAM_FILES], ids=name_of)
def test_code_is_read_in_paragraphs(path: Path) -> None:
    """One thing a statement: no unrelated values assigned at once, no comprehension in another."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES

    tree = ast.parse(text)
    pairs = [node.lineno for node in tuple_assignments(tree)]
    assert not pairs, f"several values assigned at once in lines {pairs}"
    nested = [getattr(node, "lineno", 0) for node in nested_comprehensions(tree)]
    assert not nested, f"nested comprehensions in lines {nested}"


@pytest.mark.parametrize(
    "files", [FILES, PROGRAM_FILES, TEST_FILES], ids=["src", "programs", "tests"]
)
def test_the_code_has_room(files: list[Path]) -> None:
    style = measure(files)
    assert style.blank_body_lines / style.body_lines >= MIN_BLANK_SHARE
    assert style.complex_functions / style.functions <= MAX_COMPLEX_SHARE
    assert style.long_lines == 0


def test_tables_of_the_documents_come_from_results() -> None:
    """`python -m tools.tables` writes them; no figure is typed by hand."""
    subprocess.run([sys.executable, "-m", "tools.tables", "--check"], cwd=ROOT, check=True)
    assert "<!-- recognised " in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.endswith("tools/check")]
    assert len(commands) == 1
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -m 1 'tools/check$' README.md" in ci
    assert "tools/check --slow" in ci
