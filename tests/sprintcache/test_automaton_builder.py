"""AutomatonBuilder against the real exporter, and against the rules on lexica drawn at random."""

from __future__ import annotations

import ctypes
import os
import pickle
import random
import shutil
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache.automata
from sprintcache.automata import Automata, AutomatonBuilder, Transition, Transitions
from sprintcache.automata._graph import pronunciation_scores
from sprintcache.errors import (
    AutomatonError,
    ConfigurationError,
    EntryNotFoundError,
    SprintCacheError,
    UnsupportedError,
)
from sprintcache.lexicon import Lemma, Lexicon, Phoneme, Pronunciation
from tests.oracle import automata as oracle
from tests.paths import DATA, full_data

HERE = DATA / "automata"
INFINITY = float("inf")
REFUSED_AS_A_WHOLE = {
    "context-0-0": "first pronunciation of the lexicon",
    "eow-ctc": "first pronunciation of the lexicon",
    "ctc-noblank": "special='blank'",
    "ctc-weights": "silence, forward: expected 0, found 3.0",
    "sil-empty-pron": "is not one phoneme",
    "zero-weight-normalized": "lemma 'o'",
}


def configurations() -> list[tuple[str, Path]]:
    """Those that are here, then the others of the whole set where there is one."""
    names = {path.stem for path in HERE.glob("*.npz")}
    actual = [(name, HERE) for name in sorted(names)]
    folder = full_data()
    if folder is not None and (folder / "automata").is_dir():
        others = {path.stem for path in (folder / "automata").glob("*.npz")} - names
        actual += [(name, folder / "automata") for name in sorted(others)]
    return actual


def load(name: str, folder: Path = HERE) -> dict[str, Any]:
    with np.load(folder / f"{name}.npz") as arrays:
        return dict(arrays)


def pairs(name: str, folder: Path) -> dict[str, str]:
    """The configuration as pairs; what is gzipped here is named so."""
    actual = {}
    for key, value in load(name, folder)["config"].tolist():
        zipped = "/" in value and (folder / f"{value}.gz").is_file()
        actual[f"*.{key}"] = f"{value}.gz" if zipped else value
    return actual


def builder(name: str, folder: Path = HERE, **changes: str) -> AutomatonBuilder:
    changed = {f"*.{key.replace('__', '.')}": value for key, value in changes.items()}
    return AutomatonBuilder.from_sprint_config(pairs(name, folder), changed, base=folder)


def symbols(automata: Automata) -> list[str]:
    assert automata.state_symbols is not None
    return [automata.state_symbols[state] for state in automata.states.tolist()]


# ---- the real exporter


