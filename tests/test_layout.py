"""A file imports only from its left in DESIGN.md's order; every module says what it is and names its public parts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "leafzoom"
ORDER = [
    ["errors"],
    ["bundled", "checksum", "labels", "storage"],
    ["recipe"],
    ["photo"],
    ["manifest", "metrics"],
    ["onnx_file"],
    ["dataset"],
    ["model"],
    ["training"],
    ["inference"],
    ["evaluation"],
    ["serve"],
    ["demo"],
    ["cli", "__init__"],
]
FILES = sorted(SOURCE.rglob("*.py"))
TORCH_FREE = ["errors", "bundled", "checksum", "labels", "storage", "photo", "manifest", "metrics", "onnx_file",
              "cli", "inference/network", "inference/predictor", "inference/formats", "inference/picture",
              "inference/model_file", "inference/folder", "inference/verdict", "inference/console",
              "inference/index_page", "inference/journal"]  # fmt: skip
HEAVY = {"torch", "timm", "lightning", "kornia", "sklearn", "scipy", "onnx", "pydantic", "safetensors", "matplotlib"}


def rank(module: str) -> int:
    """The place of a top-level module or package in the order."""
    (place,) = [place for place, names in enumerate(ORDER) if module in names]
    return place


def imported(tree: ast.AST) -> list[str]:
    """All modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    own = rank(parts[0])
    for name in imported(ast.parse(path.read_text())):
        if name == "leafzoom":
            continue
        if name.startswith("leafzoom."):
            assert rank(name.split(".")[1]) <= own, f"{path} imports {name}, which is to its right"


@pytest.mark.parametrize("name", TORCH_FREE)
def test_the_prediction_path_imports_nothing_heavy_at_its_top(name: str) -> None:
    tree = ast.parse((SOURCE / f"{name}.py").read_text())
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not {module.split(".")[0] for module in imported(top)} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_name_their_public_parts(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    if path.name == "__init__.py" and path.parent != SOURCE:
        return
    exported: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            exported = ast.literal_eval(node.value)
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    commands = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    missing = public - set(exported) - (commands if path.name == "cli.py" else set())
    assert not missing, f"{path}: not in __all__: {sorted(missing)}"


def test_files_stay_readable() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 450, path


def test_tables_of_the_readme_come_from_results() -> None:
    """scripts/tables writes them; nobody types a figure."""
    root = SOURCE.parents[1]
    subprocess.run([sys.executable, root / "scripts" / "tables", "--check"], check=True)
    assert "<!-- table first -->" in (root / "README.md").read_text()
    assert "<!-- table " in (root / "README.md").read_text()


def test_ci_runs_the_readmes_test_command() -> None:
    root = SOURCE.parents[1]
    commands = [line for line in (root / "README.md").read_text().splitlines() if line.endswith("scripts/check")]
    assert len(commands) == 1
    assert "grep -m 1 'scripts/check$' README.md" in (root / ".ci" / "run").read_text()
