"""The command `sprintcache`.

Exit status: 0 for success; 1 for errors and problems; 2 for wrong usage; 130 after Ctrl-C. Errors
are one line on standard error.

Each command is a module of this folder, listed in `COMMANDS`. It has ``add_parser(subparsers)``,
a frozen dataclass ``Options`` with a field for each argument, and ``run(options)``, which returns
the exit status. `sprintcache._parser` turns a namespace into ``Options``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sprintcache.errors import SprintCacheError

from . import _console, _parser
from ._text import describe_error

__all__ = ["COMMANDS", "main"]

# in the order of the help
COMMANDS = (
    "ls",
    "info",
    "show",
    "extract",
    "convert",
    "align",
    "verify",
    "plot",
    "stats",
    "add",
    "copy",
    "combine",
    "remove",
    "repack",
    "recover",
    "bundle",
    "index",
)
# their result repeats the library's warnings
_WITHOUT_WARNINGS = ("info", "verify", "recover", "bundle", "index")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        the exit status.
    """
    _console.configure_streams()
    name = ""
    try:
        try:
            name, command, options = _parser.parse(argv, COMMANDS)
        except SystemExit as stop:  # --help and --version
            _console.flush()
            return int(stop.code or 0)
        with _console.log_messages(errors_only=name in _WITHOUT_WARNINGS):
            status = command.run(options)
        _console.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, stopped reading
        _console.discard_output()
        return 1 if name == "verify" else 0
    except KeyboardInterrupt:
        _console.flush_or_discard()
        return 130
    except _parser.UsageError as error:
        _console.report(f"{error} (see {error.program or f'sprintcache {name}'} --help)")
        return 2
    except (SprintCacheError, ImportError, MemoryError, OSError, ValueError) as error:
        _console.flush_or_discard()
        _console.report(describe_error(error))
        return 1
