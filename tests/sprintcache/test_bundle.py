"""Bundles: which archives they list, in which order entries come, who wins."""

from __future__ import annotations

import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import FormatError, ScanReport, open_archive
from sprintcache import _bundle as bundle
from tests.oracle import builder
from tests.oracle.compare import IOS

io_modes = pytest.mark.parametrize("io", IOS)


def write(path: Path, *entries: tuple[str, bytes], **options: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.archive(entries, **options))
    return path


def write_bundle(path: Path, *members: object, between: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(between.join(map(str, members)))
    return path


# ---- which entries ---------------------------------------------------------------------------

MEMBERS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "c.attribs", "d/e"]), max_size=5), max_size=5
)


@io_modes
@settings(max_examples=100)
@given(members=MEMBERS)
def test_each_name_once_at_its_first_position_with_the_data_of_the_last_archive(
    scratch: Path, members: list[list[str]], io: str
) -> None:
    """Inside an archive the first duplicate wins, across archives the last archive."""
    paths = []
    expected: dict[str, tuple[str, bytes]] = {}
    for number, names in enumerate(members):
        entries = [(name, f"{name} {number} {at}".encode()) for at, name in enumerate(names)]
        paths.append(write(scratch / f"{number}.cache", *entries))
        for name, payload in dict(reversed(entries)).items():
            expected[name] = (str(paths[-1]), payload)
    order = list(dict.fromkeys(name for names in members for name in names))
    with open_archive(write_bundle(scratch / "x.bundle", *paths), io) as archive:
        assert list(archive) == order
        assert len(archive) == len(order)
        assert archive.segments[:] == [name for name in order if name != "c.attribs"]
        assert archive.source_paths == tuple(map(str, paths))
        for name in order:
            path, payload = expected[name]
            assert name in archive
            assert (name in archive.segments) == (name != "c.attribs")
            assert archive.entry(name).archive_path == path
            assert archive.read_bytes(name) == payload
        for absent in ("absent", "a.attribs", 3, None):
            assert absent not in archive.segments
        if paths:
            assert archive.io == io


def test_the_order_of_a_pass_is_that_of_the_files(scratch: Path) -> None:
    """Each member once from front to back, whatever the order of its table."""
    first = write(scratch / "1", ("a", builder.features([[1]])), ("b", builder.features([[2]])))
    data = write(
        scratch / "2", ("c", builder.features([[3]])), ("d", builder.features([[4]]))
    ).read_bytes()
    table = int.from_bytes(data[-8:], "little")
    row = len(builder.file_row("c", 9, builder.entry("c", b"")))
    rows = data[table + 4 : table + 4 + 2 * row]
    (scratch / "2").write_bytes(
        data[: table + 4] + rows[row:] + rows[:row] + data[table + 4 + 2 * row :]
    )
    with open_archive(write_bundle(scratch / "x.bundle", "2", first)) as archive:
        assert list(archive) == ["d", "c", "a", "b"]
        passed = [(name, features.tolist()) for name, features in archive.iter_features()]
    assert passed == [("c", [[3]]), ("d", [[4]]), ("a", [[1]]), ("b", [[2]])]


# ---- which archives --------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["\n", " ", "\t", "\r\n", "\n\n  \n", " \v\f "])
def test_paths_are_split_at_whitespace(scratch: Path, between: str) -> None:
    write(scratch / "a", ("in a", b"")), write(scratch / "b", ("in b", b""))
    path = write_bundle(scratch / "x.bundle", "", "a", "b", "", between=between)
    with open_archive(path) as archive:
        assert list(archive) == ["in a", "in b"]


