"""Misbehavior: faults such as crashes, hangs and invalid data at configured points.

``--*.fake.misbehave`` holds rules, separated by ``;``, of the form

    POINT:ACTION[:ARGUMENT][@SECONDS]

A point is ``start`` (before any module is loaded), ``import`` (before the first import), ``init``
(before the first ``init``), ``segment-N`` (before the N-th segment, from 1),
``done-N`` (after that segment), ``request-N`` (during the N-th request: a criterion or scores
computed, or a callback command other than version, version_number, help, init_criterion) or
``exit`` (all work done, or SystemExit); N may be ``*``. With ``@SECONDS`` another thread acts that
much later while Sprint continues, so ``request-2:signal:KILL@0.3`` dies between two requests.

========================= ========================================================================
``signal:NAME``           dies by this signal (no core file); STOP halts the process
``abort``                 the same as ``signal:ABRT``: what the real one does at exit after a run
                          with a Python layer
``code:N``                ends at once with this exit status, without finalization
``error:TEXT``            a critical error of Sprint: TEXT on stderr, status 1
``hang``                  waits for ever
``ignore:NAME``           ignores this signal from now on
``sleep:SECONDS``         answers late
``stdout:TEXT``           prints a line; so does ``stderr:TEXT``
``noise:KIB``             prints as much on stdout and on stderr
``garbage[:BYTES]``       writes that many random bytes, which begin no message, into the pipe to
                          the parent (``c2p_fd:N`` of ``pymod-config``)
``half``                  announces a message of 1000 bytes there, sends 10, and hangs
``close``                 closes the pipes to and from the parent
========================= ========================================================================
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import NoReturn

from sprintcache.errors import ConfigurationError

from .streams import write_stream

__all__ = ["Misbehavior"]

_POINT = re.compile(r"start|import|init|exit|(segment|done|request)-(\d+|\*)")
_RULE = re.compile(r"([a-z]+(?:-(?:\d+|\*))?):([a-z]+)(?::(.*?))?(?:@(\d*\.?\d+))?", re.DOTALL)
_ARGUMENTS = {  # pattern of the argument of an action
    **dict.fromkeys(("abort", "hang", "half", "close"), ""),
    **dict.fromkeys(("code", "noise"), r"\d+"),
    **dict.fromkeys(("signal", "ignore"), "|".join(s.name[3:] for s in signal.Signals)),
    **dict.fromkeys(("error", "stdout", "stderr"), ".*"),
    "garbage": r"\d*",
    "sleep": r"\d*\.?\d+",
}
_FOREVER = 1 << 20
_MESSAGE = 1000


@dataclass(frozen=True)
class _Rule:
    action: str
    argument: str
    delay: float


class Misbehavior:
    """The rules of one run, and how often each kind of point was reached."""

    def __init__(self, rules: str, module_config: str) -> None:
        """Reads the rules.

        Raises:
            ConfigurationError: for an invalid rule.
        """
        self._rules: dict[str, list[_Rule]] = {}
        self._reached: Counter[str] = Counter()
        self._pipes = {
            name: int(number) for name, number in re.findall(r"(c2p|p2c)_fd:(\d+)", module_config)
        }
        for text in filter(None, map(str.strip, rules.split(";"))):
            match = _RULE.fullmatch(text)
            if match is None or not _POINT.fullmatch(match[1]):
                raise ConfigurationError(f"fake.misbehave: {text!r} is not POINT:ACTION[:ARGUMENT]")
            rule = _Rule(match[2], match[3] or "", float(match[4] or 0))
            argument = _ARGUMENTS.get(rule.action)
            if argument is None or not re.fullmatch(argument, rule.argument):
                raise ConfigurationError(f"fake.misbehave: {text!r}: no such action or argument")
            self._rules.setdefault(match[1], []).append(rule)

    def at(self, point: str) -> None:
        """Applies the rules of a point; recurring points are counted."""
        if not self._rules:
            return
        points = [point]
        if point in ("segment", "done", "request"):
            self._reached[point] += 1
            points = [f"{point}-{self._reached[point]}", f"{point}-*"]
        elif self._reached[point]:
            return
        self._reached[points[0]] += 1
        for rule in [rule for name in points for rule in self._rules.get(name, ())]:
            action = getattr(self, f"_{rule.action}")
            if rule.delay:
                timer = threading.Timer(rule.delay, action, (rule.argument,))
                timer.daemon = True
                timer.start()
            else:
                action(rule.argument)

    def die(self, number: int) -> NoReturn:
        """Dies by a signal, without a core file."""
        import resource

        write_stream("stdout", "")
        write_stream("stderr", "")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        while True:  # a stopped process that was continued hangs
            time.sleep(_FOREVER)

    # ---- actions

    def _signal(self, name: str) -> None:
        self.die(signal.Signals[f"SIG{name}"])

    def _abort(self, _: str) -> None:
        self.die(signal.SIGABRT)

    def _code(self, status: str) -> None:
        os._exit(int(status))

    def _error(self, text: str) -> None:
        write_stream("stderr", f"<critical-error>{text}</critical-error>\nexiting...\n")
        os._exit(1)

    def _hang(self, _: str) -> None:
        while True:
            time.sleep(_FOREVER)

    def _ignore(self, name: str) -> None:
        signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN)

    def _sleep(self, seconds: str) -> None:
        time.sleep(float(seconds))

    def _stdout(self, text: str) -> None:
        write_stream("stdout", f"{text}\n")

    def _stderr(self, text: str) -> None:
        write_stream("stderr", f"{text}\n")

    def _noise(self, kib: str) -> None:
        line = "noise " * 10 + "noise"
        for _ in range(int(kib) * 1024 // len(line)):
            write_stream("stdout", f"{line}\n")
            write_stream("stderr", f"{line}\n")

    def _garbage(self, size: str) -> None:
        data = bytearray(os.urandom(int(size or 64)))
        data[4:5] = b"\xff"[: len(data[4:5])]  # where a pickle begins with 0x80
        _write_all(self._pipe(), bytes(data))

    def _half(self, _: str) -> None:
        _write_all(self._pipe(), _MESSAGE.to_bytes(4, "little") + b"0123456789")
        self._hang("")

    def _close(self, _: str) -> None:
        for number in self._pipes.values():
            os.close(number)

    def _pipe(self) -> int:
        if "c2p" not in self._pipes:
            raise ConfigurationError("fake.misbehave: no c2p_fd in pymod-config")
        return self._pipes["c2p"]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
