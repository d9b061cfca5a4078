"""Index files: they change nothing but the time it takes, whatever happens to them."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache
from sprintcache import (
    Archive,
    CorruptError,
    FormatError,
    SprintCacheError,
    UnsupportedError,
    _index_files,
    open_archive,
    write_index,
)
from sprintcache._reader import FileOrderIterator
from sprintcache.cli import main
from sprintcache.opening import check_index
from tests.oracle import builder, index_file
from tests.oracle.compare import IOS
from tests.paths import DATA

io_modes = pytest.mark.parametrize("io", IOS)
Entries = list[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def cache_folder(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder is not touched."""
    monkeypatch.delenv(_index_files.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(scratch / "xdg"))
    return scratch / "xdg" / "sprintcache"


def features(frames: int, dim: int) -> bytes:
    return builder.features([[float(t + d) for d in range(dim)] for t in range(frames)])


def corpus(prefix: str = "corpus/rec") -> Entries:
    """Features, attributes, a text, an empty entry, an alignment, a name that is not UTF-8."""
    entries: Entries = []
    for number, frames in enumerate((3, 1, 7, 2)):
        entries += [
            (f"{prefix}{number}.attribs", builder.attribs({"n": str(number)})),
            (f"{prefix}{number}", features(frames, 2 + number % 2)),
        ]
    return [
        *entries,
        (f"{prefix}text", b"no Flow cache at all"),
        (f"{prefix}empty", b""),
        (
            f"{prefix}align",
            builder.alignment_entry(builder.alignment_rle([(0, 5), (1, 5), (2, 6)])),
        ),
        (f"{prefix}s\udce9g", b"x"),
    ]


def write(path: Path, entries: Entries, **options: Any) -> Path:
    path.write_bytes(builder.archive(entries, **options))
    return path


def answers(archive: Archive) -> dict[str, Any]:
    """What an archive answers, each answer by itself; errors as their class and text."""
    names: list[str] = []

    def ask(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except SprintCacheError as error:
            return error

    results: dict[str, Any] = {
        "names": ask(lambda: list(archive)),
        "segments": ask(lambda: list(archive.segments)),
        "sizes": ask(lambda: archive.segment_sizes().tolist()),
        "absent": ask(lambda: ["absent" in archive, "" in archive, "corpus/rec" in archive]),
    }
    names = [name for name, _ in corpus()]
    for name in names:
        results[f"in {name!r}"] = ask(lambda: name in archive)  # noqa: B023 called at once
        results[f"entry {name!r}"] = ask(lambda: archive.entry(name))  # noqa: B023
        results[f"bytes {name!r}"] = ask(lambda: archive.read_bytes(name))  # noqa: B023
    numbers = np.arange(min(3, len(archive.segments)))[::2]
    results["batch"] = ask(lambda: archive.read_features_batch(names[1:6:4])[0].tolist())
    results["by number"] = ask(lambda: archive.read_features_batch(numbers)[0].tolist())
    results["frames"] = ask(lambda: archive.num_frames_all().tolist())
    results["dims"] = ask(lambda: archive.feature_dims_all().tolist())
    results["order"] = ask(lambda: list(FileOrderIterator(archive, "names", 0)))
    return results


def same(answer: Any, expected: Any) -> bool:
    if isinstance(expected, Exception):
        return type(answer) is type(expected) and str(answer) == str(expected)
    return bool(answer == expected)


# ---- the same answers ------------------------------------------------------------------------

NAMES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c.attribs", "d/e", "f" * 70]), st.binary(max_size=20)),
    max_size=6,
)


@io_modes
@settings(max_examples=60)
@given(members=st.lists(NAMES, min_size=1, max_size=4))
def test_an_index_changes_no_answer(scratch: Path, members: list[Entries], io: str) -> None:
    """First duplicate inside an archive, last archive across them; holes; attributes."""
    paths = [
        write(scratch / f"{number}.cache", entries, holes=[0] * number)
        for number, entries in enumerate(members)
    ]
    target = scratch / "x.index"
    with open_archive(paths, io, index=None) as plain:
        indexed = open_archive(paths, io, index=target)
        again = pickle.loads(pickle.dumps(indexed))
        for archive in (indexed, again):
            with archive:
                assert archive.index_path == str(target)
                assert list(archive) == list(plain)
                assert list(archive.segments) == list(plain.segments)
                assert [archive.entry(name) for name in plain] == list(map(plain.entry, plain))
                assert list(map(archive.read_bytes, plain)) == list(map(plain.read_bytes, plain))
                assert "g" not in archive


