"""combine and repack: the bytes that come out, from what was decided by a plain model."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Archive,
    ArchiveChangedError,
    EntryNotFoundError,
    FormatError,
    SprintCacheError,
    combine,
    open_archive,
    repack,
    verify,
)
from sprintcache._write import entry_copier as transfer
from tests.oracle import builder, reference
from tests.sprintcache.test_reference import real_file, zlib_as_sprint

Entries = dict[str, tuple[bytes, bool]]  # name -> payload, whether compressed


def archive_of(entries: Entries, holes: Iterable[int] = ()) -> bytes:
    """An archive by hand; unlike `builder.archive`, some entries may be compressed."""
    out = bytearray(builder.MAGIC + b"\1")
    rows, hole_rows = [], []
    for number, (name, (payload, packed)) in enumerate(entries.items()):
        if number in holes:
            hole_rows.append(struct.pack("<QI", len(out) + 8, 30))
            out += builder.hole(30)
        whole = builder.entry(name, payload, packed)
        rows.append(builder.file_row(name, len(out), whole))
        out += whole
    return bytes(out + builder.tables(rows, hole_rows, len(out)))


def contents(data: bytes) -> dict[str, bytes]:
    """By the slow decoder."""
    return {
        row.name.decode("utf-8", "surrogateescape"): reference.payload(data, row)
        for row in reference.rows(data)
    }


@contextmanager
def opened(
    folder: Path, sources: list[Entries], holes: Iterable[int] = ()
) -> Iterator[list[Archive]]:
    with ExitStack() as stack:
        archives = []
        for number, entries in enumerate(sources):
            path = folder / f"source{number}.cache"
            path.write_bytes(archive_of(entries, holes))
            archives.append(stack.enter_context(open_archive(path)))
        yield archives


# ---- any archives, any policy: a model says what comes out -----------------------------------

NAMES = st.sampled_from(["a", "b", "c/1", "c/2", "d//odd", "ü", "\udcff"])
ENTRIES = st.dictionaries(
    st.tuples(NAMES, st.sampled_from(["", ".attribs"])).map("".join),
    st.tuples(st.binary(max_size=60), st.booleans()),
    max_size=8,
)


def owner(name: str, entries: Entries) -> str:
    segment = name.removesuffix(".attribs")
    return segment if segment in entries else name


def unit(segment: str, entries: Entries) -> dict[str, bytes]:
    """A segment and its attributes."""
    names = [segment, f"{segment}.attribs"]
    return {name: entries[name][0] for name in names if name in entries}


def modelled(sources: list[Entries], policy: str) -> tuple[Entries, set[str]]:
    """What comes out of new archives, and what differs."""
    homes: dict[str, int] = {}  # of segments, and of attributes that have none
    differing = set()
    for number, entries in enumerate(sources):
        for name in entries:
            if name != owner(name, entries):
                continue
            if name.removesuffix(".attribs") in homes.keys() - {name}:
                continue  # attributes alone, where there is a segment
            if name not in homes or policy == "replace":
                homes[name] = number
                homes.pop(f"{name}.attribs", None)
            elif policy == "check" and unit(name, entries) != unit(name, sources[homes[name]]):
                differing.add(name)
    out: Entries = {}
    for number, entries in enumerate(sources):
        for name in entries:
            if homes.get(owner(name, entries)) == number:
                out[name] = entries[name]
    return out, differing


SOURCES = st.lists(ENTRIES, min_size=1, max_size=3)
POLICIES = st.sampled_from(["check", "keep", "replace"])
HOLES = st.sets(st.integers(0, 7), max_size=2)
BUFFERS = st.sampled_from([40, 120, 1 << 19])


@settings(max_examples=100)
@given(
    sources=SOURCES,
    policy=POLICIES,
    holes=HOLES,
    buffer=BUFFERS,
    compress=st.sampled_from([None, True, False]),
)
def test_a_new_archive(
    scratch: Path,
    sources: list[Entries],
    policy: str,
    holes: set[int],
    buffer: int,
    compress: bool | None,
) -> None:
    path = scratch / "out.cache"
    path.unlink(missing_ok=True)
    expected, differing = modelled(sources, policy)
    if compress is not None:
        expected = {name: (payload, compress) for name, (payload, _) in expected.items()}
    with pytest.MonkeyPatch.context() as patch, opened(scratch, sources, holes) as archives:
        patch.setattr(transfer, "_BUFFER", buffer)
        planned = combine(archives, path, duplicates=policy, dry_run=True)
        assert not path.exists()
        report = combine(archives, path, duplicates=policy, compress=compress)
    assert path.read_bytes() == archive_of(expected)
    assert report == planned
    assert set(report.differing) == differing
    assert report.num_added == len(expected)
    if all(name.removesuffix(".attribs") in entries for entries in sources for name in entries):
        left_out = sum(map(len, sources)) - len(expected)
        assert report.num_kept == (0 if policy == "replace" else left_out)


def test_entries_that_fill_the_buffer(scratch: Path) -> None:
    rest = 2 * len(builder.entry("a", b""))
    entries = [("a", b"1" * 1000), ("b", b"2" * ((1 << 19) - 1000 - rest))]
    data = builder.archive(entries)
    (scratch / "x.cache").write_bytes(data)
    with open_archive(scratch / "x.cache") as archive:
        combine([archive], scratch / "out.cache")
    assert (scratch / "out.cache").read_bytes() == data


@settings(max_examples=100)
@given(sources=SOURCES, policy=POLICIES, holes=HOLES, buffer=BUFFERS)
def test_an_archive_that_is_appended_to(
    scratch: Path, sources: list[Entries], policy: str, holes: set[int], buffer: int
) -> None:
    expected, differing = modelled(sources, policy)
    with pytest.MonkeyPatch.context() as patch, opened(scratch, sources, holes) as archives:
        patch.setattr(transfer, "_BUFFER", buffer)
        before = Path(archives[0].path).read_bytes()
        planned = combine(archives[1:], archives[0].path, "a", duplicates=policy, dry_run=True)
        assert Path(archives[0].path).read_bytes() == before
        report = combine(archives[1:], archives[0].path, "a", duplicates=policy)
        data = Path(archives[0].path).read_bytes()
    assert contents(data) == {name: payload for name, (payload, _) in expected.items()}
    assert report == planned
    assert set(report.differing) == differing


# ---- real archives ---------------------------------------------------------------------------

PARTS = [f"features.part{number}.cache" for number in (1, 2, 3)]


@zlib_as_sprint
def test_the_archive_that_sprint_wrote_from_its_parts(scratch: Path) -> None:
    """In Sprint's order, with Sprint's compression; holes as the archiver leaves them are gone."""
    plain, packed, holes = (
        real_file("archives", f"features.{kind}cache") for kind in ("", "gz.", "holes.")
    )
    with open_archive(real_file("archives", "features.bundle")) as bundle:
        with open_archive(plain) as whole:
            order = [name for name in whole.segments]
        repack(bundle, scratch / "plain.cache", order=order)
        assert (scratch / "plain.cache").read_bytes() == plain.read_bytes()
        repack(bundle, scratch / "packed.cache", order="name", compress=True)
        assert (scratch / "packed.cache").read_bytes() == packed.read_bytes()
    with open_archive(packed) as archive:
        repack(archive, scratch / "plain.cache", compress=False)
    assert (scratch / "plain.cache").read_bytes() == plain.read_bytes()
    with open_archive(holes) as archive:
        kept = list(archive)
        repack(archive, scratch / "dense.cache")
    with open_archive(plain) as archive:
        combine([archive], scratch / "some.cache", names=kept)
    dense = (scratch / "dense.cache").read_bytes()
    assert dense == (scratch / "some.cache").read_bytes()
    assert contents(dense) == contents(holes.read_bytes())
    assert len(dense) < len(holes.read_bytes())


def test_compressed_entries_are_copied_as_they_are(scratch: Path) -> None:
    """Not deflated again: what another zlib packed stays as it is."""
    payload = bytes(1000)
    stored = gzip.compress(payload, 1)
    whole = builder.START_TAG + builder.string("x")
    whole += struct.pack("<III", len(payload), len(stored), 0) + stored + builder.END_TAG
    row = builder.file_row("x", 9, whole)
    data = builder.MAGIC + b"\1" + whole + builder.tables([row], [], 9 + len(whole))
    (scratch / "x.cache").write_bytes(data)
    with open_archive(scratch / "x.cache") as archive:
        repack(archive, scratch / "y.cache", compress=True)
    assert (scratch / "y.cache").read_bytes() == data


def test_directories_are_sources(scratch: Path) -> None:
    (scratch / "folder" / "c").mkdir(parents=True)
    (scratch / "folder" / "c" / "1").write_bytes(b"plain")
    (scratch / "folder" / "c" / "2").write_bytes(gzip.compress(b"packed"))
    with open_archive(scratch / "folder") as folder:
        combine([folder], scratch / "out.cache", prefix="p/")
    expected = {"p/c/1": (b"plain", False), "p/c/2": (b"packed", True)}
    assert contents((scratch / "out.cache").read_bytes()) == {
        n: p for n, (p, _) in expected.items()
    }
    with open_archive(scratch / "out.cache") as archive:
        assert [archive.entry(name).compressed_size > 0 for name in expected] == [False, True]


# ---- order and selection ---------------------------------------------------------------------


def test_names_and_their_order(scratch: Path) -> None:
    one = {"b.attribs": (b"B", False), "b": (b"b", False), "a": (b"a", False), "c": (b"c", True)}
    two = {"d": (b"d", False), "b": (b"b", False), "b.attribs": (b"B", True)}
    with opened(scratch, [one, two]) as archives:
        report = combine(archives, scratch / "x.cache", names=["d", "c", "b", "c"])
        with pytest.raises(EntryNotFoundError, match=r"2 of 3 names .* the first: 'e'"):
            combine(archives, scratch / "y.cache", names=["e", "a", "f"])
        repack(archives[1], scratch / "z.cache", order=["b"])
        repack(archives[0], order="name")
        with pytest.raises(ArchiveChangedError):
            list(archives[0])
    assert report[1:4] == (4, 0, 2)
    data = (scratch / "x.cache").read_bytes()
    assert list(contents(data)) == ["c", "b.attribs", "b", "d"]
    assert list(contents((scratch / "z.cache").read_bytes())) == ["b.attribs", "b", "d"]
    data = (scratch / "source0.cache").read_bytes()
    assert list(contents(data)) == ["a", "b.attribs", "b", "c"]
    assert not (scratch / "y.cache").exists()


def test_attributes_alone(scratch: Path) -> None:
    """Where only they are named, their segment is left alone."""
    here = {"a": (b"a", False)}
    there = {"a.attribs": (b"A", False), "a": (b"other", False)}
    with opened(scratch, [here, there]) as archives:
        combine([archives[1]], archives[0].path, "a", names=["a.attribs"], duplicates="replace")
    data = (scratch / "source0.cache").read_bytes()
    assert contents(data) == {"a": b"a", "a.attribs": b"A"}


# ---- damage ----------------------------------------------------------------------------------

GOOD = {name: (name.encode() * 20, False) for name in ("c/1", "c/2", "c/3", "c/4")}
SECOND = 9 + len(builder.entry("c/1", GOOD["c/1"][0]))  # where the second entry starts
DAMAGE = {
    "start tag": SECOND,
    "name length": SECOND + 4,
    "name": SECOND + 9,
    "size": SECOND + 11,
    "compressed size": SECOND + 15,
    "checksum": SECOND + 19,
    "end tag": SECOND + len(builder.entry("c/2", GOOD["c/2"][0])) - 1,
}


@pytest.mark.parametrize("buffer", [40, 130, 1 << 19])
@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_entries(
    scratch: Path, what: str, buffer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_BUFFER", buffer)
    data = bytearray(archive_of(GOOD))
    data[DAMAGE[what]] ^= 0x41
    (scratch / "bad.cache").write_bytes(data)
    path = scratch / "out.cache"
    with open_archive(scratch / "bad.cache") as archive:
        with pytest.raises(FormatError) as caught:
            combine([archive], path)
        assert list(scratch.iterdir()) == [scratch / "bad.cache"]
        error = caught.value
        assert (error.path, error.entry) == (str(scratch / "bad.cache"), "c/2")
        assert error.offset is not None
        assert SECOND <= error.offset <= DAMAGE[what]
        report = combine([archive], path, skip_damaged=True)
    assert [name for name, _ in report.damaged] == ["c/2"]
    assert str(report.damaged[0][1]) == str(error)
    assert report.num_added == 3
    expected = {name: entry for name, entry in GOOD.items() if name != "c/2"}
    assert contents(path.read_bytes()) == {name: data for name, (data, _) in expected.items()}
    assert verify(path).ok


@pytest.mark.parametrize("skip", [False, True])
def test_damaged_data_is_found_where_it_is_inflated(scratch: Path, skip: bool) -> None:
    entries = {name: (bytes(99), True) for name in ("a", "b")}
    data = bytearray(archive_of(entries))
    data[9 + 4 + 5 + 12 + 14] ^= 1
    (scratch / "bad.cache").write_bytes(data)
    with open_archive(scratch / "bad.cache") as archive:
        if skip:
            report = repack(archive, scratch / "x.cache", compress=False, skip_damaged=True)
            assert [name for name, _ in report.damaged] == ["a"]
            assert contents((scratch / "x.cache").read_bytes()) == {"b": bytes(99)}
        else:
            with pytest.raises(FormatError, match="entry 'a'"):
                repack(archive, scratch / "x.cache", compress=False)


def test_a_source_that_is_changed_meanwhile(scratch: Path) -> None:
    with opened(scratch, [GOOD]) as (archive,):
        Path(archive.path).write_bytes(archive_of(GOOD)[:-1])
        with pytest.raises(ArchiveChangedError):
            combine([archive], scratch / "x.cache")
    assert not (scratch / "x.cache").exists()


# ---- interruption ----------------------------------------------------------------------------


class StopError(Exception):
    pass


def stops_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise StopError

    return progress


@pytest.mark.parametrize("count", range(5))
def test_what_an_interruption_leaves(
    scratch: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_BUFFER", 120)  # one entry at a time
    old = archive_of({"old": (b"old", False)})
    with opened(scratch, [GOOD]) as archives:
        for mode in ("x", "w", "a"):
            path = scratch / f"{mode}.cache"
            if mode != "x":
                path.write_bytes(old)
            with pytest.raises(StopError):
                combine(archives, path, mode, progress=stops_after(count))
    assert {path.name for path in scratch.iterdir()} == {"source0.cache", "w.cache", "a.cache"}
    assert (scratch / "w.cache").read_bytes() == old
    names = ["old", *list(GOOD)[:count]]
    assert list(contents((scratch / "a.cache").read_bytes())) == names


# ---- refusals --------------------------------------------------------------------------------


def test_what_is_refused(scratch: Path) -> None:
    killed = builder.archive([("a", b"a")], table=False)
    (scratch / "killed.cache").write_bytes(killed)
    (scratch / "folder").mkdir()
    (scratch / "x.bundle").write_text("killed.cache\n")
    with open_archive(scratch / "killed.cache") as archive:
        with pytest.raises(SprintCacheError, match="recover"):
            repack(archive)
        with pytest.raises(ValueError, match="duplicates must be"):
            combine([archive], scratch / "x.cache", duplicates="overwrite")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="normalized path"):
            combine([archive], scratch / "x.cache", prefix="p//")
        with pytest.raises(FileExistsError):
            combine([archive], scratch / "killed.cache")
        with pytest.raises(FileExistsError):
            combine([archive], scratch / "killed.cache", dry_run=True)
    for path in ("x.bundle", "folder"):
        with open_archive(scratch / path) as archive, pytest.raises(ValueError, match="archive fi"):
            repack(archive)
    assert (scratch / "killed.cache").read_bytes() == killed


def test_an_archive_is_not_copied_into_itself(scratch: Path) -> None:
    with opened(scratch, [GOOD]) as archives:
        report = combine(archives, archives[0].path, "a")
        assert report[1:4] == (0, 0, 4)
        with pytest.raises(ValueError, match="appended to itself"):
            combine(archives, archives[0].path, "a", prefix="x/")
        combine(archives, archives[0].path, "w")
    assert (scratch / "source0.cache").read_bytes() == archive_of(GOOD)


def test_decisions_on_segments_that_are_all_new(tmp_path: Path) -> None:
    """Nothing is to be decided, and each decision is reported all the same."""
    for number in (1, 2):
        entries = [(f"{number}/{i}", b"x") for i in range(3)]
        (tmp_path / f"{number}.cache").write_bytes(builder.archive(entries))
    decisions: list[tuple[str, str]] = []
    with ExitStack() as stack:
        paths = [tmp_path / f"{number}.cache" for number in (1, 2)]
        combine(
            [stack.enter_context(open_archive(path)) for path in paths],
            tmp_path / "out.cache",
            on_decision=lambda decision, name: decisions.append((decision, name)),
        )
    assert decisions == [("add", f"{number}/{i}") for number in (1, 2) for i in range(3)]


# ---- many entries ----------------------------------------------------------------------------


@pytest.mark.parametrize("appended", [False, True])
def test_a_table_of_more_than_one_piece(tmp_path: Path, appended: bool) -> None:
    entries = [(f"recording/{'x' * 100}-{number:06d}", b"%d" % number) for number in range(10_000)]
    data = builder.archive(entries)
    assert len(data) - int.from_bytes(data[-8:], "little") > 1 << 20
    target = tmp_path / "target.cache"
    if appended:  # rows of an older table, then rows of runs
        target.write_bytes(builder.archive(entries[:4000]))
        entries = entries[4000:]
    source = tmp_path / "source.cache"
    source.write_bytes(builder.archive(entries))
    with open_archive(source) as archive:
        combine([archive], target, "a")
    assert target.read_bytes() == data


def test_memory_of_many_entries(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 40_000):
        entries = [(f"recording/{'x' * 20}-{number:06d}", b"data") for number in range(count)]
        source = tmp_path / f"source{count}.cache"
        source.write_bytes(builder.archive(entries))
        with open_archive(source) as archive:
            tracemalloc.start()
            try:
                combine([archive], tmp_path / f"target{count}.cache")
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    # a str of 86 bytes, references to it in two lists and two dicts, and sizes; no row of the table
    assert (peaks[1] - peaks[0]) / 20_000 < 260
