"""The admission of photos."""

from __future__ import annotations

import asyncio

import pytest

from leafzoom.serve.limits import Admission, BusyError


def test_admission_is_bounded_and_released() -> None:
    admission = Admission(4)
    admission.acquire(3)
    admission.acquire(1)
    assert admission.full
    with pytest.raises(BusyError):
        admission.acquire(1)

    admission.release(4)
    assert not admission.full
    assert admission.in_progress == 0


def test_any_count_is_admitted_where_nothing_is_in_progress() -> None:
    admission = Admission(4)
    admission.acquire(6)
    assert admission.in_progress == 6


def test_no_other_is_admitted_before_several_that_wait() -> None:
    async def check() -> None:
        admission = Admission(4)
        admission.acquire(2)
        waiting = asyncio.ensure_future(admission.acquire_many(6, timeout_s=60.0))
        await asyncio.sleep(0.03)
        with pytest.raises(BusyError):
            admission.acquire(1)

        admission.release(2)
        await waiting
        assert admission.in_progress == 6

    asyncio.run(check())


def test_several_that_wait_too_long_are_refused() -> None:
    async def check() -> None:
        admission = Admission(4)
        admission.acquire(6)
        with pytest.raises(BusyError):
            await admission.acquire_many(2, timeout_s=0.05)
        assert admission.in_progress == 6

        # The reservation has ended with them.
        admission.release(6)
        admission.acquire(1)

    asyncio.run(check())
