"""AllophoneLabeling: from allophone states to the labels a model is trained on.

Files are read as Sprint reads them (archive format, sections 8 and 9): optionally gzipped, lines
stripped, blank lines and lines beginning with ``#`` left out.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

import numpy as np

from ._checks import integer
from ._label_schemes import (
    AllophoneParts,
    Schemes,
    named_schemes,
    needs_phonemes,
    scheme_table,
)
from ._reader import LabelTable
from ._text_file import content_lines
from .alignment import (
    ALLOPHONE_MASK,
    STATE_MASK,
    STATE_SHIFT,
    OnMismatch,
    checks_alphabet,
)
from .errors import FormatError, LabelError
from .lexicon import Lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .alignment import Alignment

__all__ = ["AllophoneLabeling", "numbered"]

_MAX_STATES = 16
_UNKNOWN_IDS = ~(ALLOPHONE_MASK | STATE_MASK) & 0xFFFFFFFF
StrPath = str | os.PathLike[str]


class AllophoneLabeling:
    """Labels of allophone states, by state tying, by phoneme, or by a label scheme; immutable.

    Attributes:
        allophones: list[str], the allophone file: ``a{b+c}@i`` in index order.
        allophones_idx: dict, allophone to its index.
        sil_allo_state_id: id of the silence state (its allophone's index, state 0), or None.
        sil_label_idx: label of silence, or None.
        num_labels: number of labels: the largest one + 1.
        phonemes, phoneme_idxs: the phoneme file and its inverse, or None.
        state_tying: dict, ``a{b+c}@i.0`` to label, or None.
        state_tying_by_allo_state_idx: dict, allophone-state id to label, or None.
        num_allo_states: states per allophone in the state tying or label scheme, or None.
        factors: of several label schemes: the labels of each, (num_labels,) int32, for every label
            of `table`, which numbers the combinations that occur; else None.
        factor_sizes: the number of labels of each of these schemes.
        label_scheme: the option, or None.
        table: the same as one array, for the compiled reader.
    """

    def __init__(
        self,
        silence_phone: str | None,
        allophone_file: StrPath,
        phoneme_file: StrPath | None = None,
        state_tying_file: StrPath | None = None,
        verbose_out: IO[str] | None = None,
        *,
        label_scheme: Schemes | None = None,
        lexicon_file: StrPath | None = None,
        num_states: int = 3,
    ) -> None:
        """Reads the files.

        Args:
            silence_phone: name of the silence phoneme, such as ``"[SILENCE]"``; None, or one that
                the allophone file does not have: `sil_label_idx` is None.
            allophone_file: one allophone a line; the line's number is its index.
            phoneme_file: one phoneme a line. Without a state tying, the label of a state is the
                index of its center phoneme.
            state_tying_file: lines ``allophone.state label``; of duplicates the last one counts.
            verbose_out: receives a line of numbers of what was read.
            label_scheme: labels by the parts of the allophones: "left", "center", "right" (the
                phoneme, from 1; 0 for none), "state", "position" (in the word: 1 initial, 2 final,
                3 both), "word-end", or several of these joined by dots, of which the last one
                varies fastest, as in Sprint's dense state tyings. A list of schemes, or a mapping
                of names to schemes, for factored models: see `factors`.
            lexicon_file: a Bliss lexicon whose phonemes a scheme uses, instead of `phoneme_file`.
            num_states: HMM states per allophone of a scheme.

        Raises:
            ValueError: if neither phoneme_file nor state_tying_file nor label_scheme is given, or
                two of them contradict each other.
            FormatError: if a line of a file is malformed.
            LabelError: if an allophone's phoneme is not in the phoneme file.
            OSError: if a file cannot be read.
        """
        if not (phoneme_file or state_tying_file) and label_scheme is None:
            raise ValueError(
                "AllophoneLabeling needs a state_tying_file, a phoneme_file or a label_scheme"
            )
        if label_scheme is not None and state_tying_file:
            raise ValueError("labels are those of a state_tying_file or a label_scheme, not both")
        self.allophone_file = os.fspath(allophone_file)
        self.allophones_idx = numbered(self.allophone_file)
        self.allophones = list(self.allophones_idx)
        silence = None if silence_phone is None else f"{silence_phone}{{#+#}}@i@f"
        self.sil_allo_state_id = self.allophones_idx.get(silence or "")
        self.phoneme_idxs = numbered(phoneme_file) if phoneme_file else None
        self.phonemes = None if self.phoneme_idxs is None else list(self.phoneme_idxs)
        self.state_tying: dict[str, int] | None = None
        self.state_tying_by_allo_state_idx: dict[int, int] | None = None
        self.num_allo_states: int | None = None
        self.sil_label_idx: int | None = None
        self.label_scheme = label_scheme
        self.factors: dict[str, NDArray[np.int32]] | None = None
        self.factor_sizes: dict[str, int] = {}
        if label_scheme is not None:
            states = self._by_scheme(label_scheme, lexicon_file, num_states)
            if self.sil_allo_state_id is not None:
                self.sil_label_idx = int(states[0, self.sil_allo_state_id])
        elif state_tying_file:
            self.state_tying = _read_state_tying(os.fspath(state_tying_file))
            states = self._tied()
            self.num_labels = max(self.state_tying.values(), default=-1) + 1
            if self.sil_allo_state_id is not None:
                self.sil_label_idx = self.state_tying.get(f"{silence}.0")
        else:
            states = self._by_phoneme()
            self.num_labels = len(self.phonemes or ())
            self.sil_label_idx = (self.phoneme_idxs or {}).get(silence_phone or "")
        self.table = LabelTable(self.allophones, states)
        if verbose_out is not None:
            source = "state tying" if state_tying_file else "phonemes"
            source = source if label_scheme is None else "label scheme"
            verbose_out.write(
                f"AllophoneLabeling: {len(self.allophones)} allophones,"
                f" {self.num_labels} labels by {source}\n"
            )

    def _tied(self) -> NDArray[np.int32]:
        """(states, allophones) int32 labels from the state tying; fills the dicts on the way."""
        by_id: dict[int, int] = {}
        for symbol, label in (self.state_tying or {}).items():
            allophone, _, state = symbol.rpartition(".")
            index = self.allophones_idx.get(allophone)
            if index is not None:
                by_id[index | int(state) << STATE_SHIFT] = label
        self.num_allo_states = 1 + max(
            (int(symbol.rpartition(".")[2]) for symbol in self.state_tying or ()), default=-1
        )
        self.state_tying_by_allo_state_idx = dict(sorted(by_id.items()))
        table = np.full((self.num_allo_states, len(self.allophones)), -1, np.int32)
        for id_, label in by_id.items():
            table[id_ >> STATE_SHIFT, id_ & ALLOPHONE_MASK] = label
        return table

    def _by_phoneme(self) -> NDArray[np.int32]:
        """(states, allophones) int32: every state has the label of its center phoneme."""
        phonemes = self.phoneme_idxs or {}
        labels = []
        for allophone in self.allophones:
            center = allophone.partition("{")[0]
            if center not in phonemes:
                raise LabelError(
                    f"phoneme {center!r} of allophone {allophone!r} is not in the phoneme file",
                    path=self.allophone_file,
                )
            labels.append(phonemes[center])
        return np.tile(np.array(labels, np.int32), (_MAX_STATES, 1))

    def _by_scheme(
        self, schemes: Schemes, lexicon_file: StrPath | None, num_states: int
    ) -> NDArray[np.int32]:
        """(states, allophones) int32 labels of a scheme, or of combinations of several."""
        named = named_schemes(schemes)
        if not 1 <= integer("num_states", num_states) <= _MAX_STATES:
            raise ValueError(f"num_states must be from 1 to {_MAX_STATES}, not {num_states}")
        phonemes = self.phonemes
        if lexicon_file is not None:
            phonemes = [phoneme.symbol for phoneme in Lexicon.read(lexicon_file).phonemes]
        if phonemes is None and any(map(needs_phonemes, named.values())):
            raise ValueError("a label_scheme of phonemes needs a lexicon_file or a phoneme_file")
        parts = AllophoneParts(self.allophones, phonemes, self.allophone_file)
        tables = {name: scheme_table(scheme, parts, num_states) for name, scheme in named.items()}
        self.num_allo_states = num_states
        if isinstance(schemes, str):
            table, self.num_labels = tables[schemes]
            return table
        columns = np.stack([table.ravel() for table, _ in tables.values()], axis=1)
        combinations, inverse = np.unique(columns, axis=0, return_inverse=True)
        self.factors = {
            name: np.ascontiguousarray(combinations[:, i]) for i, name in enumerate(tables)
        }
        self.factor_sizes = {name: size for name, (_, size) in tables.items()}
        self.num_labels = len(combinations)
        return inverse.reshape(num_states, len(self.allophones)).astype(np.int32)

    def __repr__(self) -> str:
        return (
            f"<AllophoneLabeling {len(self.allophones)} allophones, {self.num_labels} labels,"
            f" silence {self.sil_label_idx}>"
        )

    def get_label_idx(self, allo_idx: int, state_idx: int) -> int:
        """Label of a state of an allophone.

        Raises:
            LabelError: if the allophone is unknown or the state has no label; names the state.
        """
        if not (0 <= allo_idx <= ALLOPHONE_MASK and 0 <= state_idx < _MAX_STATES):
            raise LabelError(f"no such state: allophone {allo_idx}, state {state_idx}")
        return self.get_label_idx_by_allo_state_idx(allo_idx | state_idx << STATE_SHIFT)

    def get_label_idx_by_allo_state_idx(self, allo_state_idx: int) -> int:
        """Label of an allophone-state id: bits 0-25 the allophone, bits 26-29 the state.

        Raises:
            LabelError: if the allophone is unknown or the state has no label; names the state.
        """
        if not 0 <= allo_state_idx <= 0xFFFFFFFF:
            raise LabelError(f"{allo_state_idx} is not an allophone-state id")
        label = int(self.labels_of(np.array([allo_state_idx], np.int64))[0])
        if label < 0:
            raise LabelError(f"no label for {self.symbol(allo_state_idx)} (id {allo_state_idx})")
        return label

    def symbol(self, allo_state_idx: int) -> str:
        """The symbol of an allophone-state id, such as ``a{b+c}@i.1``."""
        return self.table.symbol(allo_state_idx)

    def labels(
        self,
        alignment: Alignment,
        on_alphabet_mismatch: OnMismatch = "error",
    ) -> NDArray[np.int32]:
        """Labels of an alignment in memory, like `Archive.read_labels` for a stored one.

        Args:
            alignment: one item per frame, times 0, 1, 2, ...
            on_alphabet_mismatch: "error", "map" (ids by their symbols) or "ignore", for an
                alignment whose alphabet contradicts the allophone file.

        Returns:
            (T,) int32; for emission ids, these.

        Raises:
            LabelError: if a frame has no item or several, the alphabets contradict each other, or
                a state has no label.
        """
        checks_alphabet(on_alphabet_mismatch)
        _check_contiguous(alignment.time)
        return self.item_labels(alignment, on_alphabet_mismatch)

    def item_labels(
        self,
        alignment: Alignment,
        on_alphabet_mismatch: OnMismatch = "error",
    ) -> NDArray[np.int32]:
        """Labels of the items of any alignment, soft ones included.

        Args:
            alignment, on_alphabet_mismatch: as for `labels`, but times do not matter.

        Returns:
            (N,) int32, one label per item.

        Raises:
            LabelError: if the alphabets contradict each other, or a state has no label.
        """
        checks_alphabet(on_alphabet_mismatch)
        emission: NDArray[np.integer] = alignment.emission
        if alignment.label_type == "emission":
            if emission.max(initial=0) > 0x7FFFFFFF:
                raise LabelError(f"emission id {emission.max()} does not fit int32")
            return emission.astype(np.int32)
        if alignment.alphabet is not None and on_alphabet_mismatch != "ignore":
            emission = self._by_symbol(emission, alignment.alphabet, on_alphabet_mismatch == "map")
        labels = self.labels_of(emission)
        missing = np.flatnonzero(labels < 0)
        if len(missing):
            frame, id_ = int(alignment.time[missing[0]]), int(emission[missing[0]])
            raise LabelError(f"frame {frame}: no label for {self.symbol(id_)} (id {id_})")
        return labels

    def _by_symbol(
        self, emission: NDArray[np.integer], alphabet: dict[int, str], mapping: bool
    ) -> NDArray[np.integer]:
        """Ids in the allophone file's numbering, or an error where these differ from it."""
        used, inverse = np.unique(emission, return_inverse=True)
        for id_ in used.tolist():
            if id_ not in alphabet:
                raise LabelError(f"id {id_} is missing from the alignment's alphabet")
        if mapping:
            return np.array([self._id_of(alphabet[i]) for i in used.tolist()], np.int64)[inverse]
        for id_, symbol in alphabet.items():
            if self.table.symbol(id_) != symbol:
                raise LabelError(
                    "the alphabet of the alignment contradicts the allophone file at id"
                    f" {id_} (on_alphabet_mismatch='map' maps by symbol)",
                    expected=self.table.symbol(id_),
                    found=symbol,
                )
        return emission

    def _id_of(self, symbol: str) -> int:
        allophone, _, state = symbol.rpartition(".")
        index = self.allophones_idx.get(allophone)
        if index is None or not _is_state(state):
            raise LabelError(f"{symbol} of the alignment's alphabet is not in the allophone file")
        return index | int(state) << STATE_SHIFT

    def labels_of(self, ids: NDArray[np.integer]) -> NDArray[np.int32]:
        """(N,) int32 labels of (N,) allophone-state ids, -1 for those without a label."""
        table = self.table.table
        allophones, states = ids & ALLOPHONE_MASK, (ids & STATE_MASK) >> STATE_SHIFT
        known = (ids & _UNKNOWN_IDS == 0) & (allophones < table.shape[1]) & (states < len(table))
        labels = np.full(ids.shape, -1, np.int32)
        labels[known] = table[states[known], allophones[known]]
        return labels


def _check_contiguous(time: NDArray[np.uint32]) -> None:
    wrong = np.flatnonzero(time != np.arange(len(time)))
    if not len(wrong):
        return
    frame, item_time = int(wrong[0]), int(time[wrong[0]])
    if item_time < frame:
        raise LabelError(f"frame {item_time} has several items, or times go back")
    if frame == 0:
        raise LabelError("the first item is not at time 0", expected=0, found=item_time)
    raise LabelError(
        f"frame {frame} has no item: times are not contiguous", expected=frame, found=item_time
    )


def _is_state(text: str) -> bool:
    return _is_number(text, 2) and int(text) < _MAX_STATES


def _is_number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= digits


def numbered(path: StrPath) -> dict[str, int]:
    """Lines by index; as in Sprint, a repeated line does not count."""
    unique = dict.fromkeys(line for _, line in content_lines(os.fspath(path)))
    return {line: index for index, line in enumerate(unique)}


def _read_state_tying(path: str) -> dict[str, int]:
    """``allophone.state`` to label."""
    tying: dict[str, int] = {}
    for number, line in content_lines(path):
        symbol, _, label = line.partition(" ")
        label = label.strip(" ")
        allophone, _, state = symbol.rpartition(".")
        if not (allophone and _is_state(state) and _is_number(label, 10)):
            raise FormatError(
                f"line {number} of the state tying",
                path=path,
                expected="'allophone.state label'",
                found=repr(line),
            )
        if int(label) > 0x7FFFFFFF:
            raise FormatError(f"label in line {number} of the state tying", path=path,
                              expected="below 2**31", found=label)  # fmt: skip
        tying[symbol] = int(label)
    return tying