def test_the_file_is_as_documented(scratch: Path) -> None:
    """Read by another program: every section, slot and checksum."""
    first, second = corpus(), [*corpus("corpus/later")[:4], ("corpus/rec0", features(9, 2))]
    paths = [write(scratch / "1.cache", first), write(scratch / "2.cache", second)]
    target = Path(write_index(paths, scratch / "x.index"))
    contents = index_file.read(target.read_bytes())
    with open_archive(paths, index=None) as archive:
        assert [entry.name.decode("utf-8", "surrogateescape") for entry in contents.entries] == [
            *archive
        ]
        for name, entry in zip(archive, contents.entries, strict=True):
            info = archive.entry(name)
            assert (entry.position, entry.size) == (info.position, info.size)
            assert str(paths[entry.source]) == info.archive_path
    names = [name for name, _ in [*first, *second[:4]]]
    expected = {"corpus/rec0": (9, 2), "corpus/rec1": (1, 3), "corpus/rec2": (7, 2)}
    expected |= {"corpus/rec3": (2, 3), "corpus/recempty": (0, 0), "corpus/recalign": (3, 0)}
    expected |= {"corpus/later0": (3, 2), "corpus/later1": (1, 3)}
    unknown = (0xFFFFFFFF, 0)
    segments = [names[number] for number in contents.segments]
    assert segments == [name for name in names if not name.endswith(".attribs")]
    shapes = list(zip(contents.frames, contents.dims, strict=True))
    assert shapes == [expected.get(name, unknown) for name in segments]
    for path, source in zip(paths, contents.sources, strict=True):
        status = path.stat()
        assert source[:2] == (status.st_size, status.st_mtime_ns)


