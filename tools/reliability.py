"""Measure how little is lost, into results/reliability.json:
python -m tools.reliability [--kills N] [--pip-audit PROGRAM]

Kills trainings a hundred times (see tests/reliability/kill_and_resume.py), runs the tests that
check each promise, with the figures that they record, and asks pip-audit (of an environment of its
own) about constraints.txt. With --kills 0 nothing is killed, and the results of the last kills
stay, as do those of `tools.fuzz`. Takes about a quarter of an hour on two cores. Exits with 1 if a
promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path
from typing import Any

from tools.provenance import ROOT, commit, machine

__all__ = [
    "PROMISES",
    "audit",
    "kill_trainings",
    "locate_test",
    "main",
    "outcome_of",
    "parser",
    "run_tests",
]

_PACKAGES = ("torch", "lightning", "numpy", "safetensors", "onnxruntime", "pillow", "filelock")
_AUDIT_SECONDS = 300
_AUDIT_OPTIONS = (
    "-r",
    "constraints.txt",
    "--no-deps",
    "--disable-pip",
    "--progress-spinner",
    "off",
    "-f",
    "json",
)

PROMISES = {  # {what is promised: the test functions, or whole files, that check it}
    "resume equals the uninterrupted run, between epochs": [
        "test_resume_equals_an_uninterrupted_run",
    ],
    "files are written beside and renamed, and synced": [
        "test_a_rename_is_on_the_disk_before_anything_is_removed",
        "test_what_interrupted_writes_left_is_swept_away",
    ],
    "damaged checkpoints: detected, named, the one before used": [
        "test_a_damaged_state_is_named_and_the_one_before_it_used",
        "test_a_training_goes_on_from_the_state_before_a_damaged_one",
        "test_a_damaged_model_file_is_detected_and_named",
        "test_a_finished_run_whose_model_is_damaged_makes_it_again",
        "test_damaged_soft_labels_are_named_and_computed_again",
        "test_a_state_of_another_leafzoom_is_refused_clearly",
    ],
    "damaged caches: detected, named, built anew": [
        "test_a_cache_that_is_rebuilt_says_why",
        "test_any_bit_of_a_caches_index",
        "test_any_bit_of_a_caches_journal",
        "test_a_damaged_or_outdated_cache_is_rebuilt",
        "test_interrupted_build_resumes",
    ],
    "disk full, read-only folder": ["test_full_and_read_only_disks"],
    "a data loader that dies": [
        "test_a_process_that_decodes_and_dies_is_one_line_and_the_build_goes_on",
    ],
    "a dataset changed under a running training or between runs": [
        "test_pixels_that_change_under_a_running_training_stop_it",
        "test_photographs_or_labels_that_changed_between_runs_are_refused",
    ],
    "two trainings in one folder, two builders of one cache": [
        "test_two_trainings_in_one_folder",
        "test_two_builds_at_once",
    ],
    "NaN or infinite loss": [
        "test_weights_that_are_not_finite_are_never_saved",
        "test_an_apn_that_is_not_finite_stops_the_training",
        "test_a_loss_that_is_not_finite_names_its_photographs_and_keeps_the_last_good_weights",
        "test_a_loss_that_is_not_finite_stops_and_names_the_photographs",
        "test_a_batch_that_spoils_the_weights_stops_before_they_are_saved",
    ],
    "tables": [
        "tests/dataset/test_table.py",
        "test_problems_name_the_row",
        "test_rows_with_lost_labels_or_a_second_name_are_reported",
    ],
    "the same seed gives the same losses": [
        "test_the_same_seed_gives_the_same_run",
        "test_pinned_losses",
    ],
    "a model file of this version is opened by the next, a newer format is refused": [
        "tests/reliability/test_numbers.py",
    ],
    "dependencies justified, licensed, declared": [
        "test_every_dependency_is_justified_and_nothing_else_is",
        "test_its_licence_is_the_documented_one",
        "test_every_import_is_of_a_declared_dependency",
        "test_every_dependency_has_the_version_that_was_tested",
    ],
    "pretrained weights pinned by their hash": [
        "test_pretrained_weights_are_pinned_by_their_hash",
        "test_no_recipe_downloads_but_the_papers",
        "test_weights_that_cannot_be_had_name_the_choices",
    ],
    "hostile and odd inputs: an answer or one line": [
        "tests/reliability/test_odd_inputs.py",
        "tests/reliability/test_fuzz.py",
    ],
    "nothing phones home": [
        "test_the_watch_sees_python_and_native_code",
        "test_a_training_and_its_export_use_no_network",
        "test_a_diagnosis_uses_no_network",
    ],
}


def main() -> None:
    """Measure and write."""
    arguments = parser().parse_args()
    commit_at_start = commit()

    last = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    if arguments.kills:
        kills = {"commit": commit_at_start, **kill_trainings(arguments.kills, arguments.seed)}
    else:
        kills = last["kill and resume"]
    tests = run_tests()

    versions = {package: metadata.version(package) for package in _PACKAGES}
    result = {
        "name": "reliability",
        "command": f"python -m tools.reliability --kills {kills['kills']} --seed {kills['seed']}",
        "commit": commit_at_start,
        "leafzoom": metadata.version("leafzoom"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        "kill and resume": kills,
        "tests": tests,
        "advisories": audit(arguments.pip_audit),
    }

    # `python -m tools.fuzz` measures for longer, and by itself.
    if "fuzzing" in last:
        result["fuzzing"] = last["fuzzing"]
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)

    broken = [promise for promise, outcomes in tests.items() if _any_failed(outcomes)]
    broken += kills["wrong"]
    if broken:
        sys.exit(f"not as promised: {', '.join(broken)}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--pip-audit", default="pip-audit", help="the program, where it is not on the path"
    )
    options.add_argument("--out", type=Path, default=ROOT / "results" / "reliability.json")

    return options


# Kills.


def kill_trainings(kills: int, seed: int) -> dict[str, Any]:
    """The figures of tests/reliability/kill_and_resume.py, in a process of its own."""
    driver = ROOT / "tests" / "reliability" / "kill_and_resume.py"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kills.json"
        options = ["--kills", str(kills), "--seed", str(seed), "--out", str(out)]
        subprocess.run([sys.executable, str(driver), *options], check=False)
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


# Tests.


def locate_test(name: str) -> str:
    """What pytest calls a test function, or a file of tests: `FILE::FUNCTION` or `FILE`.

    Raises:
        ValueError: no file has it, or more than one.
    """
    if name.endswith(".py"):
        files = [ROOT / name] if (ROOT / name).is_file() else []
        suffix = ""
    else:
        definition = f"\ndef {name}("
        test_files = sorted((ROOT / "tests").rglob("test_*.py"))
        files = [path for path in test_files if definition in path.read_text(encoding="utf-8")]
        suffix = f"::{name}"

    if len(files) != 1:
        raise ValueError(f"{name} has to be one test below tests/, and there are {len(files)}")
    return files[0].relative_to(ROOT).as_posix() + suffix


def run_tests() -> dict[str, dict[str, dict[str, Any]]]:
    """Run the tests of all promises.

    Returns:
        {promise: {test: how many of its cases passed, failed or were skipped, and the figures that
        they recorded}}.
    """
    tests: dict[str, list[str]] = {}
    for promise, names in PROMISES.items():
        tests[promise] = [locate_test(name) for name in names]
    all_tests = [test for of_promise in tests.values() for test in of_promise]

    # pytest's report says what became of each case.
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1"]
        subprocess.run([*command, "--junitxml", str(report), *all_tests], cwd=ROOT, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))

    outcomes = {}
    for promise, of_promise in tests.items():
        outcomes[promise] = {test: outcome_of(test, cases) for test in of_promise}
    return outcomes


def outcome_of(test: str, cases: list[ElementTree.Element]) -> dict[str, Any]:
    """How many of a test's cases had which outcome, and the figures that they recorded.

    Args:
        test: `FILE::FUNCTION`, or `FILE` for all tests in it.
        cases: the `testcase` elements of pytest's JUnit report.
    """
    file, _, function = test.partition("::")
    module = file.removesuffix(".py").replace("/", ".")

    outcome: dict[str, Any] = {}
    for case in cases:
        name, _, parameters = case.get("name", "").partition("[")
        if case.get("classname") != module or function not in ("", name):
            continue

        # One of a parametrised test's cases, or of a file's.
        status = _status(case)
        outcome[status] = outcome.get(status, 0) + 1

        properties = list(case.iter("property"))
        if properties:
            label = parameters.removesuffix("]") or "all"
            figures = {entry.get("name"): _figure(entry.get("value", "")) for entry in properties}
            outcome.setdefault("figures", {})[label] = figures

    return outcome or {"failed": "not run"}


def _status(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def _figure(text: str) -> object:
    """A recorded value with its type; JUnit stores text."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def _any_failed(outcomes: dict[str, dict[str, Any]]) -> bool:
    return any(outcome.get("failed") for outcome in outcomes.values())


# Advisories.


def audit(program: str) -> dict[str, Any]:
    """What pip-audit knows about the versions in constraints.txt.

    pip-audit calls a package clean that it could not look up, so these are counted.

    Args:
        program: pip-audit's path.
    """
    shown_command = " ".join(["pip-audit", *_AUDIT_OPTIONS])
    try:
        finished = subprocess.run(
            [program, *_AUDIT_OPTIONS],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_AUDIT_SECONDS,
        )
        packages = json.loads(finished.stdout)["dependencies"]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        reason = f"pip-audit did not run: {type(error).__name__}"
        return {"command": shown_command, "audited": 0, "why not": reason}

    # What could not be looked up, and what is known about the others.
    skipped = [package for package in packages if "skip_reason" in package]
    advisories = {}
    for package in packages:
        if package.get("vulns"):
            identifiers = [advisory["id"] for advisory in package["vulns"]]
            advisories[f"{package['name']} {package['version']}"] = identifiers

    # The first reason stands for all.
    result = {
        "command": shown_command,
        "audited": len(packages) - len(skipped),
        "not audited": len(skipped),
        "found": advisories,
    }
    if skipped:
        result["why not"] = skipped[0]["skip_reason"]
    return result


if __name__ == "__main__":
    main()
