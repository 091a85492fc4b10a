"""Candidates are timed in turns, and compared round by round."""

from __future__ import annotations

import sys

import pytest

from benchmarks.timing import Timings, in_turns, median_and_range, process_seconds


def test_each_candidate_is_first_in_turn_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = in_turns(candidates, rounds=2, warm_up=1)
    assert "".join(calls) == "abbaab"
    assert {name: len(seconds) for name, seconds in timings.seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_the_same_round() -> None:
    """A machine that is ten times slower in one round changes no ratio."""
    timings = Timings({"ours": [1.0, 10.0, 1.0], "plain": [0.5, 5.0, 0.5]})
    ratio = timings.ratio("ours", "plain", 2)
    assert ratio == {"value": 1.0, "low": 1.0, "high": 1.0, "rounds": 3}
    assert timings.milliseconds("plain")["median_ms"] == 500.0
    assert timings.median("ours") == 1.0


def test_the_range_has_every_value() -> None:
    figures = median_and_range([3.0, 1.0, 2.04], 1)
    assert figures == {"value": 2.0, "lowest": 1.0, "highest": 3.0, "rounds": 3}


def test_a_command_that_fails_stops_the_benchmark() -> None:
    command = [sys.executable, "-S", "-c", "raise SystemExit('no such photo')"]
    with pytest.raises(RuntimeError, match="failed: no such photo"):
        process_seconds(command, rounds=1)
