"""The way from a configuration string of Sprint to PythonControl."""

from __future__ import annotations

from typing import Any

from sprint_ctl.config import parse_config, to_bool
from sprint_ctl.errors import SprintError

from .log import configure_log, log
from .python_control import PythonControl

__all__ = ["attach"]


def attach(config: str, **facts: Any) -> PythonControl:
    """PythonControl of this process, connected as the configuration says.

    Args:
        config: has at least ``c2p_fd`` and ``p2c_fd``.
        facts: what Sprint has told with it.

    Raises:
        ValueError: a configuration that does not connect to a trainer.
        SprintError: it asks for something that is not there.
    """
    pairs = parse_config(config)
    configure_log(pairs)
    log("init:", facts, pairs)
    if "c2p_fd" not in pairs or "p2c_fd" not in pairs:
        raise ValueError(
            f"configuration {config!r}: no c2p_fd and p2c_fd;"
            " this module is for a Sprint that a trainer has started"
        )
    control = PythonControl.create(
        c2p_fd=int(pairs["c2p_fd"]),
        p2c_fd=int(pairs["p2c_fd"]),
        config=pairs,
        min_version_number=int(pairs.get("minPythonControlVersion", 0)),
        **facts,
    )
    if to_bool(pairs.get("EnableAutoNumpySharedMemPickling", "false")):
        error = SprintError(
            "EnableAutoNumpySharedMemPickling:True is not supported:"
            " switch it off in the trainer; arrays go through the pipe, or through memory files"
        )
        control.report(str(error))
        raise error
    return control
