"""Work that no exception of a signal handler may break off, and the start of threads.

Python runs signal handlers in the main thread, between any two instructions. An exception of one
just after a descriptor was opened, or in the middle of ``Thread.start``, would lose the descriptor
or the thread.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

__all__ = ["NoThreadError", "start_threads", "uninterrupted"]


class NoThreadError(RuntimeError):
    """Raised when the system has no further thread."""


def uninterrupted(function: Callable[[], object]) -> None:
    """Calls a function where no signal handler runs: from the main thread, in another thread.

    Raises what the function raises. An exception of a signal handler is raised instead, when the
    function is over; a further one at once.

    Raises:
        NoThreadError: the function was not called.
    """
    if threading.get_ident() != threading.main_thread().ident:
        function()
        return
    errors: list[BaseException] = []
    started: list[int] = []
    is_over: list[bool] = []
    done = _thread.allocate_lock()
    done.acquire()

    def call() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)
        finally:
            is_over.append(True)
            done.release()

    try:
        # in one step: no handler runs between the start and its record
        started.extend(map(_thread.start_new_thread, [call], [()]))
        done.acquire()
    except BaseException as error:
        if not started and isinstance(error, RuntimeError) and _is_raised_by_c(error):
            raise NoThreadError(str(error)) from None
        if started and not is_over:
            done.acquire()
        raise
    if errors:
        raise errors[0]


def _is_raised_by_c(error: BaseException) -> bool:
    """Whether a call of C has raised an exception, and not a signal handler in Python."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is None


def start_threads(*threads: threading.Thread) -> None:
    """Starts threads, as many as the system has.

    Raises:
        NoThreadError: these are not all.
    """

    def start() -> None:
        for thread in threads:
            try:
                thread.start()
            except RuntimeError as error:
                raise NoThreadError(str(error)) from None

    if threads:
        uninterrupted(start)
