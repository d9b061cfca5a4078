"""Maps over threads: results in order, errors, interrupts, and the end of the interpreter."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from sprintcache._threads import batch_map, ordered_map
from tests.faults import Interrupt, in_fork
from tests.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def doubled(number: int) -> int:
    return 2 * number


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise ZeroDivisionError(f"at {number}")
    return number


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_are_in_order(num_threads: int) -> None:
    before = threading.active_count()
    for count in (0, 1, 2, 100):
        assert list(ordered_map(doubled, range(count), num_threads)) == [*range(0, 2 * count, 2)]
        assert batch_map(doubled, range(count), num_threads) == [*range(0, 2 * count, 2)]
    assert threading.active_count() == before


def test_an_error_of_an_item_comes_in_its_place() -> None:
    before = threading.active_count()
    results = ordered_map(fail_at_seven, range(100), 3)
    assert [next(results) for _ in range(7)] == [*range(7)]
    with pytest.raises(ZeroDivisionError, match="at 7"):
        next(results)
    assert list(results) == []
    assert threading.active_count() == before


def test_items_are_drawn_as_they_are_needed_and_the_rest_is_skipped() -> None:
    drawn: list[int] = []
    worked: list[int] = []
    results = ordered_map(worked.append, (drawn.append(n) or n for n in range(1000)), 2)  # type: ignore[func-returns-value]
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 8
    assert worked[:1] == [0]
    assert len(worked) <= 8


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_exception_at_any_point(kind: type[BaseException]) -> None:
    """It is raised as it is, and no thread is left."""

    def attempt(index: int) -> Interrupt:
        interrupt = Interrupt(kind, index, "sprintcache.", "threading", "concurrent")
        raised = ""
        results: list[int] = []
        try:
            with interrupt:
                results += ordered_map(doubled, range(5), 2)
        except kind as error:
            raised = str(error)
        assert raised == ("of a signal handler" if interrupt.position else ""), interrupt.position
        assert results == [0, 2, 4, 6, 8][: len(results)]
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
            assert not thread.is_alive(), interrupt.position
        return interrupt

    before = set(threading.enumerate())
    num_points = attempt(-1).num_passed
    assert num_points > 30
    for index in range(num_points):
        attempt(index)


@pytest.mark.parametrize("use", ["", "import os; os.fork()", "del results"])
def test_a_map_in_the_middle_at_the_end_of_the_interpreter(use: str) -> None:
    code = "from sprintcache._threads import ordered_map\n"
    code += f"results = ordered_map(str, range(1000), 3)\nprint(next(results))\n{use}\n"
    command: list[Any] = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=100, check=True)
    assert done.stdout.split() in ([b"0"], [b"0", b"0"])
    assert done.stderr == b""


def test_a_fork_waits_for_no_thread() -> None:
    results = ordered_map(doubled, range(1000), 2)
    next(results)
    assert in_fork(results.close) == 0  # type: ignore[attr-defined]
    assert [*results] == [*range(2, 2000, 2)]