@pytest.mark.parametrize(
    ("name", "folder"), configurations(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_automata_are_those_of_the_real_exporter(name: str, folder: Path) -> None:
    real = load(name, folder)
    tags = real["tags"].tolist()
    if name in REFUSED_AS_A_WHOLE:
        assert not tags
        with pytest.raises(SprintCacheError, match=REFUSED_AS_A_WHOLE[name]):
            builder(name, folder)
        return
    ours = builder(name, folder)
    for tag in [*real["errors"][:, 0].tolist(), *real["tags"][real["cyclic"]].tolist()]:
        with pytest.raises(AutomatonError) as caught:
            ours.build_segments([tag])
        assert caught.value.entry == tag
    sound = np.flatnonzero(~real["cyclic"])
    if not len(sound):
        return
    expected = Automata.from_edges(
        real["edges"], real["weights"], real["start_end"], real["states"], None, None, tags
    )[sound.tolist()]
    actual = ours.build_segments([tags[i] for i in sound])
    np.testing.assert_array_equal(actual.start_end, expected.start_end)
    np.testing.assert_array_equal(actual.edges, expected.edges)
    np.testing.assert_allclose(actual.weights, expected.weights, rtol=0, atol=1e-6)
    assert symbols(actual) == real["state_symbols"][expected.states].tolist()


def test_a_refusal_says_which_word_and_why() -> None:
    with pytest.raises(AutomatonError, match=r"unknown word 'River'.*has no pronunciation"):
        builder("hmm").build(["River stone"])
    with pytest.raises(AutomatonError, match=r"word '\[SENTENCE-BEGIN\]' has no pronunciation"):
        builder("hmm").build(["moon", "moon [SENTENCE-BEGIN]"], ["first", "second"])
    with pytest.raises(AutomatonError, match=r"'\[SILENCE\]' and '\[NOISE\]' may alternate"):
        builder("noise-optional").build(["on no"])
    with pytest.raises(AutomatonError, match=r"no label for v\{i\+e\}\.0"):
        builder("tying-lookup-hole").build(["river"])
    with pytest.raises(AutomatonError, match=r"\[SILENCE\]\{#\+#\}@i@f\.0 loops"):
        builder("rna-units").build(["go"])
    with pytest.raises(AutomatonError, match="empty orthography without silence"):
        builder("ctc-units-nosil").build([""])
    with pytest.raises(EntryNotFoundError, match="no such segment"):
        builder("hmm").build_segments(["dev/nothing/1"])
    with pytest.raises(TypeError, match="sequence of str"):
        builder("hmm").build("river")


# ---- words, batches, the graph of an aligner


def test_edges_know_their_words() -> None:
    words = builder("within-word").build(["moon a"]).words
    assert words is not None
    assert {words[edge] for edge in range(len(words))} == {("[SILENCE]",), ("moon",), ("a",)}
    shared = builder("variants-s1-normalized-sequence").build(["new york"]).words
    assert shared is not None
    actual = {shared[edge] for edge in range(len(shared))}
    # the end of "york" is also that of the lemma "new york"
    assert actual == {("[SILENCE]",), ("new",), ("york",), ("new york",), ("york", "new york")}
    homophones = builder("variants").build(["eye i"]).words
    assert homophones is not None
    assert ("eye",) in {homophones[edge] for edge in range(len(homophones))}


def test_a_batch_is_its_sentences_one_after_the_other() -> None:
    ours = builder("skips-corrected")
    texts = ["green moon", "", "a", "green  moon\n"]
    batch = ours.build(texts, ["a", "b", "c", "d"])
    assert batch.tags == ("a", "b", "c", "d")
    for number, text in enumerate(texts):
        alone, part = ours.build([text]), batch[number]
        np.testing.assert_array_equal(part.edges, alone.edges)
        np.testing.assert_array_equal(part.weights, alone.weights)
        assert symbols(part) == symbols(alone)
    assert len(ours.build([])) == 0
    with pytest.raises(ValueError, match="2 orthographies, but 1 tags"):
        ours.build(["a", "a"], ["a"])


def test_a_builder_survives_pickling_and_serves_threads() -> None:
    ours = builder("tdp-cart")
    copy = pickle.loads(pickle.dumps(ours))
    texts = [ours.orthography(tag) for tag in load("tdp-cart")["tags"].tolist()]
    expected = ours.build(texts)
    np.testing.assert_array_equal(copy.build(texts).weights, expected.weights)
    with ThreadPoolExecutor(4) as pool:
        for actual in pool.map(lambda _: ours.build(texts), range(16)):
            np.testing.assert_array_equal(actual.edges, expected.edges)
    for text, graph in zip(texts, ours.acceptors(texts, num_threads=3), strict=True):
        np.testing.assert_array_equal(graph.arc_weight, ours.acceptor(text).arc_weight)


def test_memory_of_builders_is_freed() -> None:
    """Each has memory of a thread that compiled: at least 100 KiB."""

    def anonymous_kib() -> int:
        return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

    ours = builder(configurations()[0][0])
    word = next(lemma.symbol for lemma, _ in ours.pronunciations if lemma.symbol.isalpha())
    state = pickle.dumps(ours)

    def use(count: int) -> int:
        for _ in range(count):
            pickle.loads(state).acceptor(word)
        return anonymous_kib()

    before = use(10)
    assert use(40) - before < 2048


@pytest.mark.parametrize("name", ["skips-corrected", "variants", "no-unknown", "ctc-units-cd"])
def test_an_acceptor_has_the_paths_of_the_automaton(name: str) -> None:
    ours = builder(name)
    for tag in load(name)["tags"].tolist()[:6]:
        text = ours.orthography(tag)
        graph, automaton = ours.acceptor(text), ours.build([text])
        begin = graph.arc_begin.tolist()
        best = {graph.initial: 0.0}
        end = int(automaton.start_end[1, 0])
        cost = {0: 0.0}
        for _ in range(25):
            following: dict[int, float] = {}
            for state, score in best.items():
                arcs = slice(begin[state], begin[state + 1])
                keys = list(zip(graph.arc_label[arcs], graph.arc_target[arcs], strict=True))
                assert keys == sorted(keys)
                for arc in range(begin[state], begin[state + 1]):
                    target = int(graph.arc_target[arc])
                    total = score + float(graph.arc_weight[arc])
                    following[target] = min(following.get(target, INFINITY), total)
            best = following
            shortest: dict[int, float] = {}
            for (source, target), weight in zip(
                automaton.edges[:2].T.tolist(), automaton.weights.tolist(), strict=True
            ):
                if source in cost:
                    total = cost[source] + weight
                    shortest[target] = min(shortest.get(target, INFINITY), total)
            cost = shortest
            finals = (score + float(graph.final_weight[state]) for state, score in best.items())
            # the export sums parallel edges, which lowers a weight by up to ln 2 an edge
            assert min(finals, default=INFINITY) >= cost.get(end, INFINITY) - 1e-4
            reached = [s for s in best if graph.final_weight[s] < INFINITY]
            assert bool(reached) == (end in cost)


def test_an_acceptor_names_pronunciations_and_words() -> None:
    ours = builder("variants")
    graph = ours.acceptor("new york city")
    actual = set()
    for arc in np.flatnonzero(graph.arc_pronunciation >= 0):
        lemma, phon = ours.pronunciations[graph.arc_pronunciation[arc]]
        first, stop = graph.arc_words[:, arc].tolist()
        assert lemma.symbol.split() == ["new", "york", "city"][first:stop] or first == stop
        assert ours.state_symbols[graph.arc_label[arc]].startswith(
            ours.lexicon.symbols(phon.phones[:1])
        )
        actual.add(lemma.symbol)
    assert actual >= {"[SILENCE]", "new", "york", "city", "new york", "york city", "new york city"}
    assert (graph.arc_words[:, graph.arc_pronunciation < 0] == -1).all()


# ---- parameters


def test_the_configuration_of_librasr_and_of_nn_trainer(tmp_path: Path) -> None:
    given = pairs("hmm", HERE)
    library = {f"lib-rasr.{name[2:]}": value for name, value in given.items()}
    trainer = {f"neural-network-trainer.{name[2:]}": value for name, value in given.items()}
    expected = builder("hmm").build(["green moon"])
    for names in (given, library, trainer):
        ours = AutomatonBuilder.from_sprint_config(names, base=HERE)
        np.testing.assert_array_equal(ours.build(["green moon"]).edges, expected.edges)
    with pytest.raises(ConfigurationError, match=r"lexicon\.file is not set"):
        AutomatonBuilder.from_sprint_config(library, selection="neural-network-trainer", base=HERE)
    file = tmp_path / "am.config"
    file.write_text("".join(f"{name} = {value}\n" for name, value in given.items()))
    line = [f"--config={file}", "--*.hmm.states-per-phone=2", "--*.tdp.silence.exit", "7"]
    ours = AutomatonBuilder.from_sprint_config(line, base=HERE)
    assert ours.label_table.shape[0] == 3  # more literal components win over later names
    deeper = "*.alignment-fsa-exporter.model-combination.acoustic-model.hmm.states-per-phone"
    ours = AutomatonBuilder.from_sprint_config(
        "corpus/am.config",
        {"*.tying": "monophone", "*.lexicon.file": "corpus/lexicon.xml.gz"},
        ["--*.corpus.file=corpus/corpus.xml.gz"],
        base=DATA,
    )
    assert len(ours.build_segments(["espeak/rec000/1"])) == 1
    ours = AutomatonBuilder.from_sprint_config(file, {deeper: 1}, base=HERE)
    assert ours.label_table.shape[0] == 1
    with pytest.raises(FileNotFoundError):
        AutomatonBuilder.from_sprint_config(tmp_path / "none.config")
    with pytest.raises(ConfigurationError, match="could not resolve"):
        AutomatonBuilder.from_sprint_config({**given, deeper: "$(nothing-of-this)"}, base=HERE)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("state-tying.type", "cart", UnsupportedError, "decision trees"),
        ("state-tying.type", "tree", ConfigurationError, "not one of"),
        ("topology", "mono", ConfigurationError, "not one of hmm, ctc, rna"),
        ("label-min-duration", "2", UnsupportedError, "label-min-duration = 2"),
        ("tdp.state-0.loop", "much", ConfigurationError, "not a number"),
        ("hmm.states-per-phone", "0", ConfigurationError, "1 to 16"),
        ("normalize-lemma-sequence-scores", "true", AutomatonError, "silence_repetitions"),
        ("state-tying.type", "monophone-dense", None, ""),
    ],
)
def test_parameters_that_are_refused(
    name: str, value: str, error: type[Exception] | None, message: str
) -> None:
    exact: dict[str, str] = {key: value for key in pairs("hmm", HERE) if key.endswith(name)} or {
        f"*.allophone-state-graph-builder.orthographic-parser.{name}": value,
        f"*.allophone-state-graph-builder.{name}": value,
    }
    if error is None:
        AutomatonBuilder.from_sprint_config(pairs("hmm", HERE), exact, base=HERE)
        return
    with pytest.raises(error, match=message):
        AutomatonBuilder.from_sprint_config(pairs("hmm", HERE), exact, base=HERE)


