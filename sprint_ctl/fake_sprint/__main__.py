"""The stand-in as a program: ``python -m sprint_ctl.fake_sprint --*.name=value ...``."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from . import __doc__ as documentation
from .streams import write_stream

if TYPE_CHECKING:
    from .application import Application

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Runs one Sprint; returns the exit status."""
    if "--help" in arguments:
        write_stream("stdout", documentation or "")
        return 0
    from sprintcache.errors import ConfigurationError

    from .application import Application, CriticalError

    # as in an embedded interpreter: no argv, and no Python handler of Ctrl-C; SIGPIPE stays
    # ignored, as inherited from a trainer in Python
    sys.argv = [""]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: _report_signal(number))
    try:
        app = Application(arguments)
    except ConfigurationError as error:
        write_stream("stderr", f"{error}\nexiting...\n")
        return 1
    try:
        app.misbehavior.at("start")
        run(app)
    except SystemExit:
        app.misbehavior.at("exit")
        raise
    except (CriticalError, ConfigurationError) as error:
        app.report(error)
        return 1
    app.misbehavior.at("exit")
    return 0


def _report_signal(number: int) -> None:
    """Sprint logs these two with its stack, and continues."""
    write_stream("stderr", f"{signal.strsignal(number)}\n")


def run(app: Application) -> None:
    """Runs the configured action."""
    from .application import CriticalError

    action = app.config.string("action", "")
    if action == "python-control":
        from . import control

        control.run(app)
    elif action.endswith("-training"):
        from . import training

        training.run(app, action)
    elif app.config.select("mixture-set").string("feature-scorer-type", ""):
        from . import scoring

        scoring.run(app)
    else:
        from .training import ACTIONS

        known = ", ".join(("python-control", *ACTIONS))
        raise CriticalError(f"Action not given. action = {action!r} is not one of {known}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
