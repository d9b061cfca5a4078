"""What a Sprint process says about itself: versions, units, what of ours can be imported."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .python_control import PythonControl

__all__ = ["describe"]

_SEGMENTS = 3


def describe(control: PythonControl) -> dict[str, Any]:
    """The answer to ("describe",).

    Returns:
        pid; python, its version; python_path; numpy, its version; numpy_path; module_path, where
        this package lies; reader: None, or why the compiled module of `sprintcache` cannot be
        imported here; units: names of what has attached; interface_version; sprint: its version
        string; control_loop: whether one runs; segments: the first of the corpus, where known;
        num_segments.
    """
    callback = control.sprint_callback or control.callback
    segments = control.segments
    return {
        "pid": os.getpid(),
        "python": sys.version,
        "python_path": sys.prefix,
        "numpy": np.__version__,
        "numpy_path": os.path.dirname(np.__file__),
        "module_path": os.path.dirname(__file__),
        "reader": _reader(),
        "units": list(control.units),
        "interface_version": control.sprint_version_number,
        "sprint": None if callback is None else callback("version"),
        "control_loop": control.control_loop_started,
        "segments": None if segments is None else list(itertools.islice(segments, _SEGMENTS)),
        "num_segments": None if segments is None else len(segments),
    }


def _reader() -> str | None:
    try:
        importlib.import_module("sprintcache._reader")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