def test_keywords_say_the_same_as_a_configuration() -> None:
    inf = INFINITY
    ours = AutomatonBuilder(
        HERE / "lexica" / "letters.xml.gz",
        across_word=True,
        phone_transition=(3, 0, inf, 0),
        silence_transition=Transition(loop=0, forward=3, skip=inf, exit=3),
        entry_transition={"loop": inf, "forward": 0, "skip": inf, "exit": 0},
        corpus=HERE / "corpora" / "letters.xml.gz",
    )
    tags = load("hmm")["tags"].tolist()
    expected = builder("hmm").build_segments(tags)
    actual = ours.build_segments(tags)
    np.testing.assert_array_equal(actual.edges, expected.edges)
    np.testing.assert_array_equal(actual.weights, expected.weights)
    with pytest.raises(ValueError, match="give transitions or scale, not both"):
        AutomatonBuilder(ours.lexicon, transitions=Transitions(), transition_scale=1.0)
    with pytest.raises(ValueError, match="applicator"):
        AutomatonBuilder(ours.lexicon, applicator="new")


@pytest.mark.parametrize("kind", ["no-tying-dense", "diphone-dense", "monophone-dense"])
@pytest.mark.parametrize("classes", ["boundary", "word end", "none"])
def test_labels_of_dense_tyings(kind: str, classes: str) -> None:
    """Digits of a number: phone and state, classes, phone to the left, phone to the right."""
    ours = AutomatonBuilder(
        HERE / "lexica" / "letters.xml.gz",
        state_tying=kind,
        across_word=True,
        boundary_classes=classes == "boundary",
        word_end_classes=classes == "word end",
    )
    num_phones = len(ours.lexicon.phonemes) + 1  # 0 is no phone
    num_classes = {"boundary": 4, "word end": 2, "none": 1}[classes]
    num_sides = {"no-tying-dense": 2, "diphone-dense": 1, "monophone-dense": 0}[kind]
    assert ours.num_labels == num_phones * 3 * num_classes * num_phones**num_sides
    for state in range(3):
        actual = ours.label_table[state].tolist()
        for label, allophone in zip(actual, ours.alphabet.allophones, strict=True):
            sides = [allophone.history[:1] or (0,), allophone.future[:1] or (0,)]
            expected = 3 * allophone.phone + state
            expected *= num_classes
            expected += allophone.boundary % num_classes if classes != "word end" else 0
            expected += int(classes == "word end" and allophone.boundary >= 2)  # initial 1, final 2
            for (phone,) in sides[:num_sides]:
                expected = expected * num_phones + phone
            assert label == expected


