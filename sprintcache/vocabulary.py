"""Vocabularies: orthographies as label indices, under the names of RETURNN's classes.

Byte pair encoding is that of the library subword-nmt (extra ``bpe``), SentencePiece models are read
by the library sentencepiece (extra ``sentencepiece``). A vocabulary file is text, gzipped or not:
one label per line, whose index is the number of the line from 0, or a dict of label to index in
Python's syntax (parsed as a literal, not evaluated).

Sprint's Python does not need this module, but it is kept to Python 3.8, as all that `sprint_ctl`
imports.
"""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING, Any

from ._text_file import open_input, parse_literal, read_text
from .errors import FormatError, LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BytePairEncoding",
    "CharacterTargets",
    "SentencePieces",
    "Utf8ByteTargets",
    "Vocabulary",
    "vocabulary",
]


class Vocabulary:
    """Labels that are words.

    Attributes:
        labels: by index.
        num_labels: their number.
    """

    def __init__(
        self,
        vocab_file: str | None = None,
        *,
        unknown_label: str | int | None = "UNK",
        labels: Sequence[str] | None = None,
        num_labels: int | None = None,
        seq_postfix: Sequence[int] | None = None,
    ) -> None:
        """Reads the labels.

        Args:
            vocab_file: file of the labels, unless `labels` are given.
            unknown_label: replaces labels that are not in the vocabulary: a label or an index. With
                None, or a label that is not in the vocabulary, they are an error.
            labels: the labels themselves.
            num_labels: required number of labels.
            seq_postfix: indices that are appended to every sequence.

        Raises:
            FormatError: not a vocabulary, or another number of labels.
            OSError: the file cannot be read.
        """
        self.labels = list(labels) if labels is not None else _read_labels(vocab_file)
        self.num_labels = len(self.labels)
        if num_labels not in (None, self.num_labels):
            raise FormatError(
                "the vocabulary has a different size",
                path=vocab_file,
                expected=num_labels,
                found=self.num_labels,
            )
        self._indices = {label: index for index, label in enumerate(self.labels)}
        self._postfix = list(seq_postfix or ())
        if isinstance(unknown_label, str):
            unknown_label = self._indices.get(unknown_label)
        self._unknown = unknown_label

    def get_seq(self, sentence: str) -> list[int]:
        """Indices of a sentence, with the postfix.

        Raises:
            LabelError: a label is not in the vocabulary, which has none for unknown ones.
        """
        return [self._index(label) for label in self.split(sentence)] + self._postfix

    def split(self, sentence: str) -> Sequence[str]:
        """The labels of a sentence."""
        return sentence.split()

    def _index(self, label: str) -> int:
        index = self._indices.get(label, self._unknown)
        if index is None:
            raise LabelError(
                f"{label!r} is not in the vocabulary, which has no label for unknown ones"
            )
        return index


class CharacterTargets(Vocabulary):
    """Labels that are characters."""

    def __init__(
        self,
        vocab_file: str | None = None,
        *,
        unknown_label: str | int | None = "@",
        **options: Any,
    ) -> None:
        """Accepts the arguments of `Vocabulary`."""
        super().__init__(vocab_file, unknown_label=unknown_label, **options)

    def split(self, sentence: str) -> Sequence[str]:
        """The characters."""
        return sentence


class Utf8ByteTargets(Vocabulary):
    """The bytes of the UTF-8 text, 0 to 255; no file."""

    def __init__(self, **options: Any) -> None:
        """Accepts the arguments of `Vocabulary`, except for a file."""
        labels = [chr(code) for code in range(256)]
        super().__init__(labels=labels, **{"unknown_label": None, **options})

    def get_seq(self, sentence: str) -> list[int]:
        """The bytes, with the postfix."""
        return list(sentence.encode("utf-8")) + self._postfix


class BytePairEncoding(Vocabulary):
    """Labels that are parts of words."""

    def __init__(self, vocab_file: str | None = None, *, bpe_file: str, **options: Any) -> None:
        """Accepts the arguments of `Vocabulary`.

        Args:
            vocab_file: see `Vocabulary`.
            bpe_file: codes of the encoding, as subword-nmt writes them.
            **options: see `Vocabulary`.

        Raises:
            ImportError: subword-nmt is missing.
            FormatError: not such codes, or not a vocabulary.
        """
        super().__init__(vocab_file, **options)
        try:
            from subword_nmt.apply_bpe import BPE
        except ModuleNotFoundError as error:
            raise ImportError("bpe needs subword-nmt: pip install 'sprintcache[bpe]'") from error
        codes = read_text(bpe_file)
        _check_codes(codes, bpe_file)
        self._bpe = BPE(StringIO(codes))

    def split(self, sentence: str) -> Sequence[str]:
        """The parts, all but the last of a word with "@@"."""
        parts: list[str] = self._bpe.segment_tokens(sentence.split())
        return parts


