"""Automata of orthographies: ours, and the rules as the tests have them, in plain Python.

Three HMM states a phone, contexts across words, a lexicon of 34 words. Automata are compared with
those of the real exporter, and with the rules, before anything is timed. Sentences have 1 to 320
words, so that the table shows how time grows. The real nn-trainer took 1.5 ms for 8 words, and
739 ms for 320, on the machine where the data come from.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data/automata"
SIZES = (1, 8, 40, 80, 160, 320)
SENTENCES = 16


def make_builder(sprintcache: ModuleType) -> Any:
    """The builder of the configuration hmm, compared with the real exporter."""
    with np.load(DATA / "hmm.npz") as arrays:
        real = dict(arrays)
    pairs = {
        f"*.{name}": f"{value}.gz" if "/" in value else value
        for name, value in real["config"].tolist()
    }
    builder = sprintcache.automata.AutomatonBuilder.from_sprint_config(pairs, base=DATA)
    automata = builder.build_segments(real["tags"].tolist())
    for name in ("edges", "weights", "start_end"):
        check_equal("ours", name, getattr(automata, name), real[name])
    return builder


def make_sentences(builder: Any, num_words: int, count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed + num_words)
    lemmas = [lemma for lemma in builder.lexicon.lemmas if not lemma.special]
    words = [lemma.symbol for lemma in lemmas if lemma.pronunciations]
    return [" ".join(rng.choice(words, num_words)) for _ in range(count)]


def ours_peer(builder: Any, sentences: list[str], batch: int) -> Peer:
    def plan(order: Order) -> Run:
        parts = [
            [sentences[i] for i in order[first : first + batch]]
            for first in range(0, len(order), batch)
        ]

        def run() -> object:
            return [builder.build(part) for part in parts]

        return run

    return Peer(f"ours, {batch} at once", plan)


def rules_peer(builder: Any, sentences: list[str]) -> Peer:
    """The rules in Python, compared with ours on the first sentence."""
    sys.path.insert(0, str(ROOT))
    from tests.oracle import automata as oracle

    names = [phoneme.symbol for phoneme in builder.lexicon.phonemes]

    def named(phones: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(names[phone - 1] for phone in phones)

    lemmas = [
        (
            list(lemma.orthographies),
            [(named(phon.phones), 0.0) for phon in lemma.pronunciations],
            lemma.special or "",
        )
        for lemma in builder.lexicon.lemmas
    ]
    largest = float(np.finfo(np.float32).max)
    model = oracle.Model(
        lemmas=lemmas,
        allophones=[
            (names[a.phone - 1], named(a.history), named(a.future), a.boundary)
            for a in builder.alphabet.allophones
        ],
        label_of=lambda allophone, state: int(builder.label_table[state, allophone]),
        dependent={p.symbol for p in builder.lexicon.phonemes if p.context_dependent},
        phone_order=names,
        silence="[SILENCE]",
        sets={
            "entry": (largest, 0.0, largest, 0.0),
            "silence": (0.0, 3.0, largest, 3.0),
            "phone": (3.0, 0.0, largest, 0.0),
        },
    )
    _, edges = oracle.automaton(model, sentences[0])
    ours = builder.build(sentences[:1])
    check_equal(
        "the rules", sentences[0], np.array(edges)[:, :3].T.astype(np.uint32), ours.edges[:3]
    )

    def plan(order: Order) -> Run:
        return lambda: [oracle.automaton(model, sentences[i]) for i in order]

    return Peer("the rules in Python", plan, limit=1)


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    sprintcache = harness.ours(args)
    report = Report("automata", args, sprintcache)
    if sprintcache is None:
        report.finish()
        return
    import sprintcache.automata

    rounds = args.rounds or (3 if args.quick else 31)
    builder = make_builder(sprintcache)
    sentences = make_sentences(builder, 8, SENTENCES, args.seed)
    words = np.full(SENTENCES, 8)
    peers = [ours_peer(builder, sentences, batch) for batch in (1, SENTENCES)]
    slow = [rules_peer(builder, sentences)]
    timings = measure(peers + slow, words, min(rounds, 5), args.seed)
    report.timings("automata of 8 words; a frame is a word", timings, "ours, 16 at once")
    timings = measure(peers, words, rounds, args.seed)
    micros = timings[f"ours, {SENTENCES} at once"].us_per_entry()
    report.figure(
        "automata_build",
        "building the automaton of 8 words",
        "at most 60 µs",
        micros,
        micros <= 60,
        " µs",
        1,
        remark=f"one at a time {timings['ours, 1 at once'].us_per_entry():.0f} µs",
    )
    rows, per_word = [], {}
    for size in SIZES:
        count = 4 if size > 80 else SENTENCES
        texts = make_sentences(builder, size, count, args.seed)
        (timing,) = measure(
            [ours_peer(builder, texts, count)], np.full(count, size), rounds, args.seed
        ).values()
        edges = builder.build(texts).num_edges // count
        per_word[size] = timing.ns_per_frame()
        rows.append([size, edges, f"{timing.us_per_entry():.1f}", f"{per_word[size] / 1e3:.2f}"])
    report.table("how time grows", ["words", "edges", "µs", "µs/word"], rows)
    growth = per_word[320] / per_word[8]
    report.figure(
        "automata_growth",
        "time per word of 320 words over that of 8",
        "at most 1.5",
        growth,
        growth <= 1.5,
    )
    report.finish()


if __name__ == "__main__":
    main()