def test_defaults_of_a_builder() -> None:
    phonemes = [Phoneme(symbol, symbol != "[S]") for symbol in ("[S]", "a", "b", "c")]
    silence = Lemma(("[S]", ""), (Pronunciation((1,)),), "silence")
    lexicon = Lexicon(phonemes, [silence, Lemma(("abc",), (Pronunciation((2, 3, 4)),))])
    usual, kept, dropped = (
        AutomatonBuilder(lexicon, add_all_allophones=True, across_word=True, **drop).build(["abc"])
        for drop in ({}, {"drop_invalid_allophones": False}, {"drop_invalid_allophones": True})
    )
    assert symbols(usual) == symbols(kept)
    assert set(symbols(kept)) - set(symbols(dropped)) >= {f"b{{#+#}}.{state}" for state in range(3)}
    with pytest.raises(ValueError, match="state_repetitions must be 1 to 255, not 256"):
        AutomatonBuilder(lexicon, state_repetitions=256)


@pytest.mark.parametrize(("size", "check"), [(200, 0x95CBCC43), (1000, 0x779B7E00)])
def test_finals_of_many_phones_are_in_the_order_of_an_unordered_set(size: int, check: int) -> None:
    """As ``for (unsigned p : set)`` prints them after ``insert`` in this order (libstdc++ 12)."""
    finals = [2 + 37 * i % 1500 for i in range(size)]
    lemmas = [Lemma((f"w{phone}",), (Pronunciation((1, phone)),)) for phone in finals]
    phonemes = [Phoneme(f"p{number}", True) for number in range(1, 1502)]
    ours = AutomatonBuilder(
        Lexicon(phonemes, lemmas), across_word=True, history_length=1, future_length=0
    )
    first = [a.history[0] for a in ours.alphabet.allophones if a.phone == 1 and a.history]
    assert sorted(first) == sorted(finals)
    assert zlib.crc32(" ".join(map(str, first)).encode()) == check


