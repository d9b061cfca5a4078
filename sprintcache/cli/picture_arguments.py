"""The arguments of `plot` and `stats`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import (
    add_archive,
    add_command,
    add_json,
    add_list,
    add_mismatch,
    add_more,
    add_names,
    add_select,
    add_threads,
    frames,
    seconds,
)

if TYPE_CHECKING:
    from .options import Commands, Parser

__all__ = ["PICTURES"]


def _add_plot(commands: Commands) -> None:
    command = add_command(
        commands,
        "plot",
        "draw one segment",
        "Draws the features of a segment as an image over seconds, or scalars and audio samples as"
        " a line, and below them the phones and states of an alignment, or the weights of a soft"
        " one. White lines are phone boundaries. Needs matplotlib (pip install"
        " 'sprintcache[plot]').",
        "  sprintcache plot features.bundle corpus/rec000/1 --output segment.png \\\n"
        "      --alignment alignment.cache --allophones allophones",
    )
    add_archive(command)
    command.add_argument("segment", metavar="SEGMENT", help="name of the entry")
    command.add_argument(
        "--alignment",
        metavar="ARCHIVE",
        help="draw the alignment of the segment in this archive too",
    )
    command.add_argument(
        "--frames",
        metavar="A:B",
        type=frames,
        help="draw only frames (or audio samples) A to B-1, like a Python slice: 0:100, 100:, -50:",
    )
    command.add_argument(
        "--normalize",
        action="store_true",
        help="scale each dimension to its mean and standard deviation in the segment",
    )
    _add_output(command)
    _add_frame_shift(command, "in an alignment that is drawn alone or below audio samples")
    add_names(command, "for the names of phones", silence="to draw it in grey")


def _add_stats(commands: Commands) -> None:
    command = add_command(
        commands,
        "stats",
        "statistics of a corpus, or compare alignments",
        "Prints, and with --plot draws, the lengths of segments, mean and variance of each"
        " dimension, and how often each label or state occurs, naming rare and unused ones. Several"
        " archives count as one, as in a bundle: of a name that several have, the last counts. With"
        " --compare, compares two archives of alignments: how many frames agree, what is confused,"
        " and how far phone boundaries are shifted.\n\n"
        "exit status: 1 if segments were left out, for example because they are damaged",
        "  sprintcache stats features.bundle\n"
        "  sprintcache stats alignment.cache --output labels.png \\\n"
        "      --allophones allophones --state-tying tying --silence '[SILENCE]'\n"
        "  sprintcache stats --compare old.cache new.cache --allophones allophones",
    )
    add_more(command, "ARCHIVE", least="+")
    command.add_argument("--compare", action="store_true", help="compare two archives")
    add_select(command)
    add_list(command)
    command.add_argument(
        "--rare",
        metavar="N",
        type=_amount,
        default=50.0,
        help="labels with fewer than N frames are rare (default: 50)",
    )
    add_json(command)
    command.add_argument("--plot", action="store_true", help="draw it too; needs matplotlib")
    _add_output(command, "; this implies --plot")
    _add_frame_shift(command, "in alignments, to report shifts in ms")
    add_threads(command, "number of processors, at most 8; for alignments 1")
    add_names(command, "for the names of states and labels", silence="to report its share")
    add_mismatch(command)


PICTURES = (_add_plot, _add_stats)


def _add_output(command: Parser, more: str = "") -> None:
    command.add_argument(
        "--output",
        metavar="FILE",
        help=f"write a picture, .png, .svg or .pdf, instead of opening a window{more}",
    )


def _add_frame_shift(command: Parser, purpose: str) -> None:
    command.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=_step,
        default=0.01,
        help=f"time from one frame to the next {purpose} (default: %(default)s)",
    )


def _step(text: str) -> float:
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("the time from frame to frame cannot be 0")
    return value


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not amount >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames")
    return amount
