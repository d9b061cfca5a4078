"""The output of Sprint's own archiver in its list and show modes, as lines without newline.

Lines are identical to the archiver's, except that every block of an entry is shown (the archiver
stops after the first) and that sums do not wrap at 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from sprintcache import states
from sprintcache.errors import LabelError, UnsupportedError, naming

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.archive import Archive
    from sprintcache.entries import Block

__all__ = ["archiver_list", "archiver_show", "text_lines"]

_NAME_WIDTH = 52
_SIZE_WIDTH = 12
_INDENT = "  "


def archiver_list(
    archive: Archive, title: str | None = None, names: Iterable[str] | None = None
) -> Iterator[str]:
    """The output of ``archiver --mode=list``: a head, a line per entry, the totals.

    `title` replaces the path of the archive in the head.
    """
    yield f"{_INDENT}archive: {archive.path if title is None else title}"
    yield f"{_INDENT}{'name':{_NAME_WIDTH}}{'compressed':>{_SIZE_WIDTH + 1}}{'size':>13}"
    yield _INDENT + "-" * (_NAME_WIDTH + 2 * _SIZE_WIDTH + 2)
    count = size = compressed = 0
    for name in archive if names is None else names:
        entry = archive.entry(name)
        yield _list_line(name, entry.compressed_size, entry.size)
        count += 1
        size += entry.size
        compressed += entry.compressed_size
    yield _INDENT + "-" * (_NAME_WIDTH + 2 * _SIZE_WIDTH + 2)
    yield _list_line(f"total: {count}", compressed, size)


def _list_line(name: str, compressed: int, size: int) -> str:
    # the archiver pads to a width in bytes
    padding = " " * (_NAME_WIDTH - len(name.encode("utf-8", "surrogateescape")))
    compressed_text = compressed or ""
    return f"{_INDENT}{name}{padding} {compressed_text:>{_SIZE_WIDTH}} {size:>{_SIZE_WIDTH}}"


def archiver_show(
    archive: Archive,
    name: str,
    allophones: Sequence[str] | None = None,
    tying: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """The output of ``archiver --mode=show`` for an entry, with the ``--type`` that fits it.

    ``feat`` for ``vector-f32``, ``align`` for alignments, ``flow-cache`` (XML in one line) for the
    other datatypes. Entries that are not Flow caches, such as ".attribs", are shown as text.

    Args:
        allophones: symbols in index order; None: alignments show bare ids.
        tying: ``a{b+c}@i.0`` to label: alignments also show the tied state.

    Raises:
        EntryNotFoundError: if the archive lacks the entry.
        FormatError: if it is damaged; UnsupportedError: if its datatype has no such text.
        LabelError: if an allophone is not in `allophones`, or a state not in `tying`.
    """
    if archive.datatype(name) is None:
        yield from text_lines(archive.read_text(name))
        return
    xml: list[str] = []
    for block in archive.read_blocks(name):
        if block.datatype == "vector-f32":
            yield from _feature_lines(block)
        elif block.datatype == "flow-alignment":
            for alignment in block.data:
                with naming(archive.entry(name).archive_path, name):
                    yield from _alignment_lines(alignment, allophones, tying)
        else:
            with naming(archive.entry(name).archive_path, name):
                xml += _packets(block)
    if xml:
        yield _INDENT + "".join(xml)


def text_lines(text: str) -> list[str]:
    """Lines of a text, split at newlines only; the last newline is optional."""
    return text.removesuffix("\n").split("\n") if text else []


def _feature_lines(block: Block) -> Iterator[str]:
    """``start end v1 v2 ... `` of each frame."""
    for (start, end), row in zip(_times(block), block.data, strict=True):
        yield "%.3f %.3f " % (start, end) + "%.6f " * len(row) % tuple(row.tolist())  # noqa: UP031


def _alignment_lines(
    alignment: Alignment, allophones: Sequence[str] | None, tying: Mapping[str, int] | None
) -> Iterator[str]:
    """A line per item; the columns after the emission depend on the given files."""
    detail: dict[int, str] = {}
    if allophones is not None and alignment.label_type == "allophone-state":
        for id_ in np.unique(alignment.emission).tolist():
            detail[id_] = _state_text(id_, allophones, tying)
    for time, id_, weight in zip(
        alignment.time.tolist(),
        alignment.emission.tolist(),
        alignment.weight.tolist(),
        strict=True,
    ):
        tail = f"\tweight\t= {weight:f}" if weight != 1 else ""
        yield f"{_INDENT}time=\t{time}\temission=\t{id_}{detail.get(id_, '')}{tail}"


def _state_text(id_: int, allophones: Sequence[str], tying: Mapping[str, int] | None) -> str:
    index, state = states.split(id_)
    if index >= len(allophones):
        raise LabelError(
            f"allophone {index} is not in the allophone file, which has {len(allophones)}"
        )
    text = f"\tallophone=\t{allophones[index]}\tindex=\t{index}\tstate=\t{state}"
    if tying:
        symbol = f"{allophones[index]}.{state}"
        if symbol not in tying:
            raise LabelError(f"the state tying has no label for {symbol}")
        text += f"\ttied=\t{tying[symbol]}\t"
    return text


# ---- Flow's XML: an element per packet, numbers as C++ prints them (six digits)


def _packets(block: Block) -> Iterator[str]:
    """The packets of a block as elements."""
    tag = block.datatype
    if tag == "windowing-fir-filter-parameter":
        for pairs in block.data:
            cuts = "".join(f'<cut-off gain="{g:g}" omega="{o:g}"/>' for g, o in pairs.tolist())
            yield f"<windowing-fir-filter>{cuts}</windowing-fir-filter>"
        return
    for (start, end), data in zip(_times(block), block.data, strict=True):
        times = f'start="{start:g}" end="{end:g}"'
        if tag == "timestamp":
            yield f"<{tag} {times}/>"
        elif tag in ("f32", "f64"):
            yield f"<{tag} {times}>{data:g}</{tag}>"
        elif tag == "string":
            yield f"<{tag} {times}>{escape(data)}</{tag}>"
        elif tag == "autoregressive-coefficients":
            inner = f'<gain>{data[0]:g}</gain><a size="{len(data) - 1}">{_numbers(data[1:])}</a>'
            yield f"<{tag} {times}>{inner}</{tag}>"
        elif tag in ("aggregate", "aggregate-vector-f32", "vector-vector-f32"):
            members = [text for part in _parts(data) for text in _packets(part)]
            inner = (" " if tag == "vector-vector-f32" else "").join(members)
            yield f'<{tag} {times} size="{len(members)}">{inner}</{tag}>'
        elif isinstance(data, np.ndarray) and tag.startswith("vector-"):
            yield f'<{tag} {times} size="{len(data)}">{_numbers(data)}</{tag}>'
        else:
            raise UnsupportedError(f"no archiver format for datatype {tag!r}")


def _parts(data: Any) -> list[Block]:
    """The blocks inside a packet; one, or several where datatypes are mixed."""
    return data if isinstance(data, list) else [data]


def _numbers(row: NDArray[Any]) -> str:
    if row.dtype.kind == "c":
        return " ".join(f"({value.real:g},{value.imag:g})" for value in row.tolist())
    if row.dtype.kind == "b":
        row = row.astype(np.uint8)
    return " ".join([f"{v:g}" if row.dtype.kind == "f" else str(v) for v in row.tolist()])


def _times(block: Block) -> list[list[float]]:
    times: list[list[float]] = [] if block.times is None else block.times.tolist()
    return times
