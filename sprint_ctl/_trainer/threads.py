"""Starting threads where exceptions of signal handlers may come at any point."""

from __future__ import annotations

import _thread
import threading

__all__ = ["start_threads"]


def start_threads(*threads: threading.Thread) -> None:
    """Starts threads, as many as the system has; raises RuntimeError if these are not all.

    An exception of a signal handler in the middle of ``Thread.start`` is lost, or the thread dies
    before it runs. So the main thread, where handlers run, leaves that to another thread.
    """
    errors: list[BaseException] = []
    is_over: list[bool] = []
    done = _thread.allocate_lock()
    done.acquire()

    def start() -> None:
        try:
            for thread in threads:
                thread.start()
        except BaseException as error:
            errors.append(error)
        finally:
            is_over.append(True)
            done.release()

    if threading.current_thread() is not threading.main_thread():
        start()
    elif threads:
        _thread.start_new_thread(start, ())
        try:
            done.acquire()
        except BaseException:
            if not is_over:
                done.acquire()  # which threads have started is known after that
            raise
    if errors:
        raise errors[0]