def test_words_are_linked_without_contexts_wherever_silence_is() -> None:
    """Sprint cannot if a word of one phone comes first, by the order in which it evaluates."""
    files = pairs("context-0-0-sil-last", HERE)
    last = AutomatonBuilder.from_sprint_config(files, base=HERE)
    ours = AutomatonBuilder(
        HERE / "lexica" / "letters.xml.gz",
        history_length=0,
        future_length=0,
        across_word=True,
        phone_transition=(3, 0, INFINITY, 0),
        silence_transition=(0, 3, INFINITY, 3),
        entry_transition=(INFINITY, 0, INFINITY, 0),
    )
    text = "green a moon"
    assert len(symbols(ours.build([text]))) == len(symbols(last.build([text])))
    assert sorted(symbols(ours.build([text]))) == sorted(symbols(last.build([text])))


def test_a_vocabulary_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("the\ncat\n\nsat\n")
    ours = AutomatonBuilder(f"vocab-text:{file}", states_per_phone=1)
    actual = ours.build(["cat sat"])
    assert set(symbols(actual)) == {"cat{#+#}@i@f.0", "sat{#+#}@i@f.0"}
    assert actual.num_labels == 3
    with pytest.raises(AutomatonError, match="'dog' is not in the lexicon"):
        ours.build(["dog"])


# ---- the rules, on lexica drawn at random


