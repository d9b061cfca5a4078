"""`sprintcache align`: aligns posteriors with the words of a corpus."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sprintcache

from ._console import report, write_line
from ._options import (
    ReadOptions,
    add_command,
    add_list,
    add_read_options,
    add_select,
    add_threads,
    non_negative_int,
)
from ._parser import UsageError
from ._selection import match_globs, read_lines
from ._task import Task

if TYPE_CHECKING:
    from sprintcache.align import Aligner, AlignResult
    from sprintcache.archive import Archive

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(ReadOptions):
    """Arguments of the command."""

    posteriors: str
    config: list[str]
    settings: list[tuple[str, str]]
    base: str | None
    lexicon: str | None
    corpus: str | None
    to: str
    overwrite: bool
    compress: bool
    failed: str
    ctm: str | None
    scores: str | None
    worst: int
    select: list[str]
    list_file: str | None
    ignore_missing: bool
    threads: int | None

    def __post_init__(self) -> None:
        if not self.config and not self.lexicon:
            raise UsageError("--config or --lexicon names the lexicon")
        if self.select and self.list_file:
            raise UsageError("--select and --list exclude each other")

    def aligner(self) -> Aligner:
        """The aligner that the configuration and the options describe.

        Raises:
            OSError: if a file cannot be read.
            ValueError: for a value that its parameter does not accept.
        """
        from sprintcache.align import Aligner

        shortcuts = {"*.lexicon.file": self.lexicon, "*.corpus.file": self.corpus}
        named = {name: os.path.abspath(path) for name, path in shortcuts.items() if path}
        return Aligner.from_sprint_config(*self.config, named, dict(self.settings), base=self.base)


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "align",
        "align posteriors with the words of a corpus",
        "Finds the best path, or with mode = baum-welch the sum over all paths, of every segment"
        " through its words, as Sprint's aligner does, and writes an archive of alignments with"
        " alphabet. The configuration is that of Sprint's acoustic-model-trainer: corpus, lexicon,"
        " acoustic-model, aligner.\n\n"
        "exit status: 1 if a segment has no alignment",
        "  sprintcache align posteriors.cache --config align.config \\\n"
        "      --to alignment.cache --set '*.aligner.min-acoustic-pruning=500' \\\n"
        "      --ctm words.ctm --scores scores.tsv",
    )
    parser.add_argument(
        "posteriors", metavar="POSTERIORS", help="archive of log posteriors, one column per label"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration file of Sprint; may be repeated, later ones win",
    )
    model.add_argument(
        "--set",
        metavar="NAME=VALUE",
        dest="settings",
        action="append",
        default=[],
        type=_setting,
        help="a parameter, such as '*.tdp.scale=0.1'; wins over the files; may be repeated",
    )
    model.add_argument(
        "--base",
        metavar="DIR",
        help="folder that relative paths in the configuration start from (default: the working"
        " directory)",
    )
    model.add_argument("--lexicon", metavar="FILE", help="Bliss lexicon: *.lexicon.file")
    model.add_argument("--corpus", metavar="FILE", help="Bliss corpus: *.corpus.file")
    output = parser.add_argument_group("output")
    output.add_argument("--to", metavar="ALIGNMENT", required=True, help="archive to write")
    output.add_argument("--overwrite", action="store_true", help="replace files that exist")
    output.add_argument("--compress", action="store_true", help="write gzipped entries")
    output.add_argument(
        "--failed",
        choices=["empty", "omit"],
        default="empty",
        help="segments without a path: empty (default) writes an entry without items, as Sprint"
        " does; omit writes none",
    )
    output.add_argument("--ctm", metavar="FILE", help="write the words with their times")
    output.add_argument("--scores", metavar="FILE", help="write a table of the segments, TSV")
    output.add_argument(
        "--worst",
        metavar="N",
        type=non_negative_int,
        default=5,
        help="list the N segments of the highest score per frame (default: 5)",
    )
    add_select(parser)
    add_list(parser, "leave out segments of the corpus or the list that POSTERIORS lacks")
    add_threads(parser)
    add_read_options(parser)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def run(options: Options) -> int:
    """Aligns the segments; status 1 if one has no alignment."""
    from sprintcache.align import align_segments, write_result

    _check_new(options)
    aligner = options.aligner()
    with options.open(options.posteriors) as scores:
        names = _names(options, aligner, scores)
        summary = _Summary(options)
        mode = "w" if options.overwrite else "x"
        with (
            Task("aligning", lambda done, total: f"{done} of {total} segments aligned") as task,
            sprintcache.ArchiveWriter(options.to, mode, options.compress) as writer,
        ):
            results = align_segments(aligner, scores, names, options.threads)
            for number, result in enumerate(results, 1):
                write_result(writer, result, scores, write_failed=options.failed == "empty")
                summary.add(result, scores)
                task(number, len(names))
    summary.write()
    return summary.status()


def _check_new(options: Options) -> None:
    for path in (options.ctm, options.scores):
        if path and not options.overwrite and os.path.lexists(path):
            raise FileExistsError(17, "exists (--overwrite replaces it)", path)


def _names(options: Options, aligner: Aligner, scores: Archive) -> list[str]:
    """The segments to align: those of the list, the corpus or the archive that match."""
    if options.select:
        return list(match_globs(scores, options.select, segments_only=True))
    names = read_lines(options.list_file) if options.list_file else aligner.builder.segments()
    if options.ignore_missing:
        names = [name for name in names if name in scores]
    return names


class _Summary:
    """Rows of the table, words, and the segments without an alignment."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._rows: list[tuple[Any, ...]] = []
        self._per_frame: list[tuple[float, str]] = []
        self._failed = 0
        self._tiers: dict[str, Any] = {}

    def add(self, result: AlignResult, scores: Archive) -> None:
        """Adds one segment; reports it if it has no alignment."""
        name = str(result.tag)
        per_frame = result.score_per_frame
        score = "" if result.score is None else f"{result.score:.6g}"
        share = "" if per_frame is None else f"{per_frame:.6g}"
        self._rows.append(
            (name, result.num_frames, score, share, f"{result.num_active:.6g}",
             f"{result.beam:.6g}", result.reason or "")
        )  # fmt: skip
        if per_frame is None:
            self._failed += 1
            report(f"{name}: {result.reason}")
            return
        self._per_frame.append((per_frame, name))
        if self._options.ctm and result.words:
            self._tiers[name] = _segmentation(result, scores)

    def write(self) -> None:
        """Writes the files and prints the summary."""
        from sprintcache.convert.destination import complete_file

        overwrite = self._options.overwrite
        if self._options.scores:
            header = ("segment", "frames", "score", "score/frame", "active", "beam", "reason")
            with (
                complete_file(self._options.scores, overwrite) as partial,
                open(partial, "w", encoding="utf-8") as file,
            ):
                for row in (header, *self._rows):
                    file.write("\t".join(str(cell) for cell in row) + "\n")
        if self._options.ctm:
            from sprintcache.segmentation import write_ctm

            with complete_file(self._options.ctm, overwrite) as partial:
                write_ctm(partial, self._tiers)
        count = len(self._rows)
        text = f"{count - self._failed} of {count} segments aligned"
        write_line(text + (f", {self._failed} without an alignment" if self._failed else ""))
        for line in self._worst():
            write_line(line)

    def _worst(self) -> Iterator[str]:
        worst = sorted(self._per_frame, reverse=True)[: self._options.worst]
        if worst:
            yield "highest score per frame:"
        for share, name in worst:
            yield f"  {share:10.4f}  {name}"

    def status(self) -> int:
        return 1 if self._failed else 0


def _segmentation(result: AlignResult, scores: Archive) -> Any:
    """The words of a result with their times in seconds; silence is left out."""
    from sprintcache.segmentation import Interval, Segmentation, stored_frame_shift

    text = scores.read_attributes(str(result.tag)).get("frame-shift")
    alignment = result.alignment
    shift = float(text) if text else (stored_frame_shift(alignment) if alignment else None)
    if not shift:
        raise ValueError(f"{result.tag}: the frame shift is unknown, so --ctm cannot be written")
    words = [
        Interval(round(word.start * shift, 6), round(word.end * shift, 6), word.symbol)
        for word in result.words
        if not word.is_silence
    ]
    return Segmentation(words=words, duration=result.num_frames * shift, name=str(result.tag))