def test_relative_paths_are_looked_up_in_the_folder_of_the_bundle_then_in_the_working_directory(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(scratch / "folder" / "both", ("folder", b""))
    write(scratch / "here" / "both", ("not this", b""))
    write(scratch / "here" / "sub" / "only", ("here", b""))
    write(scratch / "above", ("above", b""))
    monkeypatch.chdir(scratch / "here")
    write_bundle(scratch / "folder" / "x.bundle", "both", "sub/only", "../above", scratch / "above")
    for path in (scratch / "folder" / "x.bundle", "../folder/x.bundle"):
        with open_archive(path) as archive:
            assert list(archive) == ["folder", "here", "above"]
            assert archive.path == os.path.abspath(path)
            monkeypatch.chdir("/")  # paths were resolved when it was opened
            assert [archive.read_bytes(name) for name in archive] == [b""] * 3
            archive.check_unchanged()
            monkeypatch.chdir(scratch / "here")


def test_a_missing_member_is_named_with_both_paths(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    write(scratch / "a", ("a", b""))
    path = write_bundle(scratch / "x.bundle", "a", "sub/absent")
    with pytest.raises(FileNotFoundError) as caught:
        open_archive(path)
    for part in (str(path), "'sub/absent'", str(scratch / "sub/absent"), "/sub/absent"):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError):
        open_archive(scratch / "absent.bundle")


def test_a_member_that_is_no_archive_is_named(scratch: Path) -> None:
    (scratch / "text").write_text("no archive at all")
    path = write_bundle(scratch / "x.bundle", "text")
    with pytest.raises(FormatError) as caught:
        open_archive(path)
    assert caught.value.path == str(scratch / "text")


def test_members_of_every_kind(scratch: Path) -> None:
    """Archives, directories, bundles, empty ones of each, one that has to be scanned."""
    write(scratch / "plain", ("a", b"1"), ("b", b"1"))
    write(scratch / "empty")
    write(scratch / "killed", ("c", b"1"), table=False)
    (scratch / "folder" / "sub").mkdir(parents=True)
    (scratch / "folder" / "b").write_bytes(b"2")
    (scratch / "folder" / "sub" / "d").write_bytes(b"2")
    (scratch / "no files").mkdir()
    (scratch / "nothing").mkdir()
    write_bundle(scratch / "inner.bundle", "empty", "folder", "empty.bundle", "nothing")
    write_bundle(scratch / "empty.bundle")
    write_bundle(scratch / "x.bundle", "plain", "inner.bundle", "killed", "plain")
    with open_archive(scratch / "x.bundle") as archive:
        assert {name: archive.read_bytes(name) for name in archive} == {
            "a": b"1",
            "b": b"1",  # of `plain`, which comes once more at the end
            "sub/d": b"2",
            "c": b"1",
        }
        report = archive.scan_report
        assert isinstance(report, ScanReport)
        assert (report.path, report.num_entries) == (str(scratch / "killed"), 1)
        assert archive.entry("sub/d").archive_path == str(scratch / "folder")


def test_several_scanned_members_have_a_report_each(scratch: Path) -> None:
    for name in ("1", "2", "3"):
        write(scratch / name, (name, b""), table=name == "2")
    with open_archive(write_bundle(scratch / "x.bundle", "1", "2", "3")) as archive:
        assert isinstance(archive.scan_report, tuple)
        paths = [report.path for report in archive.scan_report]
        assert paths == [str(scratch / "1"), str(scratch / "3")]
        assert [report is None for report in archive.scan_reports] == [False, True, False]


@pytest.mark.parametrize(
    "lines", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "sub/../c c", "c": "a"}]
)
def test_bundles_that_contain_each_other(scratch: Path, lines: dict[str, str]) -> None:
    (scratch / "sub").mkdir()
    for name, listed in lines.items():
        members = [f"{member}.bundle" for member in listed.split()]
        write_bundle(scratch / f"{name}.bundle", *members)
    with pytest.raises(FormatError, match="contains itself"):
        open_archive(scratch / "a.bundle")


def test_a_bundle_may_come_twice_if_not_in_itself(scratch: Path) -> None:
    write(scratch / "a", ("a", b"1"))
    write_bundle(scratch / "i.bundle", "a")
    write_bundle(scratch / "x.bundle", "i.bundle", "i.bundle")
    with open_archive(scratch / "x.bundle") as archive:
        assert list(archive) == ["a"]


