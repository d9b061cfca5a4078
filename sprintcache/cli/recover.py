"""`sprintcache recover`: repairs archives of a crashed writer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sprintcache
from sprintcache.errors import SprintCacheError

from ._console import report
from ._copying import explain_existing
from ._options import add_command, add_dry_run, add_paths
from ._parser import UsageError
from ._text import describe_error

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of the command."""

    archives: list[str]
    to: str | None
    dry_run: bool

    def __post_init__(self) -> None:
        if self.to is not None and len(self.archives) > 1:
            raise UsageError("--to is for one ARCHIVE")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "recover",
        "repair an archive that was not finished",
        "Rebuilds the table of archives whose writer was killed, or whose table is damaged. Every"
        " complete entry is kept; bytes that belong to no complete entry are reported as lost. If a"
        " killed writer left ARCHIVE.partial, it becomes ARCHIVE.\n\n"
        "exit status: 1 if something was lost, or if an archive cannot be repaired",
        "  sprintcache recover features.cache",
    )
    add_paths(parser, "archives", "ARCHIVE")
    parser.add_argument(
        "--to", metavar="OUT", help="write to OUT, and do not change ARCHIVE; for one ARCHIVE only"
    )
    add_dry_run(parser)


def run(options: Options) -> int:
    """Repairs archives; status 1 if something was lost, or if one cannot be repaired."""
    status = 0
    for path in options.archives:
        try:
            if options.dry_run:
                has_losses, text = _scan(path)
            else:
                with explain_existing("remove it first"):
                    result = sprintcache.recover(path, options.to)
                has_losses, text = bool(result.skipped), str(result)
        except (SprintCacheError, OSError, ValueError) as error:
            has_losses, text = True, describe_error(error)
        except KeyboardInterrupt:
            report(f"interrupted: {path} can be recovered later")
            raise
        status |= has_losses
        report(text)
    return status


def _scan(path: str) -> tuple[bool, str]:
    """Whether something would be lost, and the report of a scan."""
    from sprintcache._files import partial_of

    existing = path if os.path.exists(path) else partial_of(path)
    with sprintcache.open_archive(existing, "pread", index=None) as archive:
        (scan_report,) = archive.scan_reports
    if scan_report is None:
        return False, f"{path}: the table is sound"
    return bool(scan_report.skipped), str(scan_report)