def test_lengths_need_no_pass_over_the_archive(scratch: Path) -> None:
    """A payload that is damaged without a trace in size and time is not even seen."""
    entries = [entry for entry in corpus() if "text" not in entry[0] and "\udce9" not in entry[0]]
    path = write(scratch / "x.cache", entries)
    write_index(path)
    data, status = path.read_bytes(), path.stat()
    path.write_bytes(data.replace(b"vector-f32", b"vector-x32").replace(b"flow-al", b"flux-al"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with open_archive(path, index=None) as archive, pytest.raises(FormatError):
        archive.num_frames_all()
    with open_archive(path) as archive:
        assert archive.num_frames_all().tolist() == [3, 1, 7, 2, 0, 3]
        assert archive.feature_dims_all().tolist() == [2, 3, 2, 3, 0, 0]


@pytest.mark.parametrize("order", ["sorted", "laplace:2"])
def test_a_dataset_orders_by_the_index(scratch: Path, order: str) -> None:
    path = write(scratch / "x.cache", [entry for entry in corpus() if entry[0][-1].isdigit()])

    def tags() -> list[str]:
        dataset = sprintcache.SprintCacheDataset({"data": {"filename": path}}, seq_ordering=order)
        dataset.init_seq_order(1)
        return [dataset.get_tag(number) for number in range(4)]

    expected = tags()
    write_index(path)
    assert tags() == expected
    if order == "sorted":
        assert expected == [f"corpus/rec{number}" for number in (1, 3, 0, 2)]


# ---- which file ------------------------------------------------------------------------------


def test_auto_takes_the_index_next_to_the_archive_and_writes_none(
    scratch: Path, cache_folder: Path
) -> None:
    path = write(scratch / "x.cache", corpus())
    with open_archive(path) as archive:
        assert archive.index_path is None
    assert os.listdir(scratch) == ["x.cache"]
    assert write_index(path) == f"{path}.index"
    with open_archive(path) as archive:
        assert archive.index_path == f"{path}.index"
    with open_archive(path, index=None) as archive:
        assert archive.index_path is None


def test_a_read_only_folder_gets_its_index_in_the_cache_folder(
    scratch: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(scratch / "x.cache", corpus())
    system_open = os.open

    def read_only(file: str, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_CREAT and os.path.dirname(file) == str(scratch):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), file)
        return system_open(file, flags, *args, **options)

    monkeypatch.setattr(os, "open", read_only)
    target = write_index(path)
    assert os.path.dirname(target) == str(cache_folder)
    with open_archive(path) as archive:
        assert archive.index_path == target


def test_several_archives_have_one_index_in_the_cache_folder(
    scratch: Path, cache_folder: Path
) -> None:
    paths = [write(scratch / f"{n}.cache", corpus(f"corpus/{n}")) for n in range(3)]
    target = write_index(paths)
    assert os.path.dirname(target) == str(cache_folder)
    with open_archive(paths) as archive:
        assert archive.index_path == target
    with open_archive(paths[::-1]) as archive:
        assert archive.index_path is None


def test_the_environment_asks_for_indexes(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(scratch / "x.cache", corpus())
    monkeypatch.setenv(_index_files.ENVIRONMENT, str(scratch / "indexes"))
    with open_archive(path) as archive:
        target = archive.index_path
    assert target is not None
    assert os.path.dirname(target) == str(scratch / "indexes")
    write(path, corpus("corpus/new"))
    with caplog.at_level(logging.WARNING, "sprintcache"), open_archive(path) as archive:
        assert archive.index_path == target
        assert "corpus/new1" in archive
    assert "is not used: the archive " in caplog.text
    killed = write(scratch / "killed.cache", corpus(), table=False)
    with caplog.at_level(logging.WARNING, "sprintcache"), open_archive(killed) as archive:
        assert archive.index_path is None
        assert len(archive) == len(corpus())
    assert "was not written" in caplog.text


def test_a_path_is_written_when_it_is_missing_stale_or_damaged(scratch: Path) -> None:
    path, target = write(scratch / "x.cache", corpus()), scratch / "my.index"
    for spoil in (
        lambda: None,
        lambda: write(path, corpus("corpus/other")),
        lambda: target.write_bytes(target.read_bytes()[:5000]),
        lambda: target.write_bytes(b""),
    ):
        spoil()
        with open_archive(path, index=target) as archive:
            assert archive.index_path == str(target)
            with open_archive(path, index=None) as plain:
                assert list(archive) == list(plain)
        assert check_index(path, target) == (str(target), None)
    assert sorted(os.listdir(scratch)) == ["my.index", "x.cache"]


def test_a_file_of_another_kind_is_never_replaced(scratch: Path) -> None:
    path = write(scratch / "x.cache", corpus())
    other = write(scratch / "y.cache", corpus())
    data = other.read_bytes()
    with pytest.raises(FormatError, match="not an index"):
        open_archive(path, index=other)
    with pytest.raises(FormatError, match="not an index"):
        write_index(path, other)
    assert other.read_bytes() == data
    with pytest.raises(OSError, match="directory"):
        write_index(path, scratch)


def test_what_cannot_have_an_index(scratch: Path) -> None:
    killed = write(scratch / "killed.cache", corpus(), table=False)
    folder = scratch / "folder"
    folder.mkdir()
    for path in (killed, folder, [killed, folder]):
        with pytest.raises(UnsupportedError, match="valid table"):
            write_index(path, scratch / "x.index")
    assert not (scratch / "x.index").exists()


def test_an_archive_that_changes_meanwhile_gets_no_index(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(scratch / "x.cache", corpus())
    monkeypatch.setattr(_index_files, "_wait_for_tick", lambda archive: os.utime(path, ns=(1, 1)))
    with pytest.raises(sprintcache.ArchiveChangedError):
        write_index(path)
    assert os.listdir(scratch) == ["x.cache"]


# ---- stale and foreign -----------------------------------------------------------------------


def renamed(data: bytes) -> bytes:
    """The same archive with other names, of equal length."""
    return data.replace(b"corpus/rec1", b"corpus/REC1")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path, data: path.write_bytes(data), "was changed at"),
        (lambda path, data: path.write_bytes(data + b"x"), "bytes, and had"),
        (lambda path, data: path.write_bytes(renamed(data)), "table of the archive is another"),
        (lambda path, data: path.write_bytes(data[:8] + b"\0" + data[9:]), "another one"),
        (lambda path, data: path.write_bytes(data[:-8] + bytes(8)), "another one"),
    ],
    ids=["time", "size", "names", "flag", "trailer"],
)
def test_a_stale_index_is_not_used(
    scratch: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path, bytes], object],
    problem: str,
) -> None:
    path = write(scratch / "x.cache", corpus())
    write_index(path)
    data, status = path.read_bytes(), path.stat()
    change(path, data)
    if problem != "was changed at":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with caplog.at_level(logging.WARNING, "sprintcache"), open_archive(path) as archive:
        assert archive.index_path is None
        with open_archive(path, index=None) as plain:
            assert list(archive) == list(plain)
    assert problem in caplog.text