def test_bundles_without_end_are_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long chain; and bundles that list the next one twice, so that members double."""
    assert bundle._MAX_MEMBERS == 1 << 16
    monkeypatch.setattr(bundle, "_MAX_MEMBERS", 1 << 10)  # 64 times as many take 10 s to read
    write(scratch / "a", ("a", b""))
    for kind, times, levels in (("chain", 1, 2000), ("double", 2, 40)):
        for level in range(levels):
            write_bundle(scratch / f"{kind}{level}.bundle", *[f"{kind}{level + 1}.bundle"] * times)
        write_bundle(scratch / f"{kind}{levels}.bundle", "a")
        with pytest.raises(FormatError) as caught:
            open_archive(scratch / f"{kind}0.bundle")
        assert caught.value.path is not None


def test_a_small_bundle_needs_little_memory(scratch: Path) -> None:
    """What it might hold at most is not allocated before it is known what it holds."""
    write(scratch / "a", ("a", b""))
    path = write_bundle(scratch / "x.bundle", "a")
    tracemalloc.start()
    try:
        open_archive(path).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_more_members_than_files_kept_open(scratch: Path) -> None:
    """With pread, the later ones are opened again for each read, and held to what they were."""
    for number in range(600):
        write(scratch / f"{number}", (f"n{number}", builder.features([[number]])))
    path = write_bundle(scratch / "x.bundle", *range(600))
    names = [f"n{number}" for number in range(600)]
    with open_archive(path, "pread") as archive:
        assert len(os.listdir("/proc/self/fd")) < 600
        batch, _ = archive.read_features_batch(names, num_threads=2)
        assert np.array_equal(batch[:, 0, 0], np.arange(600))
        assert [features.tolist() for _, features in archive.iter_features()] == [
            [[number]] for number in range(600)
        ]


# ---- Sprint's index --------------------------------------------------------------------------

INDEX = "2\na\nb\n3\nshared 1\nin_a 0\nin_b 1\n"
STALE = {
    "sound": (INDEX, None),
    "other members": (INDEX.replace("\nb\n", "\nc\n"), "other archives"),
    "fewer members": ("1\na\n2\nshared 0\nin_a 0\n", "other archives"),
    "a name is missing": ("2\na\nb\n2\nshared 1\nin_a 0\n", "stale"),
    "another name": (INDEX.replace("in_a", "gone"), "stale"),
    "a wrong count": (INDEX.replace("3", "4"), "stale"),
    "another member": (INDEX.replace("shared 1", "shared 0"), "looks for 'shared' in a"),
    "no such member": (INDEX.replace("shared 1", "shared 2"), "damaged"),
    "no number": (INDEX.replace("2", "two"), "damaged"),
    "nothing": ("", "damaged"),
}


@pytest.mark.parametrize("kind", STALE)
def test_the_index_is_never_written_and_never_trusted(scratch: Path, kind: str) -> None:
    content, problem = STALE[kind]
    write(scratch / "a", ("in_a", b"1"), ("shared", b"1"))
    write(scratch / "b", ("in_b", b"2"), ("shared", b"2"))
    path = write_bundle(scratch / "x.bundle", "a", "b")
    index = scratch / "x.bundle.idx.gz"
    index.write_bytes(gzip.compress(content.encode()))
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in scratch.iterdir()}
    with open_archive(path) as archive:
        assert {name: archive.read_bytes(name) for name in archive} == {
            "in_a": b"1",
            "shared": b"2",
            "in_b": b"2",
        }
        places = {name: archive.entry(name).archive_path for name in archive}
        actual = bundle.index_problem(str(path), set(archive), places)
    assert actual is None if problem is None else problem in (actual or "")
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in scratch.iterdir()}
    assert after == before
    index.unlink()
    with open_archive(path):
        assert bundle.index_problem(str(path), set()) is None
    assert not index.exists()


# ---- files that are none ---------------------------------------------------------------------


def test_what_is_no_list_of_paths(scratch: Path) -> None:
    (scratch / "x.bundle").write_bytes(builder.archive([("a", b"")]))
    with pytest.raises(FormatError, match="not a bundle") as caught:
        open_archive(scratch / "x.bundle")
    assert caught.value.path == str(scratch / "x.bundle")
    (scratch / "y.bundle").mkdir()
    with pytest.raises((FormatError, OSError), match=r"y\.bundle"):
        open_archive(scratch / "y.bundle")


def finishes(work: Callable[[], object]) -> bool:
    """Runs it in a thread that is abandoned if it waits forever."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


@pytest.mark.parametrize("kind", ["archive", "bundle", "member", "directory"])
def test_a_pipe_is_not_waited_for(scratch: Path, kind: str) -> None:
    outcome: list[object] = []
    (scratch / "folder").mkdir()
    pipe = {"bundle": "x.bundle", "directory": "folder/a"}.get(kind, "pipe")
    os.mkfifo(scratch / pipe)
    path = {"archive": "pipe", "directory": "folder"}.get(kind, "x.bundle")
    if kind == "member":
        write_bundle(scratch / "x.bundle", "pipe")

    def open_it() -> None:
        try:
            with open_archive(scratch / path) as archive:
                outcome.extend(archive)
        except (FormatError, OSError) as error:
            outcome.append(error)

    assert finishes(open_it)
    assert all(isinstance(error, FormatError | OSError) for error in outcome)
    assert bool(outcome) == (kind != "directory")  # there it is no regular file, so no entry


@pytest.mark.parametrize(("io", "path"), list(product(["", "read", None], ["x.bundle", "a"])))
def test_other_words_for_io(scratch: Path, io: str, path: str) -> None:
    write(scratch / "a", ("a", b""))
    write_bundle(scratch / "x.bundle", "a")
    with pytest.raises((ValueError, TypeError)):
        open_archive(scratch / path, io)
