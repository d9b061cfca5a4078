"""The command `convert`: archives to HDF5, Kaldi and NumPy files, and back."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sprintcache.errors import LabelError

from .options import add_mismatch, add_select

if TYPE_CHECKING:
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["TEXTS", "add_options", "run"]

TEXTS = (
    "convert to HDF5, Kaldi and NumPy files, and back",
    "Converts archives to HDF5 for RETURNN's HDFDataset (.hdf, .hdf5, .h5), to Kaldi (.ark and"
    " .scp) or NumPy (.npz) files, and such files to an archive; the ending of the destination"
    " decides. With --allophones and --state-tying, alignments become labels. In the other"
    " direction, labels become alignments of emission ids. .attribs entries are left out.",
    "  sprintcache convert alignment.cache --to labels.hdf --allophones allophones \\\n"
    "      --state-tying tying\n"
    "  sprintcache convert features.bundle --to train.hdf --targets align.cache \\\n"
    "      --allophones allophones --state-tying tying\n"
    "  sprintcache convert feats.scp --to features.cache --frame-shift 0.01",
)


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the command, but for the names of states."""
    command.add_argument(
        "more", metavar="SOURCE", nargs="+", help="archives or files, converted one after the other"
    )
    command.add_argument("--to", metavar="FILE", required=True, help="the file to write")
    command.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_select(command)
    command.add_argument("--list", metavar="FILE", help="names, one per line; - is standard input")
    command.add_argument(
        "--dtype",
        choices=["float16", "float32", "float64"],
        help="type of features (default: as stored)",
    )
    hdf = command.add_argument_group("HDF5")
    hdf.add_argument(
        "--targets",
        metavar="ARCHIVE",
        help="alignments whose labels are stored with the features, as `classes`",
    )
    hdf.add_argument(
        "--skip-missing", action="store_true", help="leave out segments that have no targets"
    )
    hdf.add_argument(
        "--num-labels",
        metavar="N",
        type=int,
        help="number of labels (default: from the state tying, or else the largest label + 1)",
    )
    hdf.add_argument(
        "--key",
        help="what to read from a file: data, classes, ... (default: data, or the only one)",
    )
    group = command.add_argument_group("archives")
    group.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=float,
        default=0.01,
        help="used if the source has no times (default: %(default)s)",
    )
    group.add_argument(
        "--frame-length",
        metavar="SECONDS",
        type=float,
        default=0.025,
        help="used if the source has no times (default: %(default)s)",
    )
    add_mismatch(group)


def run(
    arguments: argparse.Namespace,
    labeling: AllophoneLabeling | None,
    globs: list[str],
    note: Callable[[str], None],
) -> int:
    """Converts; gives the number of segments."""
    from sprintcache.convert import convert

    from .interrupts import Work

    state = "is as it was" if os.path.exists(arguments.to) else "was not made"
    try:
        names = _chosen(arguments, globs)
        with Work("converting", note, lambda *_: f"{arguments.to} {state}") as work:
            return convert(
                arguments.more,
                arguments.to,
                names=names,
                labeling=labeling,
                on_alphabet_mismatch=arguments.on_alphabet_mismatch,
                targets=arguments.targets,
                skip_missing=arguments.skip_missing,
                num_labels=arguments.num_labels,
                dtype=arguments.dtype,
                key=arguments.key,
                frame_shift=arguments.frame_shift,
                frame_length=arguments.frame_length,
                overwrite=arguments.overwrite,
                num_threads=arguments.threads,
                io=arguments.io,
                # an .ark does not say how many segments it has
                progress=lambda done, total: work(done, total or done),
            )
    except LabelError as error:
        if labeling is not None or error.expected != "an AllophoneLabeling":
            raise
        raise LabelError(
            "labels of allophone states need --allophones and --state-tying",
            path=error.path,
            entry=error.entry,
        ) from error
    except FileExistsError as error:
        if error.strerror != os.strerror(errno.EEXIST):
            raise
        text = f"{error.filename} is there already; --overwrite replaces it"
        raise FileExistsError(text) from error


class _Known:
    """The names of the sources, for what selects entries of an archive."""

    def __init__(self, path: str, names: list[str]) -> None:
        self.path = path
        self.segments = names
        self._names = frozenset(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def _chosen(arguments: argparse.Namespace, globs: list[str]) -> list[str] | None:
    """The names that are meant; None for all."""
    from sprintcache.convert import segment_names

    from .selection import listed, matching

    if not globs and arguments.list is None:
        return None
    names = list(segment_names(arguments.more, arguments.key))
    known: Any = _Known(", ".join(arguments.more), names)
    chosen = [] if arguments.list is None else listed(known, arguments.list)
    return chosen + list(matching(known, globs, segments_only=True) if globs else ())
