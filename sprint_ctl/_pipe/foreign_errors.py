"""Exceptions of signal handlers, which Python runs in the middle of any code of the main thread.

Such an exception may be of any type: PyTorch's handler for workers that die raises a RuntimeError.
Code that catches a RuntimeError that it expects asks `is_foreign`, and lets one of a handler pass.
"""

from __future__ import annotations

__all__ = ["is_foreign"]

# our packages, and the modules in Python that they call where errors are expected
_PACKAGES = frozenset(("sprint_ctl", "sprintcache", "json", "numpy", "pickletools", "reprlib"))


def is_foreign(error: BaseException) -> bool:
    """Whether an exception comes from code that is not called from where it is caught."""
    traceback = error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] not in _PACKAGES:
            return True
        traceback = traceback.tb_next
    return False