@pytest.mark.parametrize("number", [0, 999])
def test_a_name_at_either_end_of_a_long_table(scratch: Path, number: int) -> None:
    """The identity of an archive has 4,096 bytes of the head and of the tail of its table."""
    path = write(scratch / "x.cache", [(f"name-{i:03}", b"") for i in range(1000)])
    write_index(path)
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"name-%03d" % number, b"NAME-%03d" % number))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with open_archive(path) as archive:
        assert archive.index_path is None
        assert f"NAME-{number:03}" in archive


def test_an_index_of_another_archive_is_not_used(scratch: Path) -> None:
    path, other = write(scratch / "x.cache", corpus()), write(scratch / "y.cache", corpus("c/"))
    os.rename(write_index(other), f"{path}.index")
    with open_archive(path) as archive:
        assert archive.index_path is None
        assert "corpus/rec1" in archive
    bundle = scratch / "x.bundle"
    bundle.write_text(f"{path}\n{other}\n")
    write_index(bundle)
    bundle.write_text(f"{other}\n{path}\n")
    with open_archive(bundle) as archive:
        assert archive.index_path is None
        assert next(iter(archive)) == "c/0.attribs"


def test_an_index_moves_with_its_archive(scratch: Path) -> None:
    path = write(scratch / "x.cache", corpus())
    write_index(path)
    (scratch / "moved").mkdir()
    for name in ("x.cache", "x.cache.index"):
        os.rename(scratch / name, scratch / "moved" / name)
    with open_archive(scratch / "moved" / "x.cache") as archive:
        assert archive.index_path == str(scratch / "moved" / "x.cache.index")
        assert archive.num_frames("corpus/rec2") == 7


# ---- damage ----------------------------------------------------------------------------------


class Specimen:
    """An archive with its index, and what it answers without one."""

    def __init__(self, folder: Path, io: str) -> None:
        self.io = io
        self.paths = [
            write(folder / "1.cache", corpus()),
            write(folder / "2.cache", [("corpus/rec3", features(4, 3)), ("late", b"1")]),
        ]
        self.target = folder / "x.index"
        self.data = Path(write_index(self.paths, self.target)).read_bytes()
        self.head = index_file.fields(self.data)
        with open_archive(self.paths, io, index=None) as archive:
            self.expected = answers(archive)

    def check(self, data: bytes, what: str) -> bool:
        """Asks all questions with these bytes as index; returns whether the index was used."""
        self.target.write_bytes(data)
        request = sprintcache.archive.OpenRequest(tuple(map(str, self.paths)), self.io, None, None)
        with sprintcache.opening.open_request(request, [str(self.target)]) as archive:
            for question, answer in answers(archive).items():
                if isinstance(answer, CorruptError) and answer.path == str(self.target):
                    assert "the index is damaged" in str(answer)
                    assert answer.offset is not None
                    assert 0 <= answer.offset < len(data)
                    continue
                assert same(answer, self.expected[question]), (what, question, answer)
            return archive.index_path is not None


@pytest.fixture(params=IOS)
def specimen(scratch: Path, quiet: None, request: pytest.FixtureRequest) -> Specimen:
    return Specimen(scratch, request.param)


def flips(specimen: Specimen) -> Iterator[int]:
    """Offsets: each byte of header and sources, some of every section, some anywhere."""
    head = specimen.head
    yield from range(index_file.HEADER.size)
    yield from range(index_file.BLOCK - 8, index_file.BLOCK)
    yield from range(head["sources"], head["sources"] + 2 * index_file.SOURCE.size)
    chance = random.Random(1)
    for section in (
        *("slots", "row_offsets", "source_numbers", "segments"),
        *("frames", "dims", "rows", "checksums"),
    ):
        size = min(index_file.BLOCK, len(specimen.data) - head[section])
        used = min(size, 16 * head["num_entries"])
        yield from (head[section] + chance.randrange(used) for _ in range(30))
    yield from (chance.randrange(len(specimen.data)) for _ in range(200))


