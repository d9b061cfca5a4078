"""Embedding: loads Python modules, calls into them, and checks the results, as Sprint does.

Every call passes keywords only. Arrays are passed as copies: matrices (dimension, time) in Fortran
order. Results are accepted as RASR does (Python/Numpy): float32 or float64, aligned, in native byte
order, of the right number of dimensions, any strides.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .application import Application, CriticalError
from .streams import write_stream

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from sprintcache._configuration import Configuration

__all__ = ["Embedding", "capsule"]

_FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
_CAPSULE_NAME = b"Sprint.PythonControl.Internal"  # the capsule keeps a pointer to these bytes


class Embedding:
    """One component of Sprint with a Python module.

    Attributes:
        module: the module, or None before `load`.
        pymod_config: the string for the module.
    """

    def __init__(self, app: Application, component: str) -> None:
        self.app = app
        self.component = component
        self.module: Any = None
        self.pymod_config = ""

    def load(self, config: Configuration) -> None:
        """Imports ``pymod-name`` from ``pymod-path``."""
        self.pymod_config = config.string("pymod-config", "")
        self.load_module(config.string("pymod-path", ""), config.string("pymod-name", ""))

    def load_module(self, path: str, name: str) -> None:
        """Imports a module; inserts the folder at the front of sys.path, once per component."""
        if not name:
            raise CriticalError(f"{self.component}: need Python module name (pymod-name)")
        if path:
            sys.path.insert(0, path)
        self.app.misbehavior.at("import")
        self.module = self.guarded(
            f"cannot import module '{name}'", lambda: importlib.import_module(name)
        )

    def call(self, owner: Any, function: str, **arguments: Any) -> Any:
        """Calls a function or method by keyword; an exception ends Sprint."""
        try:
            return getattr(owner, function)(**arguments)
        except BaseException as error:
            self._fail(error, f"{function}() failed")

    def guarded(self, failure: str, action: Callable[[], Any]) -> Any:
        """Runs Python code as Sprint does: a traceback and a critical error for an exception."""
        try:
            return action()
        except BaseException as error:
            self._fail(error, failure)

    def _fail(self, error: BaseException, failure: str) -> NoReturn:
        if isinstance(error, (SystemExit, CriticalError)):
            raise error
        sys.excepthook(type(error), error, error.__traceback__)
        write_stream("stderr", "")
        raise CriticalError(f"{self.component}: {failure}") from error

    # ---- arrays

    def matrix(self, columns: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """A copy of (time, dimension) as Sprint passes it: (dimension, time) in Fortran order."""
        if not columns.shape[0]:
            self.app.terminate("a failed assertion: a matrix without columns")
        return np.array(columns.T, dtype=dtype, order="F", copy=True)

    def vector(self, values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        """A copy of a vector; an empty one kills the real Sprint, and this one."""
        if not len(values):
            self.app.terminate("std::out_of_range")
        return np.array(values, dtype=dtype, copy=True)

    def array(self, value: Any, ndim: int, label: str, exact: bool = False) -> NDArray[Any]:
        """A result of Python, or a critical error if Sprint does not accept it."""
        known = type(value) is np.ndarray if exact else isinstance(value, np.ndarray)
        description = type(value).__name__
        if known:
            sound = value.dtype in _FLOATS and value.flags.aligned
            if sound and value.ndim == ndim:
                return value  # type: ignore[no-any-return]
            description = f"{value.ndim} dimensions of {value.dtype}"
            description += "" if value.flags.aligned else ", misaligned"
        raise CriticalError(
            f"{self.component}: {label}: expected a NumPy array of {ndim} dimensions,"
            f" float32 or float64, found {description}"
        )


def capsule(identity: object) -> Any:
    """A PyCapsule, as the identity token that Sprint passes as ``reference``."""
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(id(identity), _CAPSULE_NAME, None)