class SentencePieces(Vocabulary):
    """Labels that are the pieces of a SentencePiece model."""

    def __init__(self, model_file: str, **options: Any) -> None:
        """Reads the model.

        Args:
            model_file: as SentencePiece's trainer writes it.
            **options: ``num_labels`` and ``seq_postfix`` of `Vocabulary`.

        Raises:
            ImportError: sentencepiece is missing.
            FormatError: not a model, or another number of labels.
            OSError: the file cannot be read.
        """
        try:
            from sentencepiece import SentencePieceProcessor
        except ModuleNotFoundError as error:
            raise ImportError(
                "SentencePiece models need sentencepiece: pip install 'sprintcache[sentencepiece]'"
            ) from error
        with open_input(model_file) as file:
            model = file.read()
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise FormatError(
                "not a SentencePiece model", path=model_file, found=str(error)
            ) from None
        count = self._processor.GetPieceSize()
        labels = [self._processor.IdToPiece(index) for index in range(count)]
        super().__init__(labels=labels, **{"unknown_label": None, **options})

    def get_seq(self, sentence: str) -> list[int]:
        """Pieces of the sentence, with the postfix."""
        pieces: list[int] = self._processor.EncodeAsIds(sentence)
        return pieces + self._postfix


_VERSION = re.compile(r"#version:\s+0\.[12](\.0+)*\s*")


def _check_codes(text: str, path: str) -> None:
    """Raises FormatError for byte-pair codes on which subword-nmt would end the process."""
    lines = text.rstrip("\n").split("\n")
    has_version = lines[0].startswith("#version:")
    if has_version and not _VERSION.fullmatch(lines[0]):
        raise FormatError(
            "not byte-pair codes", path=path, expected="version 0.1 or 0.2", found=lines[0][:200]
        )
    first = 2 if has_version else 1
    for number, line in enumerate(lines[first - 1 :] or [""], first):
        if len(line.strip("\r\n ").split(" ")) != 2:
            reason = f"not byte-pair codes, line {number}"
            raise FormatError(reason, path=path, expected="2 parts", found=line[:200])


_CLASSES = {
    kind.__name__: kind
    for kind in (Vocabulary, BytePairEncoding, CharacterTargets, SentencePieces, Utf8ByteTargets)
}


def vocabulary(options: Mapping[str, Any] | Any) -> Any:
    """A vocabulary from its options, or an object with ``get_seq(str)`` and ``num_labels`` itself.

    Args:
        options: ``class``, one of the names above, and the arguments of the class; the default is
            BytePairEncoding with a ``bpe_file``, SentencePieces with a ``model_file``, else
            Vocabulary.

    Raises:
        ValueError: no such class.
        TypeError: neither options nor a vocabulary.
    """
    if hasattr(options, "get_seq") and hasattr(options, "num_labels"):
        return options
    if not isinstance(options, dict):
        raise TypeError(f"a vocabulary is a dict of options, not {options!r}")
    keywords = dict(options)
    default = "SentencePieces" if "model_file" in keywords else "Vocabulary"
    name = keywords.pop("class", "BytePairEncoding" if "bpe_file" in keywords else default)
    if name not in _CLASSES:
        raise ValueError(f"vocabulary class {name!r}: one of {', '.join(_CLASSES)}")
    return _CLASSES[name](**keywords)


def _read_labels(path: str | None) -> list[str]:
    if path is None:
        raise ValueError("a vocabulary needs vocab_file or labels")
    text = read_text(path)
    if not text.startswith("{"):
        return text.splitlines()
    expected = "a dict of label to index"
    indices = parse_literal(text.strip(), path, "a vocabulary", expected)
    if not isinstance(indices, dict) or not all(isinstance(n, int) for n in indices.values()):
        raise FormatError("not a vocabulary", path=path, expected=expected)
    pairs = sorted((index, str(label)) for label, index in indices.items())
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise FormatError(
            "vocabulary with gaps or duplicates",
            path=path,
            expected=f"indices 0 to {len(pairs) - 1}",
            found=f"{pairs[0][0]} to {pairs[-1][0]}" if pairs else "nothing",
        )
    return [label for _, label in pairs]