def test_no_flipped_byte_gives_a_wrong_answer(specimen: Specimen) -> None:
    assert specimen.check(specimen.data, "whole")
    chance = random.Random(2)
    for offset in flips(specimen):
        damaged = bytearray(specimen.data)
        damaged[offset] ^= chance.choice([1, 0x80, 0xFF, chance.randrange(1, 256)])
        specimen.check(bytes(damaged), f"byte {offset}")


def test_no_other_length_gives_a_wrong_answer(specimen: Specimen) -> None:
    size = len(specimen.data)
    chance = random.Random(3)
    sizes = [0, 1, 7, 8, 143, 144, 4095, 4096, 4097, size - 8, size - 1, size // 4096 * 4096]
    for length in [*sizes, *(chance.randrange(size) for _ in range(40))]:
        assert not specimen.check(specimen.data[:length], f"{length} bytes")
    assert not specimen.check(specimen.data + b"\0", "longer")


def test_no_lost_or_exchanged_block_gives_a_wrong_answer(specimen: Specimen) -> None:
    """What a power failure and a confused disk leave."""
    blocks = [specimen.data[at : at + 4096] for at in range(0, len(specimen.data), 4096)]
    for number in range(len(blocks)):
        lost = [*blocks]
        lost[number] = bytes(len(blocks[number]))
        specimen.check(b"".join(lost), f"block {number}")
        swapped = [*blocks]
        swapped[number], swapped[number - 1] = swapped[number - 1], swapped[number]
        specimen.check(b"".join(swapped), f"blocks {number}")


def test_forged_numbers_do_not_crash(specimen: Specimen) -> None:
    """With right checksums a file may lie about names; it cannot lead out of bounds."""
    head, chance = specimen.head, random.Random(4)
    values = [0, 1, 2, 15, 4096, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1]

    def ask(data: bytes) -> None:
        specimen.target.write_bytes(data)
        request = sprintcache.archive.OpenRequest(
            tuple(map(str, specimen.paths)), specimen.io, None, None
        )
        with sprintcache.opening.open_request(request, [str(specimen.target)]) as archive:
            answers(archive)

    for at in range(8, index_file.HEADER.size, 4):
        for size in (4, 8):
            for value in values:
                changed = bytearray(specimen.data)
                changed[at : at + size] = struct.pack("<Q", value)[:size]
                ask(index_file.with_header_checksum(bytes(changed)))
    widths = {"slots": 8, "row_offsets": 8, "source_numbers": 4, "segments": 4, "sources": 8}
    for section, width in {**widths, "frames": 4, "dims": 4, "rows": 1}.items():
        for _ in range(25):
            count = 12 if section == "sources" else 14
            offset = head[section] + width * chance.randrange(count * (4 if width == 1 else 1))
            value = chance.choice([*values, chance.getrandbits(64)])

            def change(out: bytearray) -> None:
                packed = struct.pack("<Q", value)[:width]  # noqa: B023 called at once
                out[offset : offset + width] = packed  # noqa: B023

            ask(index_file.forged(specimen.data, change))

    def fill(out: bytearray) -> None:  # no empty slot ends a search
        for slot in range(head["num_slots"]):
            struct.pack_into("<Q", out, head["slots"] + 8 * slot, 0xFFFF_0000_0000_0001)

    ask(index_file.forged(specimen.data, fill))


# ---- processes and threads -------------------------------------------------------------------


def read_in_child(pickled: bytes, queue: Any) -> None:
    with pickle.loads(pickled) as archive:
        queue.put((archive.index_path, list(archive), archive.num_frames("corpus/rec2")))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_use_the_same_index(scratch: Path, method: str) -> None:
    path, target = write(scratch / "x.cache", corpus()), scratch / "elsewhere" / "my.index"
    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    with open_archive(path, index=target) as archive:
        child = context.Process(target=read_in_child, args=(pickle.dumps(archive), queue))
        child.start()
        assert queue.get(timeout=60) == (str(target), list(archive), 7)
        child.join(60)
    assert child.exitcode == 0


def test_an_unpickled_archive_needs_no_index_and_writes_none(scratch: Path) -> None:
    path, target = write(scratch / "x.cache", corpus()), scratch / "my.index"
    with open_archive(path, index=target) as archive:
        pickled = pickle.dumps(archive)
    os.unlink(target)
    with pickle.loads(pickled) as archive:
        assert archive.index_path is None
        assert archive.num_frames("corpus/rec2") == 7
    assert not target.exists()


def test_threads_share_an_index(scratch: Path) -> None:
    entries = [(f"segment-{n:05}", b"%d" % n) for n in range(3000)]
    path = write(scratch / "x.cache", entries)
    write_index(path)
    wrong: list[str] = []
    with open_archive(path) as archive:
        start = threading.Barrier(4)

        def look(seed: int) -> None:
            start.wait(60)
            for name, payload in random.Random(seed).sample(entries, 2000):
                if archive.read_bytes(name) != payload or name + "x" in archive:
                    wrong.append(name)

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not wrong


# ---- the command -----------------------------------------------------------------------------


def test_the_command_writes_and_checks(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(write(scratch / f"{n}.cache", corpus(f"corpus/{n}"))) for n in range(2)]

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["index", *arguments])
        return status, capsys.readouterr().err

    assert run("--check", *paths) == (
        1,
        "".join(f"sprintcache: {path}: there is no index\n" for path in paths),
    )
    status, text = run(*paths)
    assert status == 0
    assert text.splitlines()[1].startswith(f"sprintcache: {paths[1]}.index: 12 entries, ")
    assert run("--check", *paths)[0] == 0
    joined = str(scratch / "joined.index")
    assert run("--join", "--to", joined, *paths)[1].startswith(f"sprintcache: {joined}: 24 entries")
    assert run("--join", "--check", "--to", joined, *paths)[0] == 0
    assert run("--check", "--to", joined, paths[0])[0] == 1
    assert run("--to", joined, *paths)[0] == 2
    index = Path(f"{paths[0]}.index")
    data = bytearray(index.read_bytes())
    data[index_file.fields(bytes(data))["rows"] + 4000] ^= 1
    index.write_bytes(data)
    status, text = run("--check", *paths)
    assert status == 1
    assert "it is damaged: block at offset" in text.splitlines()[0]
    assert "in order" in text.splitlines()[1]


