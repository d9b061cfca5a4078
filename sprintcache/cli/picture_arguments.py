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
        "Draws features as an image, scalars and audio samples as a line, over seconds; below\n"
        "them the phones and states of an alignment, or the weights of a soft one. White lines\n"
        "are the boundaries of phones. Needs matplotlib (pip install 'sprintcache[plot]').",
        "  sprintcache plot features.bundle corpus/rec000/1 --alignment alignment.cache \\\n"
        "      --allophones allophones --output segment.png",
    )
    add_archive(command)
    command.add_argument("segment", metavar="SEGMENT", help="name of the entry")
    command.add_argument("--alignment", metavar="ARCHIVE", help="with an alignment of the segment")
    command.add_argument(
        "--frames",
        metavar="A:B",
        type=frames,
        help="only frames A to B-1, of audio samples, as Python counts: 0:100, 100:, -50:",
    )
    command.add_argument(
        "--normalize",
        action="store_true",
        help="show each dimension in standard deviations from its mean in the segment",
    )
    _add_output(command)
    _add_frame_shift(command, "of an alignment that is drawn alone or below audio")
    add_names(command, "for the names of phones", silence=True)


def _add_stats(commands: Commands) -> None:
    command = add_command(
        commands,
        "stats",
        "statistics of a corpus, or compare alignments",
        "Prints, and draws with --plot, how long segments are, mean and variance of each\n"
        "dimension, and how often each label or state occurs; rare and unused ones are named.\n"
        "Several archives count as one, as in a bundle: of a name that several have, the last\n"
        "counts. With --compare, two archives of alignments are compared: how many frames agree,\n"
        "what is confused, how far boundaries of phones are shifted.\n"
        "\n"
        "exit status: 1 if segments are left out, because they are damaged or for another reason",
        "  sprintcache stats features.bundle\n"
        "  sprintcache stats alignment.cache --allophones allophones --state-tying tying \\\n"
        "      --silence '[SILENCE]' --output labels.png\n"
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
        help="labels of less than N frames are rare (default: 50)",
    )
    add_json(command)
    command.add_argument("--plot", action="store_true", help="draw it too; needs matplotlib")
    _add_output(command, "; this implies --plot")
    _add_frame_shift(command, "of alignments, to tell shifts in ms")
    add_threads(command, "processors, up to 8; of alignments 1")
    add_names(command, "for the names of states and labels", silence=True)
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
        help=f"from frame to frame {purpose} (default: %(default)s)",
    )


def _step(text: str) -> float:
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is no time from frame to frame")
    return value


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not amount >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of frames")
    return amount
