"""Automata of a corpus in one file: mapped into memory, read by tag, checked.

Layout, little endian::

    8 bytes   magic "SPRINTFA"
    u32       CRC-32 of the header
    u32       length of the header
    header    JSON: {"version": 1, "sections": {name: [dtype, shape, offset, CRC-32 or null]}}
    sections  each at a multiple of 64 bytes

Sections: ``edges``, ``weights``, ``start_end``, ``states`` and ``words`` as in `Automata`;
``offsets`` and ``ranges`` (first edges and states of each sequence); ``checks`` (CRC-32 of the
edges of each sequence, verified when it is read); ``tags``, ``state_symbols`` and ``candidates`` as
JSON. The others are verified when the file is opened.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import AutomatonError, CorruptError, TruncatedError, UnsupportedError

from .automata import Automata
from .words import EdgeWords

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MappedAutomata", "load", "save"]

_MAGIC = b"SPRINTFA"
_VERSION = 1
_ALIGNMENT = 64
_ARRAYS = {  # dtype, and shape in terms of edges "E", sequences "B" or a number
    "edges": ("<u4", (4, "E")),
    "weights": ("<f4", ("E",)),
    "start_end": ("<u4", (2, "B")),
    "offsets": ("<i8", ("B+1",)),
    "ranges": ("<i8", (2, "B")),
    "checks": ("<u4", ("B",)),
    "states": ("<u4", ("E",)),
    "words": ("<i4", ("E",)),
}
_OPTIONAL = {"states", "words", "tags", "state_symbols", "candidates"}
_TABLES = ("tags", "state_symbols", "candidates")
_LARGE = ("edges", "weights", "states", "words")  # verified by sequence
_COPY = 1 << 20


class MappedAutomata(Automata):
    """Automata in a file. Sequences are verified when they are read; pickled as the path.

    Attributes:
        path: the file.
    """

    path: str
    _checks: Any

    def _take(self, numbers: Sequence[int]) -> Automata:
        for number in numbers:
            self._verify(number)
        return super()._take(numbers)

    def verify(self) -> None:
        """Verifies all sequences.

        Raises:
            CorruptError: for the first one that differs from its checksum.
        """
        for number in range(len(self)):
            self._verify(number)

    def _verify(self, number: int) -> None:
        span = slice(*(int(offset) for offset in self.edge_offsets[number : number + 2]))
        checksum = _checksum(
            self.edges, self.weights, self.states, self.words and self.words.groups, span
        )
        if checksum != self._checks[number]:
            raise CorruptError(
                "edges differ from their checksum",
                path=self.path,
                entry=self._name(number),
                expected=f"CRC-32 {self._checks[number]:#010x}",
                found=f"{checksum:#010x}",
            )
        low, high = self.state_ranges[:, number]
        states = self.edges[:2, span]
        valid = (self.edges[3, span] == number).all() and ((states >= low) & (states <= high)).all()
        if self.states is not None and self.state_symbols is not None:
            valid = valid and (self.states[span] < len(self.state_symbols)).all()
        if self.words is not None:
            groups = self.words.groups[span]
            valid = valid and ((groups >= -1) & (groups < len(self.words.candidates))).all()
        if not valid:
            raise CorruptError(
                "edges, states or words are out of range",
                path=self.path,
                entry=self._name(number),
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return load, (self.path,)


# ---- writing


def save(path: str | os.PathLike[str], parts: Iterable[Automata]) -> None:
    """Writes automata into a new file, which gets its name when it is complete.

    Memory is that of one part, so a corpus can be written as it is built. All parts must agree in
    having tags, states and words.

    Args:
        path: the file; one of that name is replaced.
        parts: batches of automata.

    Raises:
        AutomatonError: if parts differ in what they have, a tag occurs twice, or the states of the
            corpus exceed 32 bits.
        OSError: if the file cannot be written.
    """
    path = os.fspath(path)
    with ExitStack() as stack:
        writer = _Writer(stack)
        for part in parts:
            writer.add(part)
        with _replacing(path) as file:
            writer.write(file)


class _Writer:
    """Collects the large sections in temporary files, the small ones in memory."""

    def __init__(self, stack: ExitStack) -> None:
        self._columns: list[IO[bytes]] = []
        for _ in range(7):
            file = tempfile.TemporaryFile(prefix="sprintcache-")  # noqa: SIM115
            self._columns.append(stack.enter_context(file))
        self._kinds: tuple[bool, ...] | None = None
        self._small: dict[str, list[Any]] = {name: [] for name in ("start_end", "ranges", "counts")}
        self._checks: list[int] = []
        self._tables: dict[str, dict[Any, int]] = {name: {} for name in _TABLES}
        self._next_state = 0

    def add(self, part: Automata) -> None:
        kinds = (part.tags is not None, part.states is not None, part.words is not None)
        if self._kinds not in (None, kinds):
            raise AutomatonError("some automata have tags, states or words, and others do not")
        self._kinds = kinds
        if not len(part):
            return
        first = len(self._checks)
        shift = self._next_state - int(part.state_ranges[0].min())
        ranges = part.state_ranges + shift
        self._next_state = int(ranges[1].max()) + 1
        if self._next_state > 1 << 32:
            raise AutomatonError(f"{self._next_state} states do not fit into 32 bits")
        edges = part.edges.astype(np.int64)
        edges[:2] += shift
        edges[3] += first
        states, words = self._renumbered(part)
        columns = [*edges.astype("<u4"), part.weights.astype("<f4"), states, words]
        for file, column in zip(self._columns, columns, strict=True):
            if column is not None:
                file.write(np.ascontiguousarray(column).tobytes())
        stacked = np.stack(columns[:4])
        offsets = part.edge_offsets
        for i in range(len(part)):
            span = slice(int(offsets[i]), int(offsets[i + 1]))
            self._checks.append(_checksum(stacked, columns[4], states, words, span))
        self._small["start_end"].append(part.start_end.astype(np.int64) + shift)
        self._small["ranges"].append(ranges)
        self._small["counts"].append(np.diff(offsets))
        for tag in part.tags or ():
            if self._tables["tags"].setdefault(tag, len(self._tables["tags"])) < first:
                raise AutomatonError("two sequences have this tag", entry=tag)
        if part.tags is not None and len(self._tables["tags"]) != len(self._checks):
            raise AutomatonError("two sequences of a batch have the same tag")

    def _renumbered(self, part: Automata) -> tuple[Any, Any]:
        """Returns states and word groups in terms of the tables of the whole file."""
        states = words = None
        if part.states is not None:
            states = part.states.astype("<u4")
            if part.state_symbols is not None:
                used, inverse = np.unique(states, return_inverse=True)
                symbols = [str(part.state_symbols[state]) for state in used.tolist()]
                table = _positions(symbols, self._tables["state_symbols"])
                states = table[inverse].astype("<u4")
        if part.words is not None:
            table = _positions(part.words.candidates, self._tables["candidates"])
            words = np.append(table, -1)[part.words.groups].astype("<i4")
        return states, words

    def write(self, file: IO[bytes]) -> None:
        """Writes the file: header, small sections, then the collected large ones."""
        num_edges = self._columns[0].tell() // 4
        small = {
            "start_end": (_joined(self._small["start_end"]).astype("<u4")),
            "ranges": _joined(self._small["ranges"]).astype("<i8"),
            "offsets": np.append(0, np.cumsum(_joined(self._small["counts"], 1))).astype("<i8"),
            "checks": np.array(self._checks, "<u4"),
        }
        contents: dict[str, list[Any]] = {
            name: [array.dtype.str, list(array.shape), array.tobytes()]
            for name, array in small.items()
        }
        has_tags, has_states, has_words = self._kinds or (False, False, False)
        wanted = {"tags": has_tags, "candidates": has_words}
        wanted["state_symbols"] = has_states and bool(self._tables["state_symbols"])
        for name in _TABLES:
            if wanted[name]:
                data = json.dumps(list(self._tables[name])).encode()
                contents[name] = ["|u1", [len(data)], data]
        large: dict[str, list[Any]] = {
            "edges": ["<u4", [4, num_edges], self._columns[:4]],
            "weights": ["<f4", [num_edges], self._columns[4:5]],
        }
        if has_states:
            large["states"] = ["<u4", [num_edges], self._columns[5:6]]
        if has_words:
            large["words"] = ["<i4", [num_edges], self._columns[6:7]]
        header = self._header(contents, large)
        file.write(_MAGIC)
        file.write(zlib.crc32(header).to_bytes(4, "little") + len(header).to_bytes(4, "little"))
        file.write(header)
        for _, _, data in contents.values():
            _pad(file)
            file.write(data)
        for _, _, columns in large.values():
            _pad(file)
            for column in columns:
                column.seek(0)
                while block := column.read(_COPY):
                    file.write(block)

    @staticmethod
    def _header(contents: dict[str, list[Any]], large: dict[str, list[Any]]) -> bytes:
        """Returns the header, whose length depends on the offsets in it: it is made to fit."""
        length = 0
        while True:
            offset = 16 + length
            sections: dict[str, list[Any]] = {}
            for name, (dtype, shape, data) in [*contents.items(), *large.items()]:
                offset += -offset % _ALIGNMENT
                check = zlib.crc32(data) if name in contents else None
                sections[name] = [dtype, shape, offset, check]
                offset += int(np.prod(shape)) * np.dtype(dtype).itemsize
            header = json.dumps({"version": _VERSION, "sections": sections}).encode()
            if len(header) <= length:
                return header.ljust(length)
            length = len(header) + 16  # room for offsets with more digits


def _positions(items: Sequence[Any], table: dict[Any, int]) -> Any:
    """Returns the position of each item in a table, which grows by new ones."""
    return np.array([table.setdefault(item, len(table)) for item in items], np.int64)


def _joined(arrays: list[Any], ndim: int = 2) -> Any:
    return np.concatenate([np.zeros((2, 0) if ndim == 2 else 0, np.int64), *arrays], axis=-1)


def _pad(file: IO[bytes]) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))


def _checksum(edges: Any, weights: Any, states: Any, words: Any, span: slice) -> int:
    """CRC-32 of the edges of one sequence."""
    check = 0
    for column in (edges[0], edges[1], edges[2], edges[3], weights, states, words):
        if column is not None:
            check = zlib.crc32(np.ascontiguousarray(column[span]).data, check)
    return check


@contextmanager
def _replacing(path: str) -> Iterator[IO[bytes]]:
    """A file of a temporary name in the same folder, on the disk before it gets its name."""
    folder, name = os.path.split(path)
    descriptor, partial = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=folder or ".")
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# ---- reading


def load(path: str | os.PathLike[str]) -> MappedAutomata:
    """Opens a file that `save` wrote; edges are mapped, and verified when they are read.

    Raises:
        TruncatedError: if bytes are missing.
        CorruptError: if bytes contradict each other or a checksum.
        UnsupportedError: if the file has another version.
        OSError: if the file cannot be read.
    """
    path = os.fspath(path)
    size = os.stat(path).st_size
    if size < 16:
        raise TruncatedError("not an automata file", path=path, expected="16 bytes", found=size)
    data = np.memmap(path, np.uint8, "r", shape=(size,))
    sections = _sections(path, data)
    arrays = {
        name: _array(path, data, name, sections[name]) for name in _ARRAYS if name in sections
    }
    tables = {
        name: _table(path, data, name, sections[name]) for name in _TABLES if name in sections
    }
    _check_shapes(path, arrays, tables)
    words = None
    if "words" in arrays:
        candidates = [tuple(words) for words in tables["candidates"]]
        words = EdgeWords.unchecked(arrays["words"], candidates)
    automata = MappedAutomata(
        arrays["edges"],
        arrays["weights"],
        arrays["start_end"],
        arrays.get("states"),
        tables.get("state_symbols"),
        words,
        tables.get("tags"),
    )
    automata.path = path
    automata._checks = arrays["checks"]
    automata._offsets = arrays["offsets"]
    automata._ranges = arrays["ranges"]
    return automata


def _sections(path: str, data: Any) -> dict[str, Any]:
    """Returns the sections that the header names, checked against the size of the file."""
    if data[:8].tobytes() != _MAGIC:
        raise CorruptError(
            "not an automata file", path=path, offset=0, expected=_MAGIC, found=data[:8].tobytes()
        )
    check, length = (int(value) for value in data[8:16].view("<u4"))
    if length > len(data) - 16:
        raise TruncatedError(
            "the header is cut", path=path, offset=16, expected=length, found=len(data) - 16
        )
    header = data[16 : 16 + length].tobytes()
    if zlib.crc32(header) != check:
        raise CorruptError("the header differs from its checksum", path=path, offset=16)
    try:
        content = json.loads(header)
        version, sections = content["version"], content["sections"]
        described = {name: _described(*section) for name, section in sections.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptError(
            f"the header has no valid description: {error}", path=path, offset=16
        ) from None
    if version != _VERSION:
        raise UnsupportedError(
            "a different version of automata files", path=path, expected=_VERSION, found=version
        )
    missing = {*_ARRAYS, *_TABLES} - _OPTIONAL - set(described)
    if ("words" in described) != ("candidates" in described):
        missing.add("candidates")
    if missing:
        raise CorruptError(f"sections are missing: {', '.join(sorted(missing))}", path=path)
    for name, (dtype, shape, offset, _) in described.items():
        end = offset + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        if end > len(data):
            raise TruncatedError(
                f"section {name} is cut", path=path, offset=offset, expected=end, found=len(data)
            )
    return described


def _described(dtype: str, shape: list[int], offset: int, check: int | None) -> tuple[Any, ...]:
    """Returns the description of a section.

    Raises:
        ValueError: if it is malformed.
    """
    integers = all(type(size) is int and size >= 0 for size in [*shape, offset])
    if not integers or len(shape) > 2 or dtype not in ("<u4", "<f4", "<i4", "<i8", "|u1"):
        raise ValueError(f"{dtype} {shape} at {offset}")
    if offset % _ALIGNMENT or not (check is None or type(check) is int):
        raise ValueError(f"section at {offset} with checksum {check}")
    return dtype, tuple(shape), offset, check


def _array(path: str, data: Any, name: str, section: tuple[Any, ...]) -> Any:
    dtype, shape, offset, check = section
    if dtype != _ARRAYS[name][0]:
        raise CorruptError(f"section {name} has an unexpected type", path=path, found=dtype)
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    part = data[offset : offset + size]
    if name not in _LARGE:
        _verify(path, part, name, offset, check)
    return part.view(np.ndarray).view(dtype).reshape(shape)


def _table(path: str, data: Any, name: str, section: tuple[Any, ...]) -> list[Any]:
    """Returns a table of strings, or of lists of strings for candidates."""
    _, shape, offset, check = section
    part = data[offset : offset + int(np.prod(shape))]
    _verify(path, part, name, offset, check)
    try:
        items = json.loads(part.tobytes())
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"section {name}: {error}", path=path, offset=offset) from None
    nested = name == "candidates"
    groups = items if nested else [items]
    valid = isinstance(items, list) and all(
        isinstance(group, list) and all(isinstance(text, str) for text in group) for group in groups
    )
    if not valid:
        raise CorruptError(f"section {name} has no strings", path=path, offset=offset)
    return list(items)


def _verify(path: str, part: Any, name: str, offset: int, check: int | None) -> None:
    if zlib.crc32(part.tobytes()) != check:
        raise CorruptError(f"section {name} differs from its checksum", path=path, offset=offset)


def _check_shapes(path: str, arrays: dict[str, Any], tables: dict[str, Any]) -> None:
    """Raises CorruptError unless all sections have the same numbers of edges and sequences."""
    sizes = {"E": arrays["weights"].size, "B": arrays["checks"].size}
    sizes["B+1"] = sizes["B"] + 1
    for name, array in arrays.items():
        expected = tuple(sizes.get(str(size), size) for size in _ARRAYS[name][1])
        if array.shape != expected:
            raise CorruptError(
                f"section {name} has an unexpected shape",
                path=path,
                expected=expected,
                found=array.shape,
            )
    if "tags" in tables and len(tables["tags"]) != sizes["B"]:
        raise CorruptError(
            "the number of tags differs", path=path, expected=sizes["B"], found=len(tables["tags"])
        )
    offsets, ranges, start_end = (arrays[name] for name in ("offsets", "ranges", "start_end"))
    ordered = offsets[0] == 0 and offsets[-1] == sizes["E"] and (np.diff(offsets) >= 0).all()
    inside = (ranges[0] >= 0).all() and (ranges[1] < 1 << 32).all()
    inside = inside and (ranges[0] <= start_end).all() and (start_end <= ranges[1]).all()
    if not ordered or not inside or (ranges[0, 1:] <= ranges[1, :-1]).any():
        raise CorruptError("ranges of edges and states contradict each other", path=path)
