"""AutomatonBuilder: from orthographies to automata, as Sprint builds them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._configuration import Configuration, Source
from sprintcache._threads import ordered_map
from sprintcache.bliss import Corpus
from sprintcache.errors import (
    AutomatonError,
    ConfigurationError,
    EntryNotFoundError,
    SprintCacheError,
)
from sprintcache.lexicon import BLANK, SILENCE, UNKNOWN, Lemma, Lexicon, Pronunciation, tokens

from .acceptor import Acceptor
from .alphabet import FINAL, INITIAL, Allophone, Alphabet, StateSymbols
from .automata import Automata
from .compilation import NONE, boundary_arrays, pronunciation_arrays, tree_arrays
from .refusals import Refusals
from .sprint_parameters import builder_keywords, exporter_of
from .state_tying import StateTying, canonical_tying
from .transitions import Transition, Transitions
from .words import EdgeWords

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AutomatonBuilder"]

TOPOLOGIES = ("hmm", "ctc", "rna")
StrPath = str | os.PathLike[str]
_NO_STATE = 0xFFFFFFF0  # an allophone-state id that does not exist
_MAX_STATES, _MAX_REPETITIONS, _MAX_CONTEXT = 16, 255, 8
_CTC = (0.0, 0.0, float("inf"), 0.0)  # loop, forward, skip, exit


class AutomatonBuilder:
    """Builds automata of orthographies.

    What does not depend on the orthography is prepared once. A builder never changes; `build` and
    `acceptor` may be called by several threads and release the GIL.

    Attributes:
        lexicon: the words.
        topology: ``"hmm"``, ``"ctc"`` or ``"rna"``.
        alphabet: the allophones in Sprint's order.
        label_table: (states, allophones) uint32, label of every allophone state; 0xFFFFFFFF where
            the state tying has none.
        num_labels: number of labels of the state tying.
        state_symbols: symbols of the allophone states; `Automata.states` are indices into it.
        pronunciations: (lemma, pronunciation) by number, as in `Acceptor.arc_pronunciation`.
        silence_state, blank_state: allophone-state ids, or None.
    """

    def __init__(
        self,
        lexicon: Lexicon | StrPath,
        *,
        topology: str = "hmm",
        state_tying: str = "monophone",
        state_tying_file: StrPath | None = None,
        boundary_classes: bool = True,
        word_end_classes: bool = False,
        states_per_phone: int = 3,
        state_repetitions: int = 1,
        across_word: bool = False,
        history_length: int = 1,
        future_length: int = 1,
        allophone_file: StrPath | None = None,
        add_lexicon_allophones: bool = True,
        add_all_allophones: bool = False,
        fix_word_boundaries: bool = False,
        drop_invalid_allophones: bool = False,
        transitions: Transitions | None = None,
        phone_transition: Transition | Sequence[float] | None = None,
        silence_transition: Transition | Sequence[float] | None = None,
        entry_transition: Transition | Sequence[float] | None = None,
        transition_scale: float | None = None,
        applicator: str | None = None,
        transition_tying: Mapping[str, Any] | None = None,
        silence_repetitions: bool = True,
        normalize_sequences: bool = False,
        normalize_pronunciations: bool = True,
        vocabulary: StrPath | None = None,
        corpus: Corpus | StrPath | None = None,
        case: str | None = None,
        _like_sprint: bool = False,
    ) -> None:
        """Prepares a builder. Defaults are Sprint's, but state_tying (cart) and repetitions (2).

        Args:
            lexicon: a lexicon, or the path of a Bliss lexicon; see `Lexicon.read`.
            topology: ``"hmm"``; ``"ctc"``: labels may repeat, blanks between them; ``"rna"``:
                every label once, blanks between them.
            state_tying: one of ``state_tying.TYINGS``.
            state_tying_file: table of the tying ``"lookup"``.
            boundary_classes, word_end_classes: classes of the dense tyings.
            states_per_phone: HMM states of any phone but silence, which has one.
            state_repetitions: how often each of them is repeated.
            across_word: whether contexts reach into the neighboring words.
            history_length, future_length: number of phones of the context on each side.
            allophone_file: allophones in the order of their numbers; recommended where one exists.
            add_lexicon_allophones, add_all_allophones: further allophones, numbered after those.
            fix_word_boundaries: a word end without context is followed by silence, noise or the
                end only.
            drop_invalid_allophones: leave out allophones without context inside a word.
            transitions: the transition model; or its parts:
            phone_transition, silence_transition, entry_transition: loop, forward, skip, exit; by
                default (3, 0, 3, 0), or the fixed weights of the topology ``"ctc"``.
            transition_scale: factor of all transition weights.
            applicator: ``"legacy"`` or ``"corrected"``.
            transition_tying: keywords of the state tying whose classes have separate weights,
                with ``transitions.classes``.
            silence_repetitions: whether silence may follow silence, or occurs at most once.
            normalize_sequences: whether every way out of a state has the same probability.
            normalize_pronunciations: whether weights of pronunciations sum to 1 over a lemma.
            vocabulary: file of orthographies to keep.
            corpus: corpus of `build_segments`, or its path.
            case: ``"lower"`` or ``"upper"``: changes the orthographies of the corpus.

        Raises:
            OSError: if a file cannot be read.
            FormatError: for a file that is not valid; names the line.
            UnsupportedError: for the state tying cart.
            AutomatonError: for a combination that Sprint refuses.
            ValueError: for a value out of range.
        """
        _check("topology", topology, TOPOLOGIES)
        _check("case", case, (None, "lower", "upper"))
        _check_range("states_per_phone", states_per_phone, 1, _MAX_STATES)
        _check_range("state_repetitions", state_repetitions, 1, _MAX_REPETITIONS)
        _check_range("history_length", history_length, 0, _MAX_CONTEXT)
        _check_range("future_length", future_length, 0, _MAX_CONTEXT)
        if normalize_sequences and silence_repetitions:
            raise AutomatonError("normalize_sequences needs silence_repetitions=False")
        self.lexicon = (
            lexicon if isinstance(lexicon, Lexicon) else Lexicon.read(lexicon, vocabulary)
        )
        self.topology = topology
        self._corpus = corpus
        self._case = case
        self._orthographies: dict[str, str | None] | None = None
        transitions = _transition_model(
            transitions,
            _CTC if topology == "ctc" and not _like_sprint else None,
            phone=phone_transition,
            silence=silence_transition,
            entry=entry_transition,
            scale=transition_scale,
            applicator=applicator,
        )
        silence = _silence_phone(self.lexicon)
        num_ids = len(self.lexicon.phonemes) + 1
        states_of = [0] + [states_per_phone] * (num_ids - 1)
        repetitions_of = [1] + [state_repetitions] * (num_ids - 1)
        if silence:
            states_of[silence] = repetitions_of[silence] = 1
        alphabet = Alphabet(self.lexicon, history_length, future_length, across_word)
        self.alphabet = alphabet
        if allophone_file is not None:
            alphabet.add_file(os.fspath(allophone_file))
        if add_lexicon_allophones:
            alphabet.add_lexicon()
        if add_all_allophones:
            alphabet.add_all()
        silence_allophone = Allophone(silence, (), (), INITIAL | FINAL)
        if silence:
            alphabet.add(silence_allophone)
        silence_phones = {phone for phon in _phons(self.lexicon, SILENCE) for phone in phon.phones}

        def tying_of(kind: str, file: StrPath | None, boundary: bool, word_end: bool) -> StateTying:
            return StateTying(
                canonical_tying(kind),
                alphabet,
                states_of,
                states_per_phone,
                silence_phones,
                None if file is None else os.fspath(file),
                boundary,
                word_end,
            )

        tying = tying_of(state_tying, state_tying_file, boundary_classes, word_end_classes)
        weight_tying = None
        if transition_tying is not None:
            weight_tying = tying_of(
                transition_tying.get("state_tying", "monophone"),
                transition_tying.get("state_tying_file"),
                transition_tying.get("boundary_classes", True),
                transition_tying.get("word_end_classes", False),
            )
        blank_allophone = self._blank() if topology != "hmm" else None
        if blank_allophone is not None:
            alphabet.add(blank_allophone)
        alphabet.add_lexicon()
        if _like_sprint and not (history_length or future_length):
            _check_context_free(alphabet)
        self.label_table: NDArray[np.uint32] = tying.table()
        self.num_labels = tying.num_labels
        self.state_symbols = StateSymbols(alphabet, len(self.label_table))
        self.pronunciations: list[tuple[Lemma, Pronunciation]] = list(self.lexicon.pronunciations())
        self.silence_state = alphabet.index(silence_allophone) if silence else None
        self.blank_state = None if blank_allophone is None else alphabet.index(blank_allophone)
        num_sets, sets_of = 2, None
        if weight_tying is not None:
            sets_of = weight_tying.table()
            if (sets_of == NONE).any():
                raise AutomatonError("an allophone state has no class of transition weights")
            num_sets = weight_tying.num_labels
        elif transitions.classes is not None:
            raise ValueError("classes of transition weights need transition_tying")
        if topology == "ctc":
            transitions.check_ctc(num_sets)
        self._numbers, tree = tree_arrays(self.lexicon)
        self._refusals = Refusals(self.lexicon, alphabet, self._numbers)
        self._lemma_symbols = [lemma.symbol for lemma in self.lexicon.lemmas]
        self._model = self._compiled(
            **tree,
            **pronunciation_arrays(self.lexicon, normalize_pronunciations),
            **boundary_arrays(
                alphabet, states_of, repetitions_of, fix_word_boundaries, drop_invalid_allophones
            ),
            labels=self.label_table,
            weight_sets=sets_of,
            sets=transitions.sets(num_sets),
            silence_repetitions=silence_repetitions,
            normalize=normalize_sequences,
            corrected=transitions.applicator == "corrected",
        )

    @classmethod
    def from_sprint_config(
        cls,
        *sources: Source,
        base: StrPath | None = None,
        selection: str | None = None,
    ) -> AutomatonBuilder:
        """Returns the builder that a configuration of Sprint describes.

        Args:
            *sources: configuration files, mappings of names to values, and lists of command-line
                arguments (``["--config=FILE", "--*.name=value"]``). Later ones win.
            base: folder that relative paths in the configuration start from, by default the
                working directory as in Sprint; sources are looked up in it, too.
            selection: selection of the automata builder. By default
                ``neural-network-trainer.alignment-fsa-exporter``, or that of ``lib-rasr`` where
                only that is named. A name without dots is that of the application.

        Raises:
            OSError: if a file cannot be read.
            ConfigurationError: for a value that its parameter does not accept.
            SprintCacheError: as `AutomatonBuilder` does.
        """
        folder = None if base is None else os.fspath(base)
        config = Configuration.from_sources(sources, "neural-network-trainer", folder)
        return cls.from_configuration(config.at(exporter_of(config, selection)), folder)

    @classmethod
    def from_configuration(
        cls, config: Configuration, base: StrPath | None = None
    ) -> AutomatonBuilder:
        """Returns the builder that a `Configuration` describes at its selection.

        Raises:
            OSError, SprintCacheError: as `from_sprint_config` does.
        """
        keywords = builder_keywords(config, None if base is None else os.fspath(base))
        try:
            return cls(**keywords, _like_sprint=True)
        except SprintCacheError:
            raise
        except ValueError as error:  # a value out of range
            raise ConfigurationError(f"{config.selection}: {error}") from error

    # ---- building

    def build(self, orthographies: Sequence[str], tags: Sequence[str] | None = None) -> Automata:
        """Returns the automata of orthographies.

        Args:
            orthographies: texts of words separated by whitespace.
            tags: a name for each.

        Raises:
            AutomatonError: for an orthography without an automaton; names word and reason.
            ValueError: if there are more or fewer tags.
            TypeError: if `orthographies` is a single str.
        """
        if isinstance(orthographies, str):
            raise TypeError("orthographies must be a sequence of str, not a str")
        orthographies = list(orthographies)
        if tags is not None and len(tags) != len(orthographies):
            raise ValueError(f"{len(orthographies)} orthographies, but {len(tags)} tags")
        numbers, offsets = self._token_numbers(orthographies)
        from ._graph import RefusalError

        try:
            result = self._model.build(numbers, offsets)
        except RefusalError as refusal:
            code, index, detail = refusal.args
            tag = None if tags is None else tags[index]
            raise self._refusals.error(code, detail, orthographies[index], tag) from None
        edges, weights, start_end, states, groups, begin, lemmas = result
        words = [self._lemma_symbols[lemma] for lemma in lemmas.tolist()]
        candidates = [tuple(words[first:last]) for first, last in pairwise(begin.tolist())]
        return Automata(
            edges,
            weights,
            start_end,
            states,
            self.state_symbols,
            EdgeWords.unchecked(groups, candidates),
            tags,
        )

    def build_segments(self, tags: Sequence[str]) -> Automata:
        """Returns the automata of segments of the corpus.

        Args:
            tags: full segment names.

        Raises:
            ValueError: without a corpus.
            EntryNotFoundError: for a segment that the corpus does not have.
            AutomatonError: as `build` does.
        """
        return self.build([self.orthography(tag) for tag in tags], tags)

    def segments(self) -> list[str]:
        """Returns the names of the segments of the corpus, in its order.

        Raises:
            ValueError: without a corpus.
            FormatError: if the corpus is not valid.
        """
        return list(self._corpus_orthographies())

    def orthography(self, tag: str) -> str:
        """Returns the orthography of a segment of the corpus, in the case that is configured.

        Raises:
            ValueError: without a corpus.
            EntryNotFoundError: for a segment that the corpus does not have.
            FormatError: if the corpus is not valid.
        """
        try:
            text = self._corpus_orthographies()[tag] or ""
        except KeyError:
            given = self._corpus
            path = given.path if isinstance(given, Corpus) else given
            raise EntryNotFoundError(
                "no such segment in the corpus", path=os.fspath(path or ""), entry=tag
            ) from None
        if self._case == "lower":
            return text.lower()
        return text.upper() if self._case == "upper" else text

    def _corpus_orthographies(self) -> dict[str, str | None]:
        if self._orthographies is None:
            if self._corpus is None:
                raise ValueError("no corpus: give one to AutomatonBuilder")
            corpus = self._corpus if isinstance(self._corpus, Corpus) else Corpus(self._corpus)
            self._orthographies = {segment.name: segment.orthography for segment in corpus}
        return self._orthographies

    def acceptor(self, orthography: str) -> Acceptor:
        """Returns the graph of an orthography before states are numbered for the export.

        Raises:
            AutomatonError: for an orthography without an automaton; names word and reason.
        """
        (result,) = self.acceptors_or_errors([orthography])
        if isinstance(result, AutomatonError):
            raise result
        return result

    def acceptors_or_errors(self, orthographies: Sequence[str]) -> list[Acceptor | AutomatonError]:
        """Returns for each orthography its `acceptor`, or the error that names word and reason."""
        results: list[Acceptor | AutomatonError] = []
        graphs = self._model.acceptors(*self._token_numbers(orthographies))
        for orthography, graph in zip(orthographies, graphs, strict=True):
            if len(graph) == 2:
                code, detail = graph
                results.append(self._refusals.error(code, detail, orthography))
            else:
                results.append(Acceptor(*graph))
        return results

    def acceptors(self, orthographies: Iterable[str], num_threads: int = 1) -> Iterator[Acceptor]:
        """Yields the `acceptor` of each orthography, in order, made by some threads ahead of time.

        Raises:
            AutomatonError: for an orthography without an automaton; names word and reason.
            ValueError: if `num_threads` is less than 1.
        """
        return ordered_map(self.acceptor, orthographies, num_threads)

    # ---- inside

    def _token_numbers(self, orthographies: Sequence[str]) -> tuple[Any, Any]:
        get = self._numbers.get
        numbers: list[int] = []
        offsets = [0]
        for text in orthographies:
            numbers += [get(token, -1) for token in tokens(text)]
            offsets.append(len(numbers))
        return np.array(numbers, np.int32), np.array(offsets, np.int64)

    def _blank(self) -> Allophone:
        phons = _phons(self.lexicon, BLANK)
        if not phons or not phons[-1].phones:
            raise AutomatonError(
                f"the topology {self.topology} needs a lemma special='blank' with a pronunciation",
                path=self.lexicon.path,
            )
        return Allophone(phons[-1].phones[0], (), (), INITIAL | FINAL)

    def _compiled(self, **arrays: Any) -> Any:
        from ._graph import GraphModel

        numbers = {id(lemma): index for index, lemma in enumerate(self.lexicon.lemmas)}
        unknown, silence = (
            numbers.get(id(self.lexicon.special(role)), NONE) for role in (UNKNOWN, SILENCE)
        )
        return GraphModel(
            **arrays,
            topology=TOPOLOGIES.index(self.topology),
            unknown_lemma=unknown,
            silence_lemma=silence,
            silence_state=_NO_STATE if self.silence_state is None else self.silence_state,
            blank_state=_NO_STATE if self.blank_state is None else self.blank_state,
        )


def _phons(lexicon: Lexicon, role: str) -> tuple[Pronunciation, ...]:
    lemma = lexicon.special(role)
    return () if lemma is None else lemma.pronunciations


def _silence_phone(lexicon: Lexicon) -> int:
    """Id of the phoneme of silence: that of the last pronunciation, as in Sprint; 0 without one."""
    phons = _phons(lexicon, SILENCE)
    if not phons:
        return 0
    if len(phons[-1].phones) != 1:
        raise AutomatonError(
            "the last pronunciation of the lemma special='silence' is not one phoneme",
            path=lexicon.path,
            expected=1,
            found=len(phons[-1].phones),
        )
    return phons[-1].phones[0]


def _transition_model(
    given: Transitions | None, default: Sequence[float] | None, **parts: Any
) -> Transitions:
    changes = {name: value for name, value in parts.items() if value is not None}
    if given is not None:
        if changes:
            raise ValueError(f"give transitions or {', '.join(changes)}, not both")
        _check("applicator", given.applicator, ("legacy", "corrected"))
        return given
    for name in ("phone", "silence", "entry"):
        weights = changes.get(name, default)
        if weights is not None:
            changes[name] = Transition.of(weights)
    _check("applicator", changes.get("applicator", "legacy"), ("legacy", "corrected"))
    return Transitions(**changes)


def _check_context_free(alphabet: Alphabet) -> None:
    """Refuses what Sprint cannot link: a word of one phone that comes first, without contexts."""
    for allophone in alphabet.allophones:
        if allophone.boundary & FINAL:
            raise AutomatonError(
                "without contexts, Sprint links no words if the first pronunciation of the lexicon"
                f" has one phone only ({alphabet.symbol(allophone)});"
                " move a word of two phones to the beginning",
                path=alphabet.lexicon.path,
            )
        if allophone.boundary & INITIAL:
            return


def _check(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")
