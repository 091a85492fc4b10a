"""A result's commit, with a mark where files differ from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import provenance

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of two folders."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for folder in ("src", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("committed")

    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "First"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_commit_without_changes_has_no_mark(checkout: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.commit("src", "docs"))
    assert provenance.commit().startswith(provenance.short_commit("src"))


def test_changes_below_the_given_paths_are_marked(checkout: Path) -> None:
    (checkout / "src" / "file").write_text("changed")
    assert provenance.commit("src").endswith("+")
    assert provenance.short_commit("docs", "src").endswith("+")
    assert not provenance.commit("docs").endswith("+")
    assert not provenance.commit().endswith("+")
    assert provenance.changes("src") == " M src/file\n"


def test_untracked_files_count_only_where_asked(checkout: Path) -> None:
    (checkout / "src" / "new").touch()
    assert not provenance.commit("src").endswith("+")
    assert provenance.changes("src") == ""
    assert provenance.changes("src", untracked=True) == "?? src/new\n"


def test_the_machine_can_be_stored_as_json() -> None:
    machine = json.loads(json.dumps(provenance.machine()))
    assert list(machine) == ["platform", "cores"]
    assert machine["cores"] == os.cpu_count()
