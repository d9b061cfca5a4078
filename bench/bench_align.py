"""The aligner: search alone, and an hour of posteriors from archive to archive.

Sentences of words drawn from the lexicon of tests/data/aligner; posteriors are noise with a bonus
on the labels of a drawn path, as of a trained model. "search" is three states a phone, 10 ms a
frame, in rounds of growing beams as Sprint does them (500 to 4000 by 2). The peer is a dense
Viterbi search in numpy over the same acceptor, one round. "an hour" is one state a phone at 40 ms
a frame, sentences of 35 words: acceptors, reading, search and writing together, in two threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, measure

DATA = Path(__file__).parents[1] / "tests" / "data" / "aligner"
BEAMS = {"min_beam": 500.0, "max_beam": 4000.0, "beam_factor": 2.0}
SPRINT_US = 16.5  # the real aligner, three states, no skips, 140 active, one busy core of two


class Sentences:
    """An aligner, orthographies, and posteriors that follow a path through their acceptors."""

    def __init__(self, states: int, words: int, count: int, dwell: float, seed: int) -> None:
        from sprintcache.align import Aligner
        from sprintcache.automata.builder import AutomatonBuilder

        rng = np.random.default_rng(seed)
        infinity = float("inf")
        builder = AutomatonBuilder(
            DATA / "corpus" / "lexicon.base.xml",
            states_per_phone=states,
            across_word=True,
            phone_transition=(3.0, 0.0, infinity, 0.0),
            silence_transition=(0.0, 3.0, infinity, 3.0),
            entry_transition=(infinity, 0.0, infinity, 0.0),
        )
        self.aligner = Aligner(builder, **BEAMS)
        vocabulary = sorted(
            {lemma.symbol for lemma, _ in builder.pronunciations if lemma.symbol.isalpha()}
        )
        self.texts = [" ".join(rng.choice(vocabulary, words)) for _ in range(count)]
        self.posteriors = [self._posteriors(text, dwell, rng) for text in self.texts]
        self.frames = np.array([len(x) for x in self.posteriors])

    def _posteriors(self, text: str, dwell: float, rng: np.random.Generator) -> Any:
        """(T, L) float32 log posteriors: noise, and a bonus of 8 on the labels of a path."""
        builder = self.aligner.builder
        acceptor = builder.acceptor(text)
        state, labels = acceptor.initial, []
        while True:
            arcs = np.arange(acceptor.arc_begin[state], acceptor.arc_begin[state + 1])
            arcs = arcs[acceptor.arc_target[arcs] != state]
            is_final = np.isfinite(acceptor.final_weight[state])
            if not len(arcs) or (is_final and rng.random() < 0.5):
                break
            arc = rng.choice(arcs)
            ids = int(acceptor.arc_label[arc])
            label = builder.label_table[ids >> 26, ids & 0x03FFFFFF]
            labels += [label] * int(rng.geometric(1 / dwell))
            state = int(acceptor.arc_target[arc])
        x = rng.normal(0, 1.5, (len(labels), builder.num_labels))
        x[np.arange(len(labels)), labels] += 8
        x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
        return x.astype(np.float32)


def labels_in_use(data: Sentences, acceptor: Any) -> Any:
    """(C,) labels of the arcs, and (A,) index of the label of each arc."""
    ids = acceptor.arc_label
    labels = data.aligner.builder.label_table[ids >> 26, ids & 0x03FFFFFF]
    return np.unique(labels, return_inverse=True)


def dense_viterbi(acceptor: Any, columns: Any, x: Any) -> float:
    """Score of the best path, all arcs in every frame."""
    column_label, arc_column = columns
    sources = np.repeat(np.arange(acceptor.num_states), np.diff(acceptor.arc_begin.astype(int)))
    by_target = np.argsort(acceptor.arc_target, kind="stable")
    targets, begins = np.unique(acceptor.arc_target[by_target], return_index=True)
    sources, columns = sources[by_target], arc_column[by_target]
    weights = acceptor.arc_weight[by_target]
    scores = np.full(acceptor.num_states, np.inf, np.float32)
    scores[acceptor.initial] = 0
    for row in -x[:, column_label]:
        best = np.minimum.reduceat(scores[sources] + weights + row[columns], begins)
        scores = np.full(acceptor.num_states, np.inf, np.float32)
        scores[targets] = best
    return float((scores + acceptor.final_weight).min())


def search_peers(data: Sentences) -> list[Peer]:
    aligner = data.aligner
    acceptors = [aligner.builder.acceptor(text) for text in data.texts]
    columns = [labels_in_use(data, acceptor) for acceptor in acceptors]
    for text, acceptor, column, x in list(
        zip(data.texts, acceptors, columns, data.posteriors, strict=True)
    )[:5]:
        score = aligner.align(x, text).score
        dense = dense_viterbi(acceptor, column, x)
        if score is None or abs(score - dense) > 1e-5 * abs(dense):
            raise AssertionError(f"dense search: {dense}, aligner {score}")

    def rounds(**options: Any) -> Any:
        def plan(order: Order) -> Run:
            def run() -> None:
                for i in order:
                    aligner._search([acceptors[i]], [data.posteriors[i]], **options)

            return run

        return plan

    def dense(order: Order) -> Run:
        def run() -> None:
            for i in order:
                dense_viterbi(acceptors[i], columns[i], data.posteriors[i])

        return run

    return [
        Peer("ours, rounds as Sprint", rounds()),
        Peer("ours, one round", rounds(factor=1.0)),
        Peer("numpy, dense, one round", dense, limit=4),
    ]


def hour_peer(data: Sentences, folder: Path) -> Peer:
    import sprintcache
    from sprintcache.align import align_segments, write_result

    names = [f"corpus/{i:05}/1" for i in range(len(data.texts))]
    with sprintcache.ArchiveWriter(folder / "posteriors.cache") as writer:
        for name, x in zip(names, data.posteriors, strict=True):
            writer.add_features(name, x, frame_shift=0.04, frame_length=0.04)
    data.aligner.builder._orthographies = dict(zip(names, data.texts, strict=True))
    scores = sprintcache.open_archive(folder / "posteriors.cache")

    def plan(order: Order) -> Run:
        def run() -> None:
            chosen = [names[i] for i in order]
            with sprintcache.ArchiveWriter(folder / "alignment.cache", "w") as writer:
                for result in align_segments(data.aligner, scores, chosen, num_threads=2):
                    if result.alignment is None:
                        raise AssertionError(result.reason)
                    write_result(writer, result, scores)

        return run

    return Peer("ours, archive to archive", plan)


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_align", args, module)
    if module is None:
        return
    count, rounds = (6, 2) if args.quick else (40, 7)
    data = Sentences(3, 8, count, 3.0, args.seed)
    timings = measure(search_peers(data), data.frames, args.rounds or rounds, args.seed)
    report.timings("search, three states a phone", timings, "ours, rounds as Sprint")
    value = timings["ours, rounds as Sprint"].ns_per_frame() / 1e3
    report.figure("align_search", "search a frame, three states, rounds as Sprint", "<= 3 us",
                  value, value <= 3, " us", remark=f"Sprint {SPRINT_US} us")  # fmt: skip
    hours = 0.02 if args.quick else 1.0
    with harness.workspace(args) as folder:
        sentences = max(3, round(292 * hours))
        data = Sentences(1, 35, sentences, 1.9, args.seed)
        report.say(f"{sentences} sentences of 35 words, {int(data.frames.sum())} frames")
        timings = measure([hour_peer(data, folder)], data.frames, args.rounds or 3, args.seed)
    timing = timings["ours, archive to archive"]
    report.timings("an hour at 40 ms a frame", timings, "ours, archive to archive")
    minutes = timing.ns_per_frame() * 1e-9 * 960 * 90_000 / 60
    report.figure("align_hours", "960 hours at 40 ms, 2 threads, extrapolated", "<= 4 min",
                  minutes, minutes <= 4, " min")  # fmt: skip
    report.finish()


if __name__ == "__main__":
    main()
