"""Words and phones of alignments, warm: segment_archive, numpy, and the script in use today.

Random segments of 200 to 1600 frames, runs of 4 frames on average. The script reads with RETURNN's
`FileArchive` and looks at the name of every allophone, as i6_core's ComputeTimeStampErrorJob does;
numpy compares the arrays of `Archive.read_alignment`. `Segmenter` matches each alignment with all
readings of its orthography and so finds the names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import (
    STATE_SHIFT,
    Alignments,
    Inventory,
    make_alignment,
    make_inventory,
    write_alignments,
    write_inventory,
)

SILENCE = "[SILENCE]"
LIMIT = 20.0  # ns a frame
Boundaries = tuple[np.ndarray, np.ndarray]


class SegmentData:
    """An archive of alignments that end with a word, and the words of each."""

    def __init__(self, path: Path, alignments: Alignments, inventory: Inventory) -> None:
        self.path = path
        self.names = alignments.names
        self.frames = alignments.frames()
        self.inventory = inventory
        names = inventory.allophones
        self.initial = np.array(["@i" in name for name in names])
        self.final = np.array(["@f" in name for name in names])
        self.is_silence = np.array([name.startswith(SILENCE) for name in names])
        self._words = [self.words_of(body) for body in alignments.bodies]

    def words(self, entry: int) -> Boundaries:
        return self._words[entry % len(self._words)]

    def words_of(self, ids: np.ndarray) -> Boundaries:
        """Starts and ends of the words: the four lines of numpy."""
        allophone, state = ids & (1 << STATE_SHIFT) - 1, ids >> STATE_SHIFT
        begins = np.append(True, (allophone[1:] != allophone[:-1]) | (state[1:] < state[:-1]))
        word = ~self.is_silence[allophone]
        starts = np.flatnonzero(begins & self.initial[allophone] & word)
        ends = np.append(begins[1:], True) & self.final[allophone] & word
        return starts, np.flatnonzero(ends) + 1


def trimmed(ids: np.ndarray, inventory: Inventory) -> np.ndarray:
    """The alignment up to the end of its last word."""
    final = np.array(["@f" in name for name in inventory.allophones])
    allophone = ids & (1 << STATE_SHIFT) - 1
    ends = final[allophone[:-1]] & (allophone[1:] != allophone[:-1])
    return ids[: int(np.flatnonzero(ends)[-1]) + 1]


def archive_peer(archive: Any, data: SegmentData, name: str, tier: Any, threads: int) -> Peer:
    from sprintcache.segmentation import segment_archive

    def plan(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            for _ in segment_archive(
                archive, data.inventory.allophones, tier, names, num_threads=threads
            ):
                pass

        return run

    return Peer(name, plan)


def each_peer(data: SegmentData, name: str, find: Callable[[str], object], limit: int) -> Peer:
    def plan(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            for entry in names:
                find(entry)

        return run

    return Peer(name, plan, limit)


def script_peer(data: SegmentData, allophones: Path) -> list[Peer]:
    cache = harness.optional("returnn.sprint.cache")
    if cache is None:
        return []
    archive = cache.FileArchive(str(data.path))
    archive.set_allophones(str(allophones))

    def find(name: str) -> Boundaries:
        names = [archive.allophones[item[1]] for item in archive.read(name, "align")]
        starts, ends = [], []
        for frame, allophone in enumerate(names):
            if SILENCE in allophone:
                continue
            if "@i" in allophone and (frame == 0 or names[frame - 1] != allophone):
                starts.append(frame)
            if "@f" in allophone and (frame + 1 == len(names) or names[frame + 1] != allophone):
                ends.append(frame + 1)
        return np.array(starts), np.array(ends)

    for i in range(3):
        check(data, "script", i, find(data.names[i]))
    return [each_peer(data, "script", find, limit=5)]


def check(data: SegmentData, peer: str, entry: int, actual: Boundaries) -> None:
    for got, want in zip(actual, data.words(entry), strict=True):
        check_equal(peer, data.names[entry], np.asarray(got, np.int64), want)


def segmenter_peer(archive: Any, data: SegmentData, limit: int) -> Peer:
    """Names of words, by lexicon and orthography."""
    from sprintcache import lexicon
    from sprintcache.segmentation import Segmenter

    symbols = sorted({name.partition("{")[0] for name in data.inventory.allophones})
    phonemes = [lexicon.Phoneme(symbol, symbol != SILENCE) for symbol in symbols]
    ids = {symbol: number for number, symbol in enumerate(symbols, 1)}
    silence = lexicon.Lemma(
        (SILENCE, ""), (lexicon.Pronunciation((ids[SILENCE],)),), special="silence"
    )
    allophones = data.inventory.allophones
    spoken = {
        tuple(ids[allophones[index].partition("{")[0]] for index in word)
        for word in data.inventory.words
    }
    lemmas = [
        lexicon.Lemma(("_".join(map(str, phones)),), (lexicon.Pronunciation(phones),))
        for phones in sorted(spoken)
    ]
    pronunciations = lexicon.Lexicon(phonemes, [silence, *lemmas])
    segmenter = Segmenter(allophones, pronunciations)
    orthographies = {}
    for name in data.names[: 2 * limit]:
        words = segmenter.segment(archive.read_alignment(name), None, 0.01).words
        orthographies[name] = " ".join(word.symbol for word in words)

    def find(name: str) -> None:
        segmenter.segment(archive.read_alignment(name), orthographies[name], 0.01)

    def plan(order: Order) -> Run:
        names = [data.names[i % (2 * limit)] for i in order]

        def run() -> None:
            for name in names:
                find(name)

        return run

    return Peer("ours, named by lexicon", plan, limit)


def our_peers(module: ModuleType, data: SegmentData, limit: int) -> list[Peer]:
    from sprintcache.segmentation import segment_archive

    archive = module.open_archive(str(data.path))
    names = data.names[:500]
    allophones = data.inventory.allophones
    segments = segment_archive(archive, allophones, "words", names)
    for entry, (_, words) in enumerate(segments):
        check(data, "ours", entry, (words.start, words.end))

    def numpy_words(name: str) -> Boundaries:
        return data.words_of(archive.read_alignment(name).emission)

    check(data, "numpy", 0, numpy_words(data.names[0]))
    return [
        archive_peer(archive, data, "ours, words", "words", 1),
        archive_peer(archive, data, "ours, words, 2 threads", "words", 2),
        archive_peer(archive, data, "ours, phones", "phones", 1),
        archive_peer(archive, data, "ours, states", "states", 1),
        each_peer(data, "numpy", numpy_words, limit=2000),
        segmenter_peer(archive, data, limit),
    ]


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--mb", type=int, help="MB of the archive")
    args = parser.parse_args()
    module = harness.ours(args)
    megabytes = args.mb or (1 if args.quick else max(64, 2 * harness.cache_size() >> 20))
    distinct = 100 if args.quick else 2000
    rounds = args.rounds or (3 if args.quick else 7)
    report = Report("bench_segmentation", args, module)
    with harness.workspace(args) as folder:
        rng = np.random.default_rng(args.seed)
        inventory = make_inventory(300 if args.quick else 5000, args.seed)
        allophones = folder / "allophones"
        write_inventory(inventory, allophones, folder / "state-tying")
        lengths = rng.integers(200, 1601, distinct).tolist()
        bodies = [trimmed(make_alignment(inventory, n, rng), inventory) for n in lengths]
        path = folder / "alignments.cache"
        data = SegmentData(
            path, write_alignments(path, bodies, megabytes << 20, inventory.symbols), inventory
        )
        harness.settle(folder)
        report.say(
            f"\n{len(inventory.allophones)} allophones, {len(data.names)} entries of 200 to 1600"
            f" frames with alphabet, {data.frames.sum() / 1e6:.1f} M frames, page cache warm"
        )
        peers = script_peer(data, allophones)
        if module is not None:
            peers += our_peers(module, data, 10 if args.quick else 40)
        base = "ours, words" if module is not None else "script"
        timings = measure(peers, data.frames, rounds, args.seed)
        report.timings("words and phones", timings, base)
        del peers
    if module is not None:
        ns = timings[base].ns_per_frame()
        others = [
            f"{name} {timings[name].ratio(timings[base]):.0f} x"
            for name in ("numpy", "script")
            if name in timings
        ]
        report.figure(
            "segment_archive",
            "words out of an archive of alignments",
            f"<= {LIMIT:.0f} ns a frame",
            ns,
            ns <= LIMIT,
            " ns",
            remark="; ".join(others),
        )
    report.finish()


if __name__ == "__main__":
    main()
