"""The command python -m sprint_ctl; its only subcommand, doctor, tries out a Sprint."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

__all__ = ["main"]

_DESCRIPTION = """\
Starts the given Sprint and reports what works: which Python and numpy it
embeds, whether our modules can be imported there, which interface it has,
its results in each mode and their times, and the reasons of failures. The
output of Sprint itself goes to stderr.
"""
_EPILOG = """\
examples:
  python -m sprint_ctl doctor --sprint /opt/rasr/nn-trainer -- \\
      --config=training.config
  python -m sprint_ctl doctor --sprint "python -m sprint_ctl.fake_sprint" -- \\
      --*.action=python-control --*.corpus.file=corpus.xml.gz

exit status: 0 if everything works with these arguments, 1 if something does
not, 2 for wrong usage
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    # Sprint inherits our stdout and writes its log there
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        return _doctor(args, report)
    except BrokenPipeError:  # of a pager that was left
        return 1
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(BrokenPipeError):
            report.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sprint_ctl", description=__doc__)
    parser.epilog = "python -m sprint_ctl doctor --help has its options and examples"
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="try out a Sprint",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--sprint",
        required=True,
        metavar="PATH",
        help="Sprint's nn-trainer, or a command line that starts it",
    )
    doctor.add_argument("--segment", metavar="NAME", help="segment to try (default: the first)")
    doctor.add_argument(
        "--labels",
        type=int,
        default=0,
        metavar="N",
        help="number of labels, if Sprint does not know it",
    )
    doctor.add_argument(
        "--frames",
        type=int,
        default=0,
        metavar="N",
        help="number of frames, if Sprint does not know it",
    )
    doctor.add_argument(
        "--timeout",
        type=_seconds,
        default=120.0,
        metavar="SECONDS",
        help="time limit for each start and each request (default: %(default)g)",
    )
    doctor.add_argument(
        "--as-given", action="store_true", help="try only the mode that the arguments choose"
    )
    doctor.add_argument(
        "arguments", nargs="*", metavar="ARGS", help="arguments for Sprint, after --"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return seconds


def _doctor(args: argparse.Namespace, report: TextIO) -> int:
    from ._trainer.doctor import examine

    wrap = textwrap.TextWrapper(
        94, initial_indent="    --> ", subsequent_indent=" " * 8, break_on_hyphens=False
    ).wrap
    failed = False
    findings = examine(
        args.sprint,
        args.arguments,
        segment=args.segment,
        frames=args.frames,
        labels=args.labels,
        timeout=args.timeout,
        other_modes=not args.as_given,
    )
    for finding in findings:
        failed |= finding.verdict == "FAIL"
        first, *rest = finding.text.splitlines() or [""]
        lines = [f"{finding.verdict:5} {finding.subject}: {first}"]
        lines += [f"        {line}" for line in rest]
        for advice in finding.advice:
            lines += wrap(advice)
        report.write("\n".join([*lines, ""]))
        report.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
