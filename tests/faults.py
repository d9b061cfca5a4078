"""Faults at a time or a place of the test's choice: an exception of a signal handler, and forks."""

from __future__ import annotations

import contextlib
import dis
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType
from typing import Any

__all__ = [
    "Alarm",
    "Interrupt",
    "InterruptionError",
    "alarm",
    "in_fork",
    "start_fork",
    "wait_for_exit",
]


class InterruptionError(Exception):
    """Of a signal handler."""


class Alarm:
    """Whether the exception was raised, and whether Python ignored it.

    It does so if the handler runs in a finalizer or in a callback of a weak reference.
    """

    was_raised = False
    was_ignored = False


@contextlib.contextmanager
def alarm(seconds: float, kind: type[BaseException]) -> Iterator[Alarm]:
    """Raises an exception in the main thread after some time, unless the block is left before."""
    state = Alarm()
    error = kind("of a signal handler")
    armed = [True]

    def handler(*_: object) -> None:
        if armed:
            armed.clear()
            state.was_raised = True
            raise error

    def unraisable(ignored: Any) -> None:
        if ignored.exc_value is error:
            state.was_ignored = True
        else:
            previous_hook(ignored)

    previous_hook, sys.unraisablehook = sys.unraisablehook, unraisable
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield state
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sys.unraisablehook = previous_hook


class Interrupt:
    """Raises an exception where Python runs signal handlers: after calls, at starts and jumps back.

    Attributes:
        num_passed: how many such points of the modules were passed.
        position: module, function and line where the exception was raised, "" if it was not.
    """

    def __init__(self, kind: type[BaseException], index: int, *modules: str) -> None:
        """For the point of a number, in modules whose names begin so; none for -1."""
        self._kind = kind
        self._index = index
        self._modules = modules
        self.num_passed = 0
        self.position = ""

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: Any, event: str, _: object) -> Any:
        """Begins or resumes a frame; returns the function for its instructions."""
        name = frame.f_globals.get("__name__", "")
        if self.position or not name.startswith(self._modules):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        points = _points(frame.f_code)
        last_offset = -1

        def trace_instruction(frame: Any, event: str, _: object) -> Any:
            nonlocal last_offset
            is_point = event == "opcode" and last_offset in points and not self.position
            last_offset = frame.f_lasti if event == "opcode" else -1
            if is_point:
                if self.num_passed == self._index:
                    self.position = f"{name}:{frame.f_code.co_name}:{frame.f_lineno}"
                    raise self._kind("of a signal handler")
                self.num_passed += 1
            return trace_instruction

        return trace_instruction


@cache
def _points(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions after which handlers may run."""
    return frozenset(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME")
    )


def start_fork(task: Callable[[], object]) -> int:
    """The process of a fork, whose exit status is 0 if the task returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            task()
            status = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(status)
    return pid


def wait_for_exit(pid: int) -> int:
    """Exit status of a fork; -1 for one that is killed after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def in_fork(task: Callable[[], object]) -> int:
    """Exit status of a fork that runs the task."""
    return wait_for_exit(start_fork(task))