def drawn_lexicon(draw: random.Random, size: int) -> tuple[Lexicon, list[str]]:
    """A lexicon with everything that makes automata difficult, and its tokens."""
    phones = [f"p{i}" for i in range(draw.randint(1, 4 if size < 20 else 8))]
    phonemes = [Phoneme("[S]", draw.random() < 0.05)]
    phonemes += [Phoneme(phone, draw.random() < 0.8) for phone in phones]
    if draw.random() < 0.5:
        phonemes.insert(draw.randint(0, len(phones)), Phoneme("[N]", False))
    phonemes.append(Phoneme("[B]", False))
    ids = {phoneme.symbol: number for number, phoneme in enumerate(phonemes, 1)}
    usable = [ids[p.symbol] for p in phonemes if p.symbol not in ("[S]", "[B]")]
    lemmas = [Lemma(("[B]",), (Pronunciation((ids["[B]"],)),), "blank")]
    if draw.random() < 0.85:
        spelled = ("[S]", "") if draw.random() < 0.8 else ("[S]",)
        lemmas.insert(0, Lemma(spelled, (Pronunciation((ids["[S]"],)),), "silence"))
    if draw.random() < 0.5:
        phons = (Pronunciation((usable[0],)),) if draw.random() < 0.5 else ()
        lemmas.append(Lemma(("[U]",), phons, "unknown"))
    if draw.random() < 0.15:
        spelled = ("[N]", "") if draw.random() < 0.3 else ("[N]",)
        lemmas.append(Lemma(spelled, (Pronunciation((usable[-1],)),)))
    vocabulary = []
    for number in range(size):
        words = [
            f"w{draw.randint(0, max(2, size // 2))}" for _ in range(draw.choice((1, 1, 1, 2, 3)))
        ]
        vocabulary += words
        phons: dict[tuple[int, ...], Pronunciation] = {}
        for _ in range(draw.choice((1, 1, 1, 2, 3, 0))):
            length = draw.choice((1, 2, 2, 3, 3, 4, 5)) if draw.random() < 0.98 else 0
            chosen = tuple(draw.choice(usable) for _ in range(length))
            weight = draw.choice((1.0, 0.5, 0.25, 0.1, 0.0)) if draw.random() < 0.2 else 1.0
            phons[chosen] = Pronunciation(chosen, weight)
        spelled = (" ".join(words),) if draw.random() < 0.9 else (" ".join(words), f"v{number}")
        lemmas.append(Lemma(spelled, tuple(phons.values())))
    if draw.random() < 0.3:
        draw.shuffle(lemmas)
    return Lexicon(phonemes, lemmas), vocabulary


def drawn_parameters(draw: random.Random, is_small: bool) -> dict[str, Any]:
    topology = draw.choice(("hmm", "hmm", "hmm", "ctc", "rna"))
    finite, any_ = (0.0, 0.0, 0.5, 1.25, 3.0, 0.1), (0.0, 0.5, 3.0, INFINITY)

    def transition() -> Transition:
        kinds = (any_ if i == 2 or draw.random() < 0.03 else finite for i in range(4))
        return Transition(*(draw.choice(kind) for kind in kinds))

    transitions = Transitions(
        transition(),
        transition(),
        transition(),
        scale=draw.choice((1.0, 1.0, 0.3, 0.0)),
        applicator=draw.choice(("legacy", "legacy", "corrected")),
    )
    if topology == "ctc":
        still = Transition(0, 0, INFINITY, 0)
        transitions = Transitions(still, still, Transition(INFINITY, 0, INFINITY, 0))
    lengths = [(1, 1)] * 5 + [(0, 0), (1, 0), (0, 1), (2, 2), (2, 1), (1, 2)]
    history_length, future_length = draw.choice(lengths)
    return {
        "topology": topology,
        "state_tying": draw.choice(("monophone", "monophone-eow", "no-tying-dense", "no-tying")),
        "boundary_classes": draw.random() < 0.3,
        "states_per_phone": draw.choice((1, 1, 2, 3, 4)),
        "state_repetitions": draw.choice((1, 1, 2)),
        "across_word": draw.random() < 0.7,
        "history_length": history_length,
        "future_length": future_length,
        "add_all_allophones": is_small and draw.random() < 0.1,
        "fix_word_boundaries": draw.random() < 0.25,
        "drop_invalid_allophones": draw.random() < 0.2,
        "silence_repetitions": draw.random() < 0.6,
        "normalize_pronunciations": draw.random() < 0.7,
        "transitions": transitions,
    }


