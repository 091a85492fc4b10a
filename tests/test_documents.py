"""What the documents name exists: links, paths, commands, the order of packages, settings."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

import leafzoom
from leafzoom.cli import cli
from test_layout import ORDER
from tools import recipe_reference, reference

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "weights", "experiments", "tools", "benchmarks", ".github")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)
DOCUMENT_IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# The changelog names files of former versions.
PRESENT_DOCUMENTS = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
PRESENT_DOCUMENT_IDS = [str(path.relative_to(ROOT)) for path in PRESENT_DOCUMENTS]

# First parts of the paths that readers have, or that commands write.
READERS_FOLDERS = {
    *("RUN", "RUNS", "RESULTS", "demo", "klrc", "runs", "shared", "train_images"),
    *("checked", "diagnoses", "diagnosis", "my-leaves", "orchard", "report"),
}

FENCED_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE_NAME = re.compile(r"[\w-]+\.(py|md|toml|cff|yaml)")
MODULE_COMMAND = re.compile(r"python -m ((?:tools|experiments|benchmarks)\.\w+)")
CODE_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE_PATH = re.compile(r"\.{0,2}[\w-][\w.-]*(/[\w.-]+)+/?|[\w-]+/")


def prose_of(document: Path) -> str:
    """A document without its fenced blocks of code."""
    return FENCED_BLOCK.sub("", document.read_text(encoding="utf-8"))


def is_a_readers_path(text: str) -> bool:
    """Whether a path is one of a reader's own files."""
    first_folder = text.removeprefix("../").split("/")[0]
    return first_folder in READERS_FOLDERS or "NAME" in text


def exists(text: str, document: Path) -> bool:
    """Whether a path leads somewhere from the repository, the package or the document's folder."""
    roots = (ROOT, ROOT / "src" / "leafzoom", document.parent)
    return any((root / text).exists() for root in roots)


def commands_in(document: Path) -> list[list[str]]:
    """The calls of `leafzoom` in blocks of code, as arguments."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    calls = []
    for line in text.splitlines():
        if not line.startswith("    "):
            continue
        for command in line.split("&&"):
            is_usage = "[OPTIONS]" in command
            if is_usage or not command.strip().startswith("leafzoom "):
                continue
            words = shlex.split(command.partition(">")[0], comments=True)
            if words[:1] == ["leafzoom"]:
                calls.append(words[1:])
    return calls


@pytest.mark.parametrize("document", DOCUMENTS, ids=DOCUMENT_IDS)
def test_links_within_the_repository_exist(document: Path) -> None:
    targets = LINK.findall(prose_of(document))
    relative = [target for target in targets if not target.startswith(("http", "#"))]
    missing = [
        target for target in relative if not (document.parent / target.partition("#")[0]).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", PRESENT_DOCUMENTS, ids=PRESENT_DOCUMENT_IDS)
def test_paths_in_backticks_exist(document: Path) -> None:
    codes = INLINE_CODE.findall(prose_of(document))
    paths = [code for code in codes if FILE_PATH.fullmatch(code) and not is_a_readers_path(code)]
    missing = [path for path in paths if not exists(path, document)]
    assert not missing


@pytest.mark.parametrize("document", PRESENT_DOCUMENTS, ids=PRESENT_DOCUMENT_IDS)
def test_files_in_backticks_exist_somewhere(document: Path) -> None:
    names = {
        path.name
        for folder in (ROOT / "src", ROOT / "tests", *(ROOT / name for name in FOLDERS))
        for path in folder.rglob("*.*")
    }
    names |= {path.name for path in ROOT.iterdir()}

    codes = INLINE_CODE.findall(prose_of(document))
    missing = [code for code in codes if FILE_NAME.fullmatch(code) and code not in names]
    assert not missing


@pytest.mark.parametrize("document", PRESENT_DOCUMENTS, ids=PRESENT_DOCUMENT_IDS)
def test_commands_parse(document: Path) -> None:
    for arguments in commands_in(document):
        if not arguments or arguments[0] == "COMMAND" or arguments[0].startswith("--"):
            continue
        with click.Context(cli) as context:
            command = cli.get_command(context, arguments[0])
        assert command is not None, arguments

        # Raises an error of usage if an option is unknown or an argument is missing.
        command.make_context(arguments[0], arguments[1:])


def test_the_readme_shows_commands() -> None:
    shown = {arguments[0] for arguments in commands_in(ROOT / "README.md")}
    assert {"serve", "demo", "prepare", "train", "evaluate"} <= shown


@pytest.mark.parametrize("document", PRESENT_DOCUMENTS, ids=PRESENT_DOCUMENT_IDS)
def test_modules_of_commands_exist(document: Path) -> None:
    named = set(MODULE_COMMAND.findall(document.read_text(encoding="utf-8")))
    missing = [name for name in named if not (ROOT / f"{name.replace('.', '/')}.py").is_file()]
    assert not missing


@pytest.mark.parametrize("document", PRESENT_DOCUMENTS, ids=PRESENT_DOCUMENT_IDS)
def test_blocks_of_python_and_json_are_whole(document: Path) -> None:
    for language, block in CODE_BLOCK.findall(document.read_text(encoding="utf-8")):
        if language == "python":
            compile(block, str(document), "exec")
        elif language == "json":
            json.loads(block)
        elif language == "toml":
            tomllib.loads(block)


def test_contributing_has_the_order_of_the_layout_test() -> None:
    rows = [[name for name in names if not name.startswith("__")] for names in ORDER]
    lines = "\n".join("    " + " ".join(names) for names in rows)
    assert f"\n\n{lines}\n\n" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reference.PAGES)
def test_reference_pages_are_those_of_the_program(name: str) -> None:
    """`python -m tools.reference` writes them."""
    page = ROOT / "docs" / "reference" / f"{name}.md"
    assert page.read_text(encoding="utf-8") == reference.PAGES[name]()


def test_the_recipes_page_is_that_of_the_recipes() -> None:
    """`python -m tools.recipe_reference` writes it."""
    page = recipe_reference.PAGE.read_text(encoding="utf-8")
    assert page == recipe_reference.reference()


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == leafzoom.__version__
    assert f"\nversion: {project['version']}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
    for name in ("Fantini", "Appendini"):
        assert f"family-names: {name}\n" in citation


def test_the_changelog_has_a_section_for_what_comes_next() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, _, released = changelog.partition("\n## 0.1.0\n")
    assert f"\n## [Unreleased]: {leafzoom.__version__.removesuffix('.dev0')}\n" in unreleased
    assert released
    for section in ("Added", "Changed", "Fixed"):
        assert f"\n### {section}\n" in unreleased


def test_hooks_before_a_commit_are_the_gates_of_the_checks() -> None:
    """They run in the active environment: none is downloaded."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (.*)", hooks) == ["local"]

    entries = re.findall(r"entry: (.*)", hooks)
    checks = (ROOT / "tools" / "check").read_text(encoding="utf-8")
    assert len(entries) == 3
    for entry in entries:
        assert entry in checks
