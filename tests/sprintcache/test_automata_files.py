"""Files of automata: what comes back, random bytes, checksums, atomic writing."""

from __future__ import annotations

import json
import os
import pickle
import re
import stat
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sprintcache import AutomatonError, CorruptError, FormatError, TruncatedError, UnsupportedError
from sprintcache.automata import Automata, EdgeWords, storage
from tests.paths import DATA


def corpus(name: str = "hmm") -> Automata:
    with np.load(DATA / "automata" / f"{name}.npz") as arrays:
        count = arrays["edges"].shape[1]
        return Automata.from_edges(
            arrays["edges"],
            arrays["weights"],
            arrays["start_end"],
            arrays["states"],
            list(arrays["state_symbols"]),
            EdgeWords(np.arange(count) % 3 - 1, [("a", "b"), ("ü\n",)]),
            list(arrays["tags"]),
        )


def facts(automata: Automata) -> list[Any]:
    """Everything of a batch, independent of tables; states counted from each start state."""
    assert automata.states is not None
    assert automata.state_symbols is not None
    assert automata.words is not None
    first = automata.start_end[0].astype(np.int64)
    edges = automata.edges.astype(np.int64)
    edges[:2] -= first[edges[3]]
    return [
        automata.tags,
        edges.tolist(),
        automata.weights.tolist(),
        (automata.start_end - first).tolist(),
        [str(automata.state_symbols[state]) for state in automata.states],
        [automata.words[edge] for edge in range(automata.num_edges)],
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    result = tmp_path / "corpus.automata"
    corpus().save(result)
    return result


def test_everything_comes_back(path: Path) -> None:
    saved, loaded = corpus(), Automata.load(path)
    assert facts(loaded[:]) == facts(saved)
    assert facts(pickle.loads(pickle.dumps(loaded))[:]) == facts(saved)
    assert isinstance(loaded.edges.base, np.memmap) or not loaded.edges.flags.owndata
    tag = saved.tags[7]  # type: ignore[index]
    assert facts(loaded[tag]) == facts(saved[7])
    assert facts(loaded[[tag, saved.tags[2]]]) == facts(saved[[7, 2]])  # type: ignore[index]
    loaded.verify()  # type: ignore[attr-defined]
    log_probs = np.zeros((80, len(saved), 80), np.float32)
    lengths = [80] * len(saved)
    assert (
        loaded.full_sum(log_probs, lengths).loss.tobytes()
        == saved.full_sum(log_probs, lengths).loss.tobytes()
    )


def test_parts_written_one_by_one(tmp_path: Path) -> None:
    saved = corpus()
    storage.save(tmp_path / "parts", (saved[i : i + 5] for i in range(0, len(saved), 5)))
    assert facts(storage.load(tmp_path / "parts")[:]) == facts(saved)
    plain = Automata(saved.edges, saved.weights, saved.start_end)
    storage.save(tmp_path / "plain", [plain])
    loaded = storage.load(tmp_path / "plain")
    assert (loaded.tags, loaded.states, loaded.words) == (None, None, None)
    np.testing.assert_array_equal(loaded[:].edges, plain.edges)
    no_symbols = Automata(saved.edges, saved.weights, saved.start_end, states=saved.states)
    storage.save(tmp_path / "states", [no_symbols])
    loaded = storage.load(tmp_path / "states")[:]
    assert loaded.state_symbols is None
    np.testing.assert_array_equal(loaded.states, saved.states)
    storage.save(tmp_path / "empty", [])
    assert len(storage.load(tmp_path / "empty")) == 0
    with pytest.raises(AutomatonError, match="some automata have tags"):
        storage.save(tmp_path / "mixed", [saved, plain])
    with pytest.raises(AutomatonError, match=re.escape("'dev/single/1': two sequences")):
        storage.save(tmp_path / "twice", [saved, saved])
    assert not list(tmp_path.glob("*mixed*"))
    assert not list(tmp_path.glob("*twice*"))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_saved_file_has_the_usual_permissions(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        corpus().save(tmp_path / "a")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_a_writer_that_fails_leaves_the_old_file(path: Path) -> None:
    def parts() -> Any:
        yield corpus()
        raise KeyboardInterrupt

    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        storage.save(path, parts())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def read_all(path: Path) -> None:
    loaded = storage.load(path)
    loaded.verify()
    log_probs = np.zeros((4, len(loaded), max(loaded[:].num_labels, 1)), np.float32)
    loaded.full_sum(log_probs, [4] * len(loaded))


@given(st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_changed_bytes_are_noticed(path: Path, data: st.DataObject) -> None:
    """Every byte but the padding is under a checksum."""
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    target = path.with_name("changed")
    target.write_bytes(changed)
    problem = None
    try:
        read_all(target)
    except FormatError as error:
        problem = error
    if problem is not None:
        assert str(target) in str(problem)
    else:
        assert facts(storage.load(target)[:]) == facts(corpus())


@pytest.mark.parametrize("length", [0, 1, 15, 16, 100, 2000, -1])
def test_cut_files(path: Path, length: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:length])
    with pytest.raises((TruncatedError, CorruptError)):
        read_all(path)


def rewritten(path: Path, change: Any) -> None:
    """The same file with another header, of the right checksum."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    header = json.loads(content[16 : 16 + length])
    new = change(header)
    text = (new if isinstance(new, bytes) else json.dumps(header).encode()).ljust(length)
    path.write_bytes(
        content[:8]
        + zlib.crc32(text).to_bytes(4, "little")
        + len(text).to_bytes(4, "little")
        + text
        + content[16 + length :]
    )


def set_section(name: str, item: int, value: Any) -> Any:
    def change(header: Any) -> None:
        header["sections"][name][item] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda h: h.update(version=2), UnsupportedError, "expected 1, found 2"),
        (lambda h: b"[" * 300, CorruptError, "no valid description"),
        (lambda h: b"[]", CorruptError, "no valid description"),
        (lambda h: h["sections"].pop("checks"), CorruptError, "sections are missing: checks"),
        (lambda h: h["sections"].pop("candidates"), CorruptError, "missing: candidates"),
        (set_section("edges", 2, 1 << 60), TruncatedError, "section edges is cut"),
        (set_section("edges", 1, [4, 1 << 40]), TruncatedError, "section edges is cut"),
        (set_section("edges", 2, -64), CorruptError, "no valid description"),
        (set_section("edges", 2, 3), CorruptError, "no valid description"),
        (set_section("edges", 0, "<f8"), CorruptError, "no valid description"),
        (set_section("edges", 0, "<i4"), CorruptError, "an unexpected type"),
        (set_section("edges", 1, [2, 6]), CorruptError, "an unexpected shape"),
        (set_section("edges", 1, [2, 6, 1]), CorruptError, "no valid description"),
        (set_section("tags", 3, 1), CorruptError, "section tags differs"),
    ],
)
def test_other_headers(path: Path, change: Any, error: type[Exception], message: str) -> None:
    rewritten(path, change)
    with pytest.raises(error, match=message):
        storage.load(path)


def test_a_group_of_words_below_none(path: Path) -> None:
    """Of a file with the right checksums; -1 is an edge of no word."""
    corpus()[7].save(path)
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[12:16], "little")
    sections = json.loads(content[16 : 16 + length])["sections"]
    first = sections["words"][2]
    content[first : first + 4] = (-2).to_bytes(4, "little", signed=True)
    check = 0
    for name in ("edges", "weights", "states", "words"):
        dtype, shape, offset, _ = sections[name]
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        check = zlib.crc32(content[offset : offset + size], check)
    checks = check.to_bytes(4, "little")
    offset = sections["checks"][2]
    content[offset : offset + 4] = checks
    path.write_bytes(content)
    rewritten(path, set_section("checks", 3, zlib.crc32(checks)))
    with pytest.raises(CorruptError, match="words are out of range"):
        storage.load(path).verify()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.load(tmp_path / "none")
    with pytest.raises(CorruptError, match="not an automata file"):
        storage.load(DATA / "energy.cache")
