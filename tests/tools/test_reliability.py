"""Every promise has its tests, and their outcomes are counted."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tools import reliability

REPORT = """
<testsuite>
  <testcase classname="tests.test_disks" name="test_full[1]">
    <properties><property name="lines" value="4"/><property name="equal" value="True"/></properties>
  </testcase>
  <testcase classname="tests.test_disks" name="test_full[2]"><failure/></testcase>
  <testcase classname="tests.test_disks" name="test_empty"><skipped/></testcase>
  <testcase classname="tests.test_other" name="test_full"/>
</testsuite>
"""


@pytest.mark.parametrize("promise", reliability.PROMISES)
def test_every_promise_is_checked_by_tests_that_exist(promise: str) -> None:
    tests = [reliability.locate_test(name) for name in reliability.PROMISES[promise]]
    assert len(tests) == len(set(tests)) > 0


def test_a_test_that_was_renamed_is_named() -> None:
    with pytest.raises(ValueError, match="test_nothing_at_all has to be one test"):
        reliability.locate_test("test_nothing_at_all")


def test_outcomes_are_counted_by_test() -> None:
    cases = list(ElementTree.fromstring(REPORT).iter("testcase"))
    of_test = reliability.outcome_of("tests/test_disks.py::test_full", cases)
    assert of_test == {"passed": 1, "figures": {"1": {"lines": 4, "equal": True}}, "failed": 1}

    of_file = reliability.outcome_of("tests/test_disks.py", cases)
    assert of_file["skipped"] == 1
    missing = reliability.outcome_of("tests/test_disks.py::test_x", cases)
    assert missing == {"failed": "not run"}


def test_an_audit_without_pip_audit_says_so() -> None:
    result = reliability.audit("no-such-program")
    assert result["audited"] == 0
    assert result["why not"] == "pip-audit did not run: FileNotFoundError"
    assert result["command"].startswith("pip-audit -r constraints.txt")