def rules(ours: AutomatonBuilder, parameters: dict[str, Any]) -> oracle.Model:
    """The same lexicon and parameters for the oracle."""
    names = [phoneme.symbol for phoneme in ours.lexicon.phonemes]

    def named(phones: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(names[phone - 1] for phone in phones)

    lemmas = []
    for lemma in ours.lexicon.lemmas:
        weights = [phon.weight for phon in lemma.pronunciations]
        scores = pronunciation_scores(
            weights, [False] * len(weights), parameters["normalize_pronunciations"]
        )
        assert scores is not None
        phons = [named(phon.phones) for phon in lemma.pronunciations]
        lemmas.append(
            (
                list(lemma.orthographies),
                list(zip(phons, scores.tolist(), strict=True)),
                lemma.special or "",
            )
        )
    silence = ours.lexicon.special("silence")
    transitions = parameters["transitions"]
    sets = dict(zip(("entry", "silence", "phone"), transitions.sets(2).tolist(), strict=True))
    return oracle.Model(
        lemmas=lemmas,
        allophones=[
            (names[a.phone - 1], named(a.history), named(a.future), a.boundary)
            for a in ours.alphabet.allophones
        ],
        label_of=lambda allophone, state: int(ours.label_table[state, allophone]),
        dependent={p.symbol for p in ours.lexicon.phonemes if p.context_dependent},
        phone_order=names,
        silence="" if silence is None else named(silence.pronunciations[-1].phones)[0],
        sets=sets,
        history_length=parameters["history_length"],
        future_length=parameters["future_length"],
        states=parameters["states_per_phone"],
        repetitions=parameters["state_repetitions"],
        topology=parameters["topology"],
        silence_repetitions=parameters["silence_repetitions"],
        corrected=transitions.applicator == "corrected",
        fix=parameters["fix_word_boundaries"],
        drop_invalid=parameters["drop_invalid_allophones"],
        blank=None if ours.blank_state is None else (ours.blank_state, 0),
    )


def check_against_the_rules(seed: int, size: int) -> None:
    draw = random.Random(seed)
    lexicon, vocabulary = drawn_lexicon(draw, size)
    parameters = drawn_parameters(draw, size < 20)
    try:
        ours = AutomatonBuilder(lexicon, **parameters)
    except AutomatonError as error:
        assert "cannot be normalized" in str(error)  # noqa: PT017
        return
    model = rules(ours, parameters)
    for _ in range(3):
        others = ["zz"] * (draw.random() < 0.3) + ["[S]", "[N]"]
        text = " ".join(draw.choice(vocabulary + others) for _ in range(draw.randint(0, 4)))
        check_text(ours, parameters, model, text)


def check_text(
    ours: AutomatonBuilder, parameters: dict[str, Any], model: oracle.Model, text: str
) -> None:
    try:
        num_states, expected = oracle.automaton(model, text)
    except oracle.RefusedError:
        with pytest.raises(AutomatonError):
            ours.build([text])
        return
    automata = ours.build([text])
    actual = list(zip(*automata.edges[:3].tolist(), automata.weights.tolist(), strict=True))
    assert int(automata.start_end[1, 0]) + 1 == num_states, (text, parameters)
    assert [edge[:2] for edge in actual] == [edge[:2] for edge in expected], (text, parameters)
    if parameters["topology"] == "rna":  # std::sort leaves parallel edges in any order
        actual.sort()
        expected.sort()
    for edge, rule in zip(actual, expected, strict=True):
        assert edge[:3] == rule[:3], (text, parameters)
        assert edge[3] == rule[3] or abs(edge[3] - rule[3]) < 1e-5, (text, parameters)


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(1, 8))
def test_automata_follow_the_rules(seed: int, size: int) -> None:
    check_against_the_rules(seed, size)


