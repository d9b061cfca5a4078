"""Aligner: the best path, or the sum over all paths, through the acceptor of an orthography.

Rules and order of the search are those of Sprint's aligner (Search/Aligner, Speech/AlignmentNode);
without beams that prune, any Viterbi search finds the same score.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from threading import local
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache._configuration import Source
from sprintcache._reader import distinct_ids
from sprintcache._threads import batch_map
from sprintcache.alignment import Alignment
from sprintcache.automata.acceptor import Acceptor
from sprintcache.automata.builder import AutomatonBuilder
from sprintcache.errors import AutomatonError, LabelError
from sprintcache.lexicon import SILENCE, tokens

from .result import AlignedWord, AlignResult
from .sprint_parameters import ALIGNMENT_NODE, aligner_keywords

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from sprintcache.automata.alphabet import Alphabet

    from .result import SearchResult

__all__ = ["CHUNK", "AlignJob", "Aligner"]

CHUNK = 16  # segments that a thread aligns at a time
MODES = ("viterbi", "baum-welch")
_MAX_FLOAT = float(np.finfo(np.float32).max)


class AlignJob(NamedTuple):
    """A segment to align.

    Attributes:
        log_probs: (T, L) log probabilities or any scores, larger is better.
        orthography: the words.
        tag: name of the segment, for the result.
        start, end: time of the first and the last frame in seconds, kept in the alignment.
    """

    log_probs: ArrayLike
    orthography: str
    tag: str | None = None
    start: float | None = None
    end: float | None = None


class Aligner:
    """Aligns log probabilities of labels with orthographies.

    An aligner never changes; threads may share it. The search releases the GIL.
    """

    def __init__(
        self,
        builder: AutomatonBuilder,
        *,
        mode: str = "viterbi",
        label_scale: float = 1.0,
        prior: ArrayLike | None = None,
        prior_scale: float = 1.0,
        min_beam: float = 50.0,
        max_beam: float = _MAX_FLOAT,
        beam_factor: float = 2.0,
        until_score_is_equal: bool = True,
        min_weight: float = 0.0,
    ) -> None:
        """Prepares an aligner.

        Args:
            builder: lexicon, topology, state tying and transition weights.
            mode: ``"viterbi"``, or ``"baum-welch"`` for weighted items.
            label_scale: factor of the label scores.
            prior: (L,) log prior of each label, added to the label scores; None for none.
            prior_scale: factor of the prior.
            min_beam: beam of the first round, a difference of negative logarithms.
            max_beam: no round has a wider beam.
            beam_factor: the beam of a round is that of the round before times this; with 1 or
                less there is one round.
            until_score_is_equal: repeat until a wider beam finds the same score, as Sprint does;
                False stops at the first round that reaches the end.
            min_weight: smaller weights are dropped, Baum-Welch only.

        Raises:
            ValueError: for a value out of range, or a prior of another number of labels.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        if not min_beam > 0 or not 0 <= min_weight < 1:
            raise ValueError("min_beam must be positive and min_weight in [0, 1)")
        self.builder = builder
        self.mode = mode
        self._prior: NDArray[np.float32] | None = None
        if prior is not None and prior_scale != 0:
            self._prior = np.ascontiguousarray(prior, np.float32)
            if self._prior.shape != (builder.num_labels,):
                raise ValueError(
                    f"prior has shape {self._prior.shape}, the state tying {builder.num_labels}"
                    " labels"
                )
        self._options: dict[str, Any] = {
            "sum_paths": mode == "baum-welch",
            "scale": label_scale,
            "prior_scale": prior_scale,
            "prior": self._prior,
            "min_beam": min_beam,
            "max_beam": max_beam,
            "factor": beam_factor,
            "until_equal": until_score_is_equal,
            "min_weight": min_weight,
        }
        self._searches = local()
        self._state_symbols = _StateSymbols(builder.alphabet)
        self._known_pronunciations: dict[int, tuple[str, str, bool]] = {}

    @classmethod
    def from_sprint_config(
        cls,
        *sources: Source,
        base: str | os.PathLike[str] | None = None,
        selection: str = ALIGNMENT_NODE,
    ) -> Aligner:
        """Returns the aligner that a configuration of Sprint's acoustic-model-trainer describes.

        Args:
            *sources: configuration files, mappings of names to values, and lists of command-line
                arguments. Later ones win.
            base: folder that relative paths in the configuration start from; by default the
                working directory.
            selection: selection of the alignment node.

        Raises:
            OSError: if a file cannot be read.
            ConfigurationError: for a value that its parameter does not accept.
            SprintCacheError: as `AutomatonBuilder` does.
        """
        builder = AutomatonBuilder.from_sprint_config(*sources, base=base, selection=selection)
        return cls(builder, **aligner_keywords(sources, base, selection, builder.num_labels))

    def align(
        self,
        log_probs: ArrayLike,
        orthography: str | None = None,
        tag: str | None = None,
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> AlignResult:
        """Aligns one segment.

        Args:
            log_probs: (T, L) log probabilities or any scores, larger is better.
            orthography: the words; None takes those of segment `tag` from the builder's corpus.
            tag: name of the segment, for the result.
            start, end: time of the first and the last frame in seconds, kept in the alignment.

        Returns:
            The alignment. An orthography without an automaton or a segment without a path is a
            result with `AlignResult.reason`, not an error.

        Raises:
            LabelError: if `log_probs` has fewer columns than the orthography has labels.
            ValueError: if `log_probs` is not a matrix, or orthography and tag are None.
        """
        job = AlignJob(log_probs, self._orthography(orthography, tag), tag, start, end)
        return self.align_jobs([job])[0]

    def align_jobs(self, jobs: Sequence[AlignJob]) -> list[AlignResult]:
        """Aligns segments one after the other; the GIL is released once for all of them.

        Args:
            jobs: the segments.

        Returns:
            One result per job, as of `align`.

        Raises:
            LabelError, ValueError: as `align` does, for the first such job.
        """
        values = [_matrix(job.log_probs) for job in jobs]
        acceptors = self.builder.acceptors_or_errors([job.orthography for job in jobs])
        pairs = [(a, x) for a, x in zip(acceptors, values, strict=True) if isinstance(a, Acceptor)]
        searches = iter(self._search([a for a, _ in pairs], [x for _, x in pairs]))
        return [
            AlignResult(
                job.tag, None, None, len(x), reason=str(acceptor), start=job.start, end=job.end
            )
            if isinstance(acceptor, AutomatonError)
            else self._result(job, acceptor, x, *next(searches))
            for job, acceptor, x in zip(jobs, acceptors, values, strict=True)
        ]

    def _result(
        self,
        job: AlignJob,
        acceptor: Acceptor,
        values: NDArray[np.float32],
        status: str,
        score: float | None,
        beam: float,
        num_hypotheses: int,
        result: Any,
    ) -> AlignResult:
        """The result of one search."""
        tag, start, end = job.tag, job.start, job.end
        if status == "no column":
            raise LabelError(
                "the scores have fewer columns than the state tying has labels",
                entry=tag,
                expected=f"at least {result + 1} columns",
                found=values.shape[1],
            )
        num_active = num_hypotheses / max(len(values), 1)
        if status != "ok":
            reason = _no_path_reason(acceptor, len(values)) if status == "no path" else _NO_ARC
            return AlignResult(
                tag, None, None, len(values), num_active, beam, reason, start=start, end=end
            )
        if self.mode == "viterbi":
            labels = acceptor.arc_label[result]
            times = np.arange(len(values), dtype=np.uint32)
            alignment = Alignment(
                times, labels, alphabet=self._symbols(labels), start=start, end=end, weighted=False
            )
            find_words: Callable[[], tuple[AlignedWord, ...]] = partial(
                self._words, acceptor, result, job.orthography
            )
        else:
            frames, labels, weights = result
            alignment = Alignment(
                frames,
                labels,
                weights.astype(np.float32),
                alphabet=self._symbols(labels),
                start=start,
                end=end,
            )
            find_words = tuple
        return AlignResult(
            tag, alignment, score, len(values), num_active, beam, None, find_words, start, end
        )

    def align_batch(
        self,
        log_probs: Any,
        lengths: Sequence[int] | NDArray[Any] | None,
        orthographies: Sequence[str | None],
        tags: Sequence[str] | None = None,
        num_threads: int = 1,
    ) -> list[AlignResult]:
        """Aligns a batch in threads.

        Args:
            log_probs: (B, T, L) array or tensor on the CPU, or a sequence of (T, L) arrays.
            lengths: (B,) frames of each sequence; None takes all.
            orthographies: words of each sequence.
            tags: names of the segments.
            num_threads: threads that search at once.

        Returns:
            One result per sequence, in this order.

        Raises:
            ValueError: if the numbers of sequences differ or a length exceeds T.
            LabelError: as `align` does.
        """
        count = len(orthographies)
        if len(log_probs) != count or (tags is not None and len(tags) != count):
            raise ValueError(f"{len(log_probs)} sequences, {count} orthographies")
        rows = [np.asarray(log_probs[i], np.float32) for i in range(count)]
        if lengths is not None:
            sizes = [int(length) for length in lengths]
            for i, (row, size) in enumerate(zip(rows, sizes, strict=True)):
                if not 0 <= size <= len(row):
                    raise ValueError(f"length {size} of sequence {i}, which has {len(row)} frames")
            rows = [row[:size] for row, size in zip(rows, sizes, strict=True)]
        names: Sequence[str | None] = [None] * count if tags is None else tags
        jobs = [
            AlignJob(row, self._orthography(orthography, name), name)
            for row, orthography, name in zip(rows, orthographies, names, strict=True)
        ]
        size = min(CHUNK, max(1, count // (2 * num_threads)))
        chunks = [jobs[i : i + size] for i in range(0, count, size)]
        return list(chain.from_iterable(batch_map(self.align_jobs, chunks, num_threads)))

    def _orthography(self, orthography: str | None, tag: str | None) -> str:
        """An orthography, or that of a segment of the corpus."""
        if orthography is not None:
            return orthography
        if tag is None:
            raise ValueError("an orthography, or the tag of a segment of the corpus")
        return self.builder.orthography(tag)

    # ---- parts of a result

    def _search(
        self, acceptors: list[Acceptor], log_probs: list[NDArray[np.float32]], **options: Any
    ) -> list[SearchResult]:
        """Searches acceptors; see `Search.run`. `options` override those of the aligner."""
        from ._search import Search

        search = getattr(self._searches, "search", None)
        if search is None:
            search = self._searches.search = Search()
        results: list[SearchResult] = search.run(
            acceptors, log_probs, self.builder.label_table, **{**self._options, **options}
        )
        return results

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_searches": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _searches=local())

    def _symbols(self, labels: NDArray[np.uint32]) -> dict[int, str]:
        """Symbols of the allophone states that occur, by id."""
        ids = distinct_ids(labels)
        return dict(zip(ids, map(self._state_symbols.__getitem__, ids), strict=True))

    def _words(
        self, acceptor: Acceptor, arcs: NDArray[np.uint32], orthography: str
    ) -> tuple[AlignedWord, ...]:
        """Words of a path: each begins with an arc that names a pronunciation."""
        numbers = acceptor.arc_pronunciation[arcs]
        starts = np.flatnonzero(numbers >= 0)
        rows = zip(
            numbers[starts].tolist(),
            acceptor.arc_words[:, arcs[starts]].T.tolist(),
            starts.tolist(),
            [*starts[1:].tolist(), len(arcs)],
            strict=True,
        )
        text = tokens(orthography)
        words = []
        for number, (first, last), start, end in rows:
            symbol, phones, is_silence = self._pronunciation(number)
            symbol = " ".join(text[first:last]) or symbol
            words.append(AlignedWord(symbol, start, end, phones, is_silence))
        return tuple(words)

    def _pronunciation(self, number: int) -> tuple[str, str, bool]:
        """(symbol of the lemma, phones, whether it is silence) of a pronunciation."""
        names = self._known_pronunciations.get(number)
        if names is None:
            lemma, pronunciation = self.builder.pronunciations[number]
            phones = self.builder.lexicon.symbols(pronunciation.phones)
            names = lemma.symbol, phones, lemma.special == SILENCE
            self._known_pronunciations[number] = names
        return names


class _StateSymbols(dict[int, str]):
    """Symbols of the allophone states of an alphabet, by id, made when first used."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet

    def __missing__(self, id_: int) -> str:
        symbol = self[id_] = self._alphabet.state_symbol(id_)
        return symbol


def _matrix(log_probs: ArrayLike) -> NDArray[np.float32]:
    """(T, L) float32; ValueError for another number of axes."""
    values = np.ascontiguousarray(log_probs, np.float32)
    if values.ndim != 2:
        raise ValueError(f"log_probs must have shape (T, L), not {values.shape}")
    return values


_NO_ARC = "min_weight leaves a frame without any path"


def _no_path_reason(acceptor: Acceptor, num_frames: int) -> str:
    """Why no final state was reached: too few frames, or forbidden scores."""
    shortest = _shortest_path(acceptor)
    if shortest is None:
        return "the orthography has no path: its transitions are forbidden"
    if num_frames < shortest:
        return f"too few frames: {num_frames}, the orthography needs at least {shortest}"
    return "no path with a finite score within the beam"


def _shortest_path(acceptor: Acceptor) -> int | None:
    """Number of arcs of the shortest path to a final state, by breadth-first search."""
    allowed = acceptor.arc_weight < _MAX_FLOAT
    final = acceptor.final_weight < _MAX_FLOAT
    reached = np.zeros(acceptor.num_states, np.bool_)
    states, length = np.array([acceptor.initial]), 0
    while len(states):
        if final[states].any():
            return length
        reached[states] = True
        arcs = np.concatenate(
            [np.arange(acceptor.arc_begin[s], acceptor.arc_begin[s + 1]) for s in states]
        )
        targets = np.unique(acceptor.arc_target[arcs[allowed[arcs]]])
        states = targets[~reached[targets]]
        length += 1
    return None
