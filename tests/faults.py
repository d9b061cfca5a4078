"""Faults at a time or a place of the test's choice: an exception of a signal handler, and forks."""

from __future__ import annotations

import contextlib
import dis
import os
import signal
import sys
import threading
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


_TOOL = 4  # of sys.monitoring; no known tool takes it


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
        if sys.version_info >= (3, 12):
            self._start_monitoring()
        else:
            sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(_TOOL, sys.monitoring.events.NO_EVENTS)
            sys.monitoring.free_tool_id(_TOOL)
        else:
            sys.settrace(None)

    def _pass_point(self, frame: Any) -> None:
        """Counts a point; raises the exception if it is the one of the number."""
        if self.num_passed == self._index:
            name = frame.f_globals["__name__"]
            self.position = f"{name}:{frame.f_code.co_name}:{frame.f_lineno}"
            raise self._kind("of a signal handler")
        self.num_passed += 1

    def _is_of_modules(self, frame: Any) -> bool:
        name = frame.f_globals.get("__name__")
        return isinstance(name, str) and name.startswith(self._modules)

    def _trace(self, frame: Any, event: str, _: object) -> Any:
        """Begins or resumes a frame; returns the function for its instructions."""
        if self.position or not self._is_of_modules(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        points = _points(frame.f_code)
        last_offset = -1

        def trace_instruction(frame: Any, event: str, _: object) -> Any:
            nonlocal last_offset
            is_point = event == "opcode" and last_offset in points and not self.position
            last_offset = frame.f_lasti if event == "opcode" else -1
            if is_point:
                self._pass_point(frame)
            return trace_instruction

        return trace_instruction

    if sys.version_info >= (3, 12):
        # Python 3.12 and 3.13 trace no instruction of code that is traced for the first time

        def _start_monitoring(self) -> None:
            """Calls a function before every instruction of this thread in the modules."""
            monitoring = sys.monitoring
            thread = threading.get_ident()
            last_offsets: dict[int, int] = {}  # by identity: a frame that is kept keeps its locals

            def instruction(code: CodeType, offset: int) -> Any:
                frame = sys._getframe(1)
                if not self._is_of_modules(frame):
                    return monitoring.DISABLE
                if threading.get_ident() != thread or self.position:
                    return None
                last_offset = last_offsets.get(id(frame), -1)
                last_offsets[id(frame)] = offset
                if last_offset in _points(code) and offset not in _starts(code):
                    self._pass_point(frame)
                return None

            def forget(*_: object) -> None:
                last_offsets.pop(id(sys._getframe(1)), None)

            events = monitoring.events
            monitoring.use_tool_id(_TOOL, "interrupt")
            monitoring.register_callback(_TOOL, events.INSTRUCTION, instruction)
            monitoring.register_callback(_TOOL, events.RAISE, forget)
            monitoring.set_events(_TOOL, events.INSTRUCTION | events.RAISE)
            monitoring.restart_events()  # DISABLE of an interrupt before


@cache
def _points(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions after which handlers may run."""
    return frozenset(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME")
    )


@cache
def _starts(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions that begin or resume a frame."""
    resumes = (item.offset for item in dis.get_instructions(code) if item.opname == "RESUME")
    return frozenset((0, *resumes))


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