@pytest.mark.parametrize("topology", ["hmm", "rna"])
def test_automata_of_many_arcs_follow_the_rules(topology: str) -> None:
    """A word of 90 pronunciations: more arcs leave a state than are sorted by insertion."""
    phonemes = [Phoneme(symbol, False) for symbol in ["[S]", *(f"p{i}" for i in range(40)), "[B]"]]
    spelled = [(2 + 7 * i % 40,) if i < 40 else (2 + i % 40, 2 + i % 7) for i in range(90)]
    lemmas = [
        Lemma(("[B]",), (Pronunciation((42,)),), "blank"),
        Lemma(("[S]", ""), (Pronunciation((1,)),), "silence"),
        Lemma(("w",), tuple(map(Pronunciation, spelled))),
    ]
    still = Transition(0, 0, INFINITY, 0)
    parameters = {
        **drawn_parameters(random.Random(0), False),
        "topology": topology,
        "transitions": Transitions(still, still, Transition(INFINITY, 0, INFINITY, 0)),
        "state_tying": "no-tying-dense",
        "history_length": 0,
        "future_length": 0,
    }
    ours = AutomatonBuilder(Lexicon(phonemes, lemmas), **parameters)
    check_text(ours, parameters, rules(ours, parameters), "w w")


# keys that the median of three divides badly, so that heap sort ends it, and the order that
# libstdc++ 12 brings their indices into
KEYS = (
    "46 0 35 1 42 2 34 3 49 4 33 5 41 6 32 7 45 8 31 9 40 10 12 11 49 48 47 46 45 44 43 42 41 "
    "40 39 38 37 36 35 34 33 32 47 39 44 38 48 37 43 36 0 1 2 3 4 5 6 7 8 9 10 11 31 29 30 28 "
    "29 27 28 26 27 25 26 24 25 23 24 22 23 21 22 20 21 19 20 18 19 17 18 16 17 15 16 14 15 "
    "13 14 12 13 30 "
)
ORDER = (
    "1 50 3 51 5 52 7 53 9 54 11 55 13 56 15 57 17 58 19 59 21 60 23 61 97 22 98 95 93 96 94 "
    "91 89 92 87 90 85 88 83 86 84 81 79 82 77 80 75 78 73 76 71 74 69 72 67 70 65 68 63 66 "
    "99 64 18 62 14 41 10 40 39 6 2 38 49 37 47 36 45 35 43 34 20 33 12 32 31 4 48 30 44 29 "
    "16 28 27 0 42 26 25 46 24 8 "
)


def test_the_order_of_equal_keys_is_that_of_the_standard_library(tmp_path: Path) -> None:
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        pytest.skip("there is no C compiler")
    folder = Path(sprintcache.automata.__file__).parent
    if not (folder / "_graph_core").is_dir():
        pytest.skip("the sources are not here")
    call = "void sort_keys(sort_item *at, uint32_t count) { standard_sort(at, count); }\n"
    (tmp_path / "sort.c").write_text(f'#include "_graph_core/standard_sort.h"\n{call}')
    options = ["-w", "-O0", "-shared", "-fPIC", f"-I{folder}"]
    library = tmp_path / "sort.so"
    subprocess.run([compiler, *options, tmp_path / "sort.c", "-o", library], check=True)
    items = np.zeros(100, np.dtype([("key", "u8"), ("edge", "u4"), ("", "u4")]))
    items["key"] = list(map(int, KEYS.split()))
    items["edge"] = np.arange(100)
    ctypes.CDLL(str(library)).sort_keys(ctypes.c_void_p(items.ctypes.data), 100)
    assert items["edge"].tolist() == list(map(int, ORDER.split()))


@pytest.mark.parametrize("seed", range(4))
def test_automata_of_many_words_follow_the_rules(seed: int) -> None:
    check_against_the_rules(seed, 150)
