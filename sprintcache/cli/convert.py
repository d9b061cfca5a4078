"""`sprintcache convert`: archives to HDF5, Kaldi, NumPy and text files, and back."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprintcache.errors import LabelError

from ._console import report
from ._options import (
    ListOptions,
    add_command,
    add_list,
    add_mismatch,
    add_paths,
    add_read_options,
    add_select,
    add_state_names,
    add_threads,
    non_negative_int,
    positive_seconds,
)
from ._parser import UsageError
from ._rename import Rule, add_rename, combine_rules
from ._task import Task
from ._text import pluralize
from ._words import WordOptions, add_words, is_text

if TYPE_CHECKING:
    from typing import Literal

    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.label_rates import LabelRate

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(WordOptions, ListOptions):
    """Arguments of the command."""

    sources: list[str]
    to: str
    overwrite: bool
    select: list[str]
    rename: list[Rule]
    dtype: str | None
    targets: str | None
    skip_missing: bool
    num_labels: int | None
    label_scheme: str | None
    reduce_target_factor: int
    reduce_target_frame: Literal["first", "middle", "majority"]
    upsample: int
    collapse: bool
    blank: int | None
    sample_rate: int | None
    key: str | None
    frame_shift: float | None
    frame_length: float
    tier: list[str]
    format: str | None
    textgrid_form: Literal["long", "short"]
    encoding: Literal["utf-8", "utf-16"]
    states: int | None
    recordings: bool
    windows: bool
    on_alphabet_mismatch: Literal["error", "map", "ignore"]
    threads: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_scheme and (self.state_tying or not self.allophones):
            raise UsageError("--label-scheme needs --allophones, and excludes --state-tying")
        if self.blank is not None and not self.collapse:
            raise UsageError("--blank needs --collapse")

    @property
    def audio_format(self) -> Literal["wav", "flac"] | None:
        """The format of audio files, or None for other destinations."""
        return "wav" if self.format == "wav" else "flac" if self.format == "flac" else None

    def read_labeling(self) -> AllophoneLabeling | None:
        """The labels of allophone states: by a label scheme, or as `read_state_names`."""
        if self.label_scheme is None:
            return self.read_state_names().labeling
        from sprintcache import AllophoneLabeling

        return AllophoneLabeling(
            None,
            self.allophones or "",
            label_scheme=self.label_scheme,
            lexicon_file=self.lexicon,
            num_states=self.states or 3,
        )

    @property
    def rate(self) -> LabelRate:
        """What is done with labels."""
        from sprintcache.label_rates import LabelRate

        return LabelRate(
            self.reduce_target_factor,
            self.reduce_target_frame,
            self.upsample,
            self.collapse,
            self.blank,
        )


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "convert",
        "convert to HDF5, Kaldi, NumPy and text files, and back",
        "Converts archives to HDF5 for RETURNN's HDFDataset (.hdf, .hdf5, .h5), to Kaldi (.ark and"
        " .scp) or NumPy (.npz) files, and such files to an archive; the ending of the destination"
        " decides. With --allophones and --state-tying, alignments become labels. In the other"
        " direction, labels become alignments of emission ids. .attribs entries are left out.\n\n"
        "The words, phones or states of alignments become CTM (.ctm), TextGrid (.TextGrid),"
        " Audacity (.txt) or JSON lines (.jsonl) files; --lexicon and --corpus give the names of"
        " words. These formats convert into one another, and with --lexicon and --allophones into"
        " alignments: the frames of a phone are divided evenly among its states.\n\n"
        "exit status: 1 if segments were left out",
        "  sprintcache convert alignment.cache --to labels.hdf --allophones allophones \\\n"
        "      --state-tying tying\n"
        "  sprintcache convert features.bundle --to train.hdf --targets align.cache \\\n"
        "      --allophones allophones --state-tying tying\n"
        "  sprintcache convert alignment.cache --to center.hdf --allophones allophones \\\n"
        "      --lexicon lexicon.xml --label-scheme center --reduce-target-factor 4\n"
        "  sprintcache convert samples.cache --to audio/ --format flac\n"
        "  sprintcache convert feats.scp --to features.cache --frame-shift 0.01\n"
        "  sprintcache convert alignment.cache --to words.ctm --lexicon lexicon.xml \\\n"
        "      --corpus corpus.xml",
    )
    add_paths(parser, "sources", "SOURCE", "archives or files, converted one after the other")
    parser.add_argument("--to", metavar="FILE", required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_select(parser)
    add_list(parser)
    add_rename(parser)
    parser.add_argument(
        "--dtype",
        choices=["float16", "float32", "float64"],
        help="type of features (default: as stored)",
    )
    group = parser.add_argument_group("HDF5")
    group.add_argument(
        "--targets",
        metavar="ARCHIVE",
        help="alignments whose labels are stored with the features, as `classes`",
    )
    group.add_argument(
        "--skip-missing", action="store_true", help="leave out segments that have no targets"
    )
    group.add_argument(
        "--num-labels",
        metavar="N",
        type=int,
        help="number of labels (default: from the state tying, or else the largest label + 1)",
    )
    group.add_argument(
        "--key",
        help="what to read from a file: data, classes, ... (default: data, or the only one)",
    )
    group = parser.add_argument_group("labels")
    group.add_argument(
        "--label-scheme",
        metavar="PARTS",
        help="labels by the parts of allophones, such as center.state.word-end: left, center,"
        " right, state, position, word-end; needs --allophones, and --lexicon for the numbers of"
        " phonemes",
    )
    group.add_argument(
        "--reduce-target-factor",
        metavar="N",
        type=_positive,
        default=1,
        help="one label for N frames",
    )
    group.add_argument(
        "--reduce-target-frame",
        choices=["first", "middle", "majority"],
        default="first",
        help="which label of the N frames (default: first)",
    )
    group.add_argument(
        "--upsample", metavar="N", type=_positive, default=1, help="repeat each label N times"
    )
    group.add_argument("--collapse", action="store_true", help="merge equal neighbors, as for CTC")
    group.add_argument(
        "--blank", metavar="LABEL", type=non_negative_int, help="then remove this label"
    )
    group = parser.add_argument_group("archives")
    group.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=positive_seconds,
        help="used if the source has no times (default: 0.01); for words of alignments instead of"
        " the archive's own",
    )
    group.add_argument(
        "--frame-length",
        metavar="SECONDS",
        type=float,
        default=0.025,
        help="used if the source has no times (default: %(default)s)",
    )
    group.add_argument(
        "--sample-rate",
        metavar="HZ",
        type=_positive,
        help="of wav and flac files (default: that of the segments)",
    )
    add_mismatch(group)
    add_words(parser)
    group = parser.add_argument_group("words, phones and states")
    group.add_argument(
        "--tier",
        action="append",
        default=[],
        choices=["words", "phones", "states"],
        help="what to write; repeat it for .TextGrid and .jsonl (default there: words and phones;"
        " else words)",
    )
    group.add_argument(
        "--format",
        choices=["ctm", "textgrid", "audacity", "jsonl", "wav", "flac"],
        help="kind of file (default: by the ending); if --to is a folder, it gets a file for each"
        " segment; wav and flac: audio samples, always in a folder",
    )
    group.add_argument(
        "--recordings", action="store_true", help="count times from the start of the recordings"
    )
    group.add_argument(
        "--windows",
        action="store_true",
        help="intervals of alignments end with the window of their last frame, as in Sprint, so"
        " that they overlap",
    )
    group.add_argument(
        "--textgrid-form", choices=["long", "short"], default="long", help="of a TextGrid"
    )
    group.add_argument(
        "--encoding", choices=["utf-8", "utf-16"], default="utf-8", help="of a TextGrid"
    )
    group.add_argument(
        "--states",
        metavar="N",
        type=int,
        choices=range(1, 17),
        help="states of a phone in alignments that are made of words, and in --label-scheme"
        " (default: those of the state tying, or 3)",
    )
    add_threads(parser)
    add_read_options(parser)
    add_state_names(parser, "for the labels of alignments; needs --state-tying")


def _positive(text: str) -> int:
    number = non_negative_int(text)
    if not number:
        raise argparse.ArgumentTypeError("the number must be at least 1")
    return number


def run(options: Options) -> int:
    """Converts archives or files."""
    from ._convert_words import convert_to_alignments, convert_words, writes_words

    if writes_words(options):
        return convert_words(options)
    if any(is_text(path) for path in options.sources):
        return convert_to_alignments(options)
    return _convert(options)


def _convert(options: Options) -> int:
    from sprintcache.convert import convert

    from ._copying import explain_existing

    labeling = options.read_labeling()
    state = "is unchanged" if os.path.exists(options.to) else "was not written"
    names = _choose_names(options)
    try:
        with (
            explain_existing("--overwrite replaces it"),
            Task("converting", lambda *_: f"{options.to} {state}") as task,
        ):
            count = convert(
                options.sources,
                options.to,
                names=names,
                rename=combine_rules(options.rename),
                labeling=labeling,
                on_alphabet_mismatch=options.on_alphabet_mismatch,
                targets=options.targets,
                skip_missing=options.skip_missing,
                num_labels=options.num_labels,
                rate=options.rate,
                audio_format=options.audio_format,
                sample_rate=options.sample_rate,
                dtype=options.dtype,
                key=options.key,
                frame_shift=options.frame_shift or 0.01,
                frame_length=options.frame_length,
                overwrite=options.overwrite,
                num_threads=options.threads,
                io=options.io,
                path_map=options.path_mapping,
                # an .ark does not declare its number of segments
                progress=lambda done, total: task(done, total or done),
            )
    except LabelError as error:
        if labeling is not None or error.expected != "an AllophoneLabeling":
            raise
        raise LabelError(
            "labels of allophone states need --allophones and --state-tying",
            path=error.path,
            entry=error.entry,
        ) from error
    report(f"{pluralize(count, 'segment', 'segments')} written to {options.to}")
    return 0


def _choose_names(options: Options) -> list[str] | None:
    """The names to convert; None for all."""
    from sprintcache.convert import segment_names

    from ._selection import NameList, choose_names

    if not options.select and options.list_file is None:
        return None
    names = segment_names(options.sources, options.key, path_map=options.path_mapping)
    sources = NameList(", ".join(options.sources), names)
    return choose_names(sources, options.select, options, segments_only=True)
