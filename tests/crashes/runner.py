"""Runs scenarios in processes that die: reads commands as JSON lines, forks for each one.

Started with the library of write_faults.c preloaded, which kills the child or lets its calls fail.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from sprintcache.errors import SprintCacheError
from tests.crashes.scenarios import SCENARIOS, CommandError


def run(order: dict[str, Any]) -> None:
    """The child: runs a scenario in its folder, and writes its progress and errors into files."""
    signal.alarm(60)
    folder, notes = Path(order["folder"]), Path(order["notes"])
    os.chdir(folder)
    progress = os.open(notes / "progress", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    messages = os.open(notes / "messages", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    log = os.open(notes / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if order["record"] else -1
    os.dup2(messages, 1)
    os.dup2(messages, 2)
    library = ctypes.CDLL(None)
    library.faults_count.restype = ctypes.c_long
    library.faults_arm.argtypes = (
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_int,
    )
    library.faults_arm(os.fsencode(folder), order["mode"], order["index"], order["error"], log)
    status = 0

    def finished() -> None:
        if log >= 0:  # a marker: the number of calls so far
            os.write(progress, f"{os.lseek(log, 0, os.SEEK_CUR)}\n".encode())
        else:
            os.write(progress, b"\n")

    try:
        SCENARIOS[order["scenario"]].run(folder, finished)
    except (SprintCacheError, OSError) as error:
        os.write(messages, f"{type(error).__name__}: {error}\n".encode())
        status = 1
    except CommandError:
        status = 1
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        status = 3
    count = library.faults_count()
    sys.stdout.flush()
    sys.stderr.flush()
    (notes / "count").write_text(str(count))
    os._exit(status)


def warm_up(name: str) -> None:
    """Runs a scenario once here, so that no child imports what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        SCENARIOS[name].prepare(Path(folder))
        SCENARIOS[name].run(Path(folder), lambda: None)
        os.chdir("/")


def serve() -> None:
    """Runs one scenario for each line of stdin, and answers with the status of its process."""
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    warm = set()
    for line in sys.stdin:
        order = json.loads(line)
        if order["scenario"] not in warm:
            warm.add(order["scenario"])
            warm_up(order["scenario"])
        child = os.fork()
        if child == 0:
            run(order)
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
