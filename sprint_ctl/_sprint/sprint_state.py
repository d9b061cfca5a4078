"""SprintState: what a Sprint process has handed to this module, and its answer to ("describe",)."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError

from .criterion import CRITERIA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SprintState"]

_NUM_DESCRIBED = 3  # segments


class SprintState:
    """Units, callbacks, segments; each is None where Sprint has not passed it.

    Attributes:
        units: names of the units of Sprint that use the module.
        interface_version: of Sprint's PythonControl.
        unit_callback: callback of a PythonControl.
        loop_callback: callback of the control loop.
        criterion: the one of the configuration.
        segments: names of the corpus, in Sprint's order.
    """

    def __init__(self) -> None:
        self.units: list[str] = []
        self.interface_version: int | None = None
        self.unit_callback: Callable[..., Any] | None = None
        self.loop_callback: Callable[..., Any] | None = None
        self.criterion: str | None = None
        self.segments: dict[str, None] | None = None

    def add_unit(
        self,
        name: str = "",
        sprint_unit: str | None = None,
        callback: Callable[..., Any] | None = None,
        version_number: int | None = None,
        min_version_number: int | None = None,
        config: Mapping[str, str] | None = None,
        **_: Any,
    ) -> None:
        """Records a unit, with the arguments of ``init`` and the parsed configuration string.

        Raises:
            ValueError: an unknown criterion.
            SprintError: a Sprint older than the minimum that the trainer accepts.
        """
        self.units.append(sprint_unit or name)
        criterion = (config or {}).get("criterion")
        if criterion is not None:
            if criterion not in CRITERIA:
                raise ValueError(f"criterion:{criterion}: one of {', '.join(CRITERIA)}")
            self.criterion = criterion
        if name != "Sprint.PythonControl":
            return
        if (version_number or 0) < (min_version_number or 0):
            raise SprintError(
                "this Sprint is too old",
                expected=f"interface version {min_version_number} or later",
                found=version_number,
            )
        self.interface_version = version_number
        if callback is not None:
            self.unit_callback = callback

    def criterion_callback(self) -> Callable[..., Any]:
        """The callback of a PythonControl; SprintError if there is none."""
        if self.unit_callback is None:
            raise SprintError("Sprint has passed no callback, which the criterion needs")
        return self.unit_callback

    def command(self, command: str, *args: Any) -> Any:
        """Calls a command of Sprint; SprintError without a callback."""
        if self.unit_callback is None:
            raise SprintError(
                f"{command} needs Sprint's callback, and in this mode Sprint has passed none:"
                " it requires --action=python-control"
            )
        return self.unit_callback(command, *args)

    def describe(self, *, control_loop: bool) -> dict[str, Any]:
        """The answer to ("describe",): what the doctor reports.

        ``reader`` is why the compiled module of `sprintcache` cannot be imported here, ``sprint``
        its version string, ``segments`` the first ones of the corpus; None where not known.
        """
        callback = self.unit_callback or self.loop_callback
        segments = self.segments
        return {
            "pid": os.getpid(),
            "python": sys.version,
            "python_path": sys.prefix,
            "numpy": np.__version__,
            "numpy_path": os.path.dirname(np.__file__),
            "module_path": os.path.dirname(__file__),
            "reader": _import_error(),
            "units": list(self.units),
            "interface_version": self.interface_version,
            "sprint": None if callback is None else callback("version"),
            "control_loop": control_loop,
            "segments": None if segments is None else [*itertools.islice(segments, _NUM_DESCRIBED)],
            "num_segments": None if segments is None else len(segments),
        }


def _import_error() -> str | None:
    try:
        importlib.import_module("sprintcache._reader")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
