"""The module that Sprint loads: PythonControl, segment order and Python layer in one process.

Names and keywords are Sprint's (sprint-interface.md, sections 1, 4 and 6). It needs the
standard library and numpy, Python 3.8 or newer, and does nothing on import. The trainer's end is
`sprint_ctl.error_signals`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ._sprint.layer import SprintNnPythonLayer
from ._sprint.log import log
from ._sprint.python_control import PythonControl, attach
from .errors import SprintError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["PythonControl", "SprintNnPythonLayer", "getSegmentList", "init", "print"]


def print(*args: Any, **kwargs: Any) -> None:
    """Writes one log line with the process id to stderr, unless quiet.

    Args:
        args: as for the builtin.
        kwargs: ignored.
    """
    log(*args)


def init(
    name: str | None = None,
    reference: Any = None,
    config: str = "",
    sprint_unit: str | None = None,
    version_number: int | None = None,
    callback: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> PythonControl:
    """Called by Sprint for every unit that uses PythonControl; all get the same object.

    Args:
        name: of the caller, "Sprint.PythonControl".
        reference: token of the caller's instance.
        config: configuration string, see `sprint_ctl.config`.
        sprint_unit: which part of Sprint this is.
        version_number: of Sprint's interface.
        callback: ``callback(command, *args, **kwargs)`` into Sprint.
        kwargs: added by later versions.

    Raises:
        SprintError: called by a PythonTrainer, which passes no name.
    """
    if name is None:
        error = SprintError(
            "this module is for PythonControl, and init was called without a name, as PythonTrainer"
            " does: with --*.trainer=python-trainer, use the module sprint_ctl.extern_interface"
            " (data for a training outside) or sprint_ctl.interface (an engine inside Sprint)"
        )
        with contextlib.suppress(ValueError):  # a configuration without a trainer
            attach(config, name="PythonTrainer").report(str(error))
        raise error
    return attach(
        config,
        name=name,
        reference=reference,
        sprint_unit=sprint_unit,
        version_number=version_number,
        callback=callback,
    )


def getSegmentList(  # noqa: N802
    corpusName: str,  # noqa: N803
    segmentList: Sequence[str],  # noqa: N803
    config: str,
    **kwargs: Any,
) -> Iterator[str]:
    """Called by Sprint for the order of segments: the names that the trainer asks for, lazily.

    Inside a callback, where Sprint reads its corpus to find orthographies: all names as they come.

    Args:
        corpusName: of the corpus.
        segmentList: all its segments; a request for another one is an error.
        config: configuration string, see `sprint_ctl.config`.
        kwargs: segmentsInfo, and what later versions add.
    """
    control = attach(config, name="getSegmentList", reference=corpusName)
    control.state.segments = dict.fromkeys(segmentList)
    if control.is_inside_request:  # Sprint reads its corpus to answer it, not to visit segments
        return map(str, segmentList)
    return control.segment_list_iterator()