def test_an_index_that_lost_its_data_is_replaced(scratch: Path) -> None:
    """A power failure leaves zeros; another file of zeros is not taken for an index."""
    shutil.copy(DATA / "energy.cache", scratch / "x.cache")
    path = Path(sprintcache.write_index(scratch / "x.cache"))
    data = path.read_bytes()
    for zeros in (bytes(len(data)), bytes(100), b""):
        path.write_bytes(zeros)
        assert index_file.read(Path(sprintcache.write_index(scratch / "x.cache")).read_bytes())
    for name, content in (("x.raw", bytes(9000)), ("y.index", bytes(4000) + b"x" + bytes(5000))):
        (scratch / name).write_bytes(content)
        with pytest.raises(sprintcache.FormatError, match="not an index, and not replaced"):
            sprintcache.write_index(scratch / "x.cache", scratch / name)
        assert (scratch / name).read_bytes() == content


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("version", 2, "it has version 2, not 1"),
        ("block", 8192, "it has blocks of 8192 bytes, not 4096"),
        ("size", 4096, "it is damaged: 32824 bytes, not 4096"),
        ("slots", 8, "it is damaged: its sections do not fit"),
    ],
)
def test_the_reason_names_what_differs(field: str, value: int, reason: str, scratch: Path) -> None:
    shutil.copy(DATA / "energy.cache", scratch / "x.cache")
    path = Path(sprintcache.write_index(scratch / "x.cache"))
    data = bytearray(path.read_bytes())
    assert len(data) == 32824
    offset = {"version": 8, "block": 12, "size": 16, "slots": 56}[field]
    width = 4 if field in ("version", "block") else 8
    data[offset : offset + width] = value.to_bytes(width, "little")
    path.write_bytes(index_file.with_header_checksum(bytes(data)))
    assert str(check_index(scratch / "x.cache")[1]).endswith(reason)
