"""The commands that write archives: files, messages, exit status."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import ArchiveWriter, open_archive
from sprintcache import _files as files
from sprintcache.cli import _task, main
from tests.oracle import builder, reference
from tests.paths import DATA, full_data
from tests.sprintcache.test_cli import Run, run, written
from tests.sprintcache.test_reference import real_file

__all__ = ["run"]  # the fixture

PARTS = [DATA / f"features.part{number}.cache" for number in (1, 2, 3)]
ONE = builder.features([[1, 2], [3, 4]])
TWO = builder.features([[5, 6]])
MANAGING = ["add", "copy", "combine", "remove", "repack", "recover", "bundle"]
COMMAND = [sys.executable, "-m", "sprintcache"]


def contents(path: Path) -> dict[str, bytes]:
    """By the slow decoder."""
    data = path.read_bytes()
    return {
        row.name.decode("utf-8", "surrogateescape"): reference.payload(data, row)
        for row in reference.rows(data)
    }


def sources() -> list[Path]:
    """Real archives of every kind."""
    full = full_data()
    folder = DATA if full is None else full / "archives"
    return sorted(path for path in folder.glob("*.cache") if "killed" not in path.name)


# ---- what extract writes, add reads ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "npz"])
@pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)
def test_extract_and_add_lose_nothing(run: Run, tmp_path: Path, source: Path, kind: str) -> None:
    folder, path = tmp_path / "files", tmp_path / "x.cache"
    before = contents(source)
    if kind == "npz" and "samples" in source.name:  # packets of different size are not one array
        assert run("extract", source, "--to", folder, "--format", kind)[0] == 1
        return
    if kind == "npz":  # attributes go with their segment only, and that of the holes was removed
        before = {n: data for n, data in before.items() if n.removesuffix(".attribs") in before}
    assert run("extract", source, "--to", folder, "--format", kind)[0] == 0
    assert run("add", path, folder, "--format", kind)[0] == 0
    after = contents(path)
    assert after == before
    order = list(after)
    for at, name in enumerate(order):
        if f"{name}.attribs" in after:
            assert order[at - 1] == f"{name}.attribs"


NUMBERS = ["features.part1", "alignment.viterbi", "alignment.bw.gz", "alignment.linear", "energy"]


@pytest.mark.parametrize("name", NUMBERS)
def test_extract_and_add_keep_the_numbers(run: Run, tmp_path: Path, name: str) -> None:
    source = DATA / f"{name}.cache"
    run("extract", source, "--to", tmp_path / "files", "--format", "npy")
    assert run("add", tmp_path / "x.cache", tmp_path / "files", "--format", "npy")[0] == 0
    with open_archive(source) as before, open_archive(tmp_path / "x.cache") as after:
        assert set(after) == set(before.segments)
        for segment in before.segments:
            assert after.datatype(segment) == before.datatype(segment)
            if "alignment" in name:
                ours, theirs = after.read_alignment(segment), before.read_alignment(segment)
                assert np.array_equal(ours.time, theirs.time)
                assert np.array_equal(ours.emission, theirs.emission)
                assert np.array_equal(ours.weight, theirs.weight)
            else:
                ours, theirs = after.read_features(segment), before.read_features(segment)
                assert np.array_equal(ours, theirs)
                differences = np.abs(after.read_times(segment) - before.read_times(segment))[:-1]
                assert differences.max() <= 0.51e-9  # the last frame ends with the recording


# ---- add -------------------------------------------------------------------------------------


def test_add_names_entries_as_the_archiver_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder" / "c").mkdir(parents=True)
    for name in ("folder/c/2", "folder/c/1", "folder/c/1.attribs", "alone", "listed"):
        (tmp_path / name).write_bytes(name.encode())
    lines = f"# names\nd/e {tmp_path / 'listed'}\n{tmp_path / 'alone'}\n"
    (tmp_path / "list").write_text(lines)
    path = tmp_path / "x.cache"
    status, out, err = run("add", path, tmp_path / "folder", "--list", tmp_path / "list")
    assert (status, out, err) == (0, "", f"sprintcache: 5 entries added to {path}\n")
    actual = {name: f"folder/{name}" for name in ("c/1.attribs", "c/1", "c/2")}
    actual.update({"d/e": "listed", "alone": "alone"})
    assert {name: data.decode() for name, data in contents(path).items()} == actual
    assert list(contents(path)) == list(actual)
    before = path.read_bytes()
    status, _, err = run("add", path, tmp_path / "folder", path)
    assert (status, path.read_bytes()) == (0, before)
    assert err.startswith(f"sprintcache: {path} is not added to itself\n")
    run("add", path, tmp_path / "alone", "--prefix", "p/", "--compress")
    with open_archive(path) as archive:
        assert archive.read_bytes("p/alone") == b"alone"
        assert archive.entry("p/alone").compressed_size > 0


def test_add_features(run: Run, tmp_path: Path) -> None:
    rows = np.array([[1, 2], [3, 4.5]])
    folder = tmp_path / "f"
    folder.mkdir()
    np.save(folder / "double.npy", rows)
    np.save(folder / "float.npy", rows.astype(np.float32))
    np.save(folder / "scalar.npy", rows[:, 0].astype(np.float32))
    (folder / "notes.md").write_text("no features")
    path = tmp_path / "x.cache"
    shift = ["--frame-shift", "0.02", "--frame-length", "0.03"]
    status, _, err = run(
        "add", path, folder, "--format=npy", *shift, "--attribute", "datatype=vector-f32"
    )
    assert status == 0
    first, second = err.splitlines()
    assert first == "sprintcache: 1 file that does not end in .npy was ignored"
    assert second.endswith(f"3 entries added to {path}")
    options: Any = {"shift": 0.02, "length": 0.03}
    expected = {
        "double": builder.features(rows, datatype="vector-f64", **options),
        "float": builder.features(rows, **options),
        "scalar": builder.features(rows[:, :1], datatype="f32", **options),
    }
    attribs = builder.attribs({"datatype": "vector-f32"})
    expected.update({f"{name}.attribs": attribs for name in list(expected)})
    assert contents(path) == expected
    # arrays of other origin
    np.savez(tmp_path / "own.npz", data=rows.astype(np.float32), times=[[0, 1], [1, 2]])
    np.savez(tmp_path / "ids.npz", emission=[5, 5, 6], label_type="emission")
    run("add", path, tmp_path / "own.npz", tmp_path / "ids.npz", "--format", "npz")
    with open_archive(path) as archive:
        assert archive.read_times("own").tolist() == [[0, 1], [1, 2]]
        assert archive.read_labels("ids", None).tolist() == [5, 5, 6]


WRONG = {
    "text.npy": (b"no array", "npy", "this cannot be read as npy: "),
    "cut.npz": (b"PK\3\4", "npz", "this cannot be read as npz: "),
    "cube.npy": (np.zeros((2, 2, 2)), "npy", "features must be (T, D) or (T,)"),
    "object.npy": (np.array([{}]), "npy", "allow_pickle"),
    "fields.npy": (np.zeros(1, [("x", "f4")]), "npy", "an entry has the arrays data and times"),
    "other.npz": ({"x": [1]}, "npz", "emission, time and weight, not x"),
    "blocks.npz": (
        {"data": np.ones((3, 1)), "times": np.ones((3, 2)), "datatype": "vector-f64",
         "blocks": [4, -1]},
        "npz", "3 frames, but blocks of [4, -1]",
    ),
    "short.npz": ({"emission": [1, 2], "time": [0]}, "npz", "must be vectors of one length"),
    "pairs.npz": ({"data": [1.0], "attributes": "[1]"}, "npz", "not a JSON object of strings: [1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_malformed_files_are_left_out(run: Run, tmp_path: Path, name: str) -> None:
    data, kind, message = WRONG[name]
    file = tmp_path / name
    if isinstance(data, bytes):
        file.write_bytes(data)
    elif isinstance(data, dict):
        np.savez(file, **data)
    else:
        np.save(file, data)
    path, good = tmp_path / "x.cache", tmp_path / "good"
    status, out, err = run("add", path, file, "--format", kind)
    assert (status, out) == (1, "")
    first, second = err.splitlines()
    assert first.startswith(f"sprintcache: {file}: ")
    assert message in first
    assert second.endswith(f"0 entries added to {path}, 1 left out")
    # the others go in
    good.write_bytes(b"good")
    assert run("add", path, tmp_path / "absent", good)[0] == 1
    assert contents(path) == {"good": b"good"}


@pytest.mark.parametrize("policy", ["check", "keep", "replace"])
def test_add_existing_names(run: Run, tmp_path: Path, policy: str) -> None:
    path = Path(written(tmp_path / "x.cache", [("same", b"1"), ("other", b"2")]))
    before = path.read_bytes()
    for folder, other in (("a", "3"), ("b", "4")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_text("1")
        (tmp_path / folder / "other").write_text(other)
        (tmp_path / folder / "new").write_text(folder)
    folders = tmp_path / "a", tmp_path / "b"
    run("add", path, *folders, "--duplicates", policy, "--dry-run")
    assert path.read_bytes() == before
    status, _, err = run("add", path, *folders, "--duplicates", policy)
    if policy == "check":
        assert status == 1
        assert f"{tmp_path / 'a' / 'other'} differs from 'other' in {path}, which is kept" in err
        assert f"{tmp_path / 'b' / 'new'} differs from 'new' in {tmp_path / 'a' / 'new'}" in err
        assert "1 entry added to" in err
        assert "5 kept, 3 of these different" in err
    else:
        assert status == 0
    replaced = policy == "replace"
    assert contents(path) == {
        "same": b"1",
        "other": b"4" if replaced else b"2",
        "new": b"b" if replaced else b"a",
    }


# ---- copy and combine ------------------------------------------------------------------------


def test_copy_includes_attributes_in_the_order_of_the_list(run: Run, tmp_path: Path) -> None:
    names = ["espeak/rec004/1", "espeak/rec003/1", "espeak/rec011/1"]
    (tmp_path / "list").write_text("".join(f"{name}\n" for name in names))
    path = tmp_path / "x.cache"
    options = ["--list", tmp_path / "list", "--to", path]
    assert run("copy", DATA / "features.bundle", *options) == (
        0,
        "",
        f"sprintcache: 6 entries written to {path}\n",
    )
    expected = [name for segment in names for name in (f"{segment}.attribs", segment)]
    there = {name: data for part in PARTS for name, data in contents(part).items()}
    assert list(contents(path).items()) == [(name, there[name]) for name in expected]
    status, out, err = run("copy", DATA / "features.bundle", "*/rec01*", "rec3", "--to", path)
    assert (status, out) == (1, "")
    assert "no entry matches 'rec3'" in err


def test_combine(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    assert run("combine", *PARTS[:2], "--to", path)[0] == 0
    status, out, err = run("combine", PARTS[2], "--to", path)
    assert (status, out) == (1, "")
    text = f"sprintcache: {path} already exists; --overwrite replaces it, --append adds to it\n"
    assert err == text
    status, out, _ = run("combine", *PARTS[1:], "--to", path, "--append", "--dry-run")
    assert status == 0
    added = [line.split()[1] for line in out.splitlines() if line.startswith("add ")]
    with open_archive(PARTS[2]) as part:
        assert added == list(part.segments)
    assert sum(line.startswith("keep ") for line in out.splitlines()) == 8
    assert run("combine", *PARTS[1:], "--to", path, "--append") == (
        0,
        "",
        f"sprintcache: 16 entries written to {path}, 16 kept\n",
    )
    parts = {name: data for part in PARTS for name, data in contents(part).items()}
    assert list(contents(path).items()) == list(parts.items())
    run("combine", PARTS[2], "--to", path, "--overwrite")
    assert contents(path) == contents(PARTS[2])


def test_combine_reports_what_differs(run: Run, tmp_path: Path) -> None:
    a = written(tmp_path / "a.cache", [("c/1", ONE), ("c/2", ONE)])
    b = written(tmp_path / "b.cache", [("c/1", ONE), ("c/2", TWO), ("c/3", TWO)], compress=True)
    path = tmp_path / "x.cache"
    status, out, err = run("combine", a, b, "--to", path)
    assert (status, out) == (1, "")
    assert err == (
        "sprintcache: 'c/2' differs from the existing entry, which is kept\n"
        f"sprintcache: 3 entries written to {path}, 2 kept\n"
    )
    assert contents(path) == {"c/1": ONE, "c/2": ONE, "c/3": TWO}
    (tmp_path / "list").write_text("c/2\n")
    options = ["--list", tmp_path / "list", "--append", "--to", path, "--duplicates"]
    assert run("combine", b, *options, "keep")[0] == 0
    assert contents(path)["c/2"] == ONE
    status, _, err = run("combine", b, *options, "replace")
    assert status == 0
    assert err.endswith("1 entry written to " + str(path) + ", 1 of these replaced others\n")
    assert contents(path)["c/2"] == TWO


def test_damaged_entries(run: Run, tmp_path: Path) -> None:
    path = Path(written(tmp_path / "a.cache", [("c/1", ONE), ("c/2", ONE)]))
    data = bytearray(path.read_bytes())
    data[data.index(b"c/2") + 1] = 0
    path.write_bytes(data)
    out = tmp_path / "x.cache"
    status, _, err = run("combine", path, "--to", out)
    assert status == 1
    assert err.startswith(f"sprintcache: {path}, entry 'c/2', offset ")
    assert err.count("\n") == 1
    assert not out.exists()
    status, _, err = run("combine", path, "--to", out, "--skip-damaged")
    assert status == 1
    assert err.endswith(f"1 entry written to {out}, 1 damaged and left out\n")
    assert contents(out) == {"c/1": ONE}


# ---- remove, repack --------------------------------------------------------------------------


def test_remove_as_the_archiver(run: Run, tmp_path: Path) -> None:
    whole, holes = (real_file("archives", f"features.{kind}cache") for kind in ("", "holes."))
    path = tmp_path / "x.cache"
    shutil.copyfile(whole, path)
    gone = [name for name in contents(whole) if name not in contents(holes)]
    status, out, _ = run("remove", path, *gone, "--keep-attributes", "--dry-run")
    assert (status, out.split()) == (0, gone)
    assert path.read_bytes() == whole.read_bytes()
    assert run("remove", path, *gone, "--keep-attributes") == (
        0,
        "",
        f"sprintcache: {len(gone)} entries removed from {path}\n",
    )
    assert path.read_bytes() == holes.read_bytes()


def test_remove_includes_attributes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    shutil.copyfile(PARTS[0], path)
    before = contents(path)
    (tmp_path / "list").write_text("espeak/rec003/1\n")
    assert run("remove", path, "*rec000/1", "--list", tmp_path / "list")[0] == 0
    gone = ("espeak/rec000/1", "espeak/rec003/1")
    assert contents(path) == {
        name: data for name, data in before.items() if not name.startswith(gone)
    }
    now = path.read_bytes()
    status, _, err = run("remove", path, "espeak/rec006/1", "rec9")
    assert status == 1
    assert "no entry matches 'rec9'" in err
    assert path.read_bytes() == now


def test_repack(run: Run, tmp_path: Path) -> None:
    path, other = tmp_path / "x.cache", tmp_path / "y.cache"
    path.write_bytes(builder.archive([("b", ONE), ("c", TWO), ("a", b"")], holes=[0, 2]))
    before = contents(path)
    assert run("repack", path, "--dry-run")[0] == 0
    assert run("repack", path, "--compress", "--to", other)[0] == 0
    assert other.read_bytes() == builder.archive(list(before.items()), compress=True)
    assert run("repack", other, "--decompress", "--sort")[0] == 0
    assert other.read_bytes() == builder.archive(sorted(before.items()))
    (tmp_path / "list").write_text("c\n")
    status, _, err = run("repack", path, "--order", tmp_path / "list", "--to", other)
    assert (status, err) == (1, f"sprintcache: {other} already exists; --overwrite replaces it\n")
    assert run("repack", path, "--order", tmp_path / "list", "--to", other, "--overwrite")[0] == 0
    assert list(contents(other)) == ["c", "b", "a"]
    path.chmod(0o640)
    assert run("repack", path)[0] == 0
    assert path.read_bytes() == builder.archive(list(before.items()))
    assert path.stat().st_mode & 0o777 == 0o640


# ---- recover, bundle -------------------------------------------------------------------------


def test_recover(run: Run, tmp_path: Path) -> None:
    killed = DATA / "features.killed.cache"
    path, whole = tmp_path / "x.cache", tmp_path / "whole.cache"
    shutil.copyfile(killed, path)
    assert run("recover", path, "--dry-run")[0] == 1
    assert path.read_bytes() == killed.read_bytes()
    assert run("recover", path, "--to", whole)[0] == 1
    status, out, err = run("recover", path)
    assert (status, out) == (1, "")
    assert err.startswith(f"sprintcache: {path}: 19 entries, 36425 bytes in 1 range belong to no")
    assert run("recover", path) == (
        0, "", f"sprintcache: {path}: 19 entries, the table was sound\n",
    )  # fmt: skip
    assert contents(path) == contents(whole)
    assert run("verify", path)[0] == 0
    # one that cannot be mended does not end the work on the others
    unfinished = tmp_path / "y.cache"
    with open(f"{unfinished}.partial", "wb") as file:
        file.write(builder.archive([("a", ONE)], table=False))
    (tmp_path / "text").write_text("no archive")
    status, _, err = run("recover", tmp_path / "absent", tmp_path / "text", unfinished)
    assert status == 1
    first, second, third = err.splitlines()
    assert first == f"sprintcache: {tmp_path / 'absent'}: No such file or directory"
    assert second.startswith(f"sprintcache: {tmp_path / 'text'}, offset 0: ")
    assert third == f"sprintcache: {unfinished}: 1 entry"
    assert contents(unfinished) == {"a": ONE}


def test_bundles(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [part.name for part in PARTS]
    for part in PARTS:
        shutil.copyfile(part, part.name)
    status, _, err = run("bundle", *names, "--to", "x.bundle")
    text = "x.bundle lists 3 archives with 48 names"
    assert (status, err) == (0, f"sprintcache: {text}\n")
    assert Path("x.bundle").read_text() == "".join(f"{tmp_path / name}\n" for name in names)
    status, _, err = run("bundle", names[0], "--to", "x.bundle")
    assert (status, err) == (1, "sprintcache: x.bundle already exists; --overwrite replaces it\n")
    Path("sub").mkdir()
    assert run("bundle", *names, "--to", "sub/y.bundle", "--relative")[0] == 0
    assert Path("sub/y.bundle").read_text() == "".join(f"../{name}\n" for name in names)
    status, out, err = run("bundle", "--check", "x.bundle", "sub/y.bundle")
    assert (status, out) == (0, "")
    assert "3 relative paths" in err.splitlines()[1]
    # the bundle that Sprint's index was made for
    Path("x.bundle").write_text("".join(f"{name}\n" for name in names))
    shutil.copyfile(DATA / "features.bundle.idx.gz", "x.bundle.idx.gz")
    assert run("bundle", "--check", "x.bundle")[0] == 0
    run("remove", names[1], "*rec001*")
    status, out, _ = run("bundle", "--check", "x.bundle")
    assert status == 1
    assert "the bundle's index is stale" in out
    run("bundle", *names, "--to", "x.bundle", "--overwrite")
    assert not Path("x.bundle.idx.gz").exists()
    assert run("bundle", "--check", "x.bundle")[0] == 0


def test_invalid_bundles(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.bundle"
    status, out, err = run("bundle", PARTS[0], tmp_path / "absent", "--to", path)
    assert (status, out) == (1, f"{tmp_path / 'absent'}: No such file or directory\n")
    assert err == f"sprintcache: {path} was not written\n"
    (tmp_path / "a b").mkdir()
    shutil.copyfile(PARTS[0], tmp_path / "a b" / "c.cache")
    status, _, err = run("bundle", tmp_path / "a b" / "c.cache", "--to", path)
    assert (status, "a bundle cannot list a path with blanks" in err) == (1, True)
    status, _, err = run("bundle", PARTS[0], "--to", tmp_path / "x")
    assert (status, "must end in .bundle" in err) == (1, True)
    assert [actual.name for actual in tmp_path.iterdir()] == ["a b"]
    path.write_text(f"absent.cache {DATA / 'features.killed.cache'}\n")
    status, out, _ = run("bundle", "--check", path)
    assert (status, out.count("\n")) == (1, 1)
    assert "'absent.cache' is missing" in out
    killed = DATA / "features.killed.cache"
    path.write_text(f"{PARTS[0]} {killed} {PARTS[0]}\n")
    status, out, err = run("bundle", "--check", path)
    assert (status, out.count("\n")) == (1, 2)
    assert f"{killed}: scanned" in out
    assert f"it lists {PARTS[0]} 2 times" in out
    assert "of them in several, where the last counts: 2 problems" in err


# ---- Ctrl-C ----------------------------------------------------------------------------------


@pytest.fixture
def interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs a command that gets a Ctrl-C when it has dealt with that many entries."""

    def call(count: int, *argv: object) -> tuple[int, str, str]:
        class Watched(_task.Progress):
            def __call__(self, done: int, total: int) -> None:
                if done >= count and total:
                    signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(_task, "Progress", Watched)
        monkeypatch.setattr("sprintcache._write.entry_copier._BUFFER", 100)
        before = signal.getsignal(signal.SIGINT)
        result = run(*argv)
        assert signal.getsignal(signal.SIGINT) is before
        return result

    return call


Interrupted = Callable[..., tuple[int, str, str]]


def test_ctrl_c_leaves_existing_files(interrupted: Interrupted, tmp_path: Path) -> None:
    path, new = tmp_path / "x.cache", tmp_path / "new.cache"
    shutil.copyfile(PARTS[0], path)
    before = path.read_bytes()
    for argv in (
        ["combine", PARTS[1], "--to", path, "--overwrite"],
        ["copy", PARTS[1], "*rec*", "--to", path, "--overwrite"],
        ["repack", path, "--sort"],
        ["repack", PARTS[1], "--compress", "--to", path, "--overwrite"],
    ):
        assert interrupted(3, *argv) == (
            130, "", f"sprintcache: interrupted: {path} is unchanged\n",
        )  # fmt: skip
        assert path.read_bytes() == before
    for argv in (
        ["combine", *PARTS, "--to", new],
        ["repack", path, "--to", new],
        ["add", new, DATA],
        ["add", new, DATA, "--dry-run"],
    ):
        count = 0 if "--dry-run" in argv else 3
        assert interrupted(count, *argv) == (
            130, "", f"sprintcache: interrupted: {new} was not created\n",
        )  # fmt: skip
    assert os.listdir(tmp_path) == ["x.cache"]


def test_ctrl_c_while_an_archive_is_changed(interrupted: Interrupted, tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    shutil.copyfile(PARTS[0], path)
    before, more = contents(path), contents(PARTS[1])
    text = f"sprintcache: interrupted: {path} is intact, with the first 3 of 16 entries\n"
    assert interrupted(3, "combine", PARTS[1], "--append", "--to", path) == (130, "", text)
    assert contents(path) == {**before, **dict(list(more.items())[:3])}
    text = f"sprintcache: interrupted: {path} is intact, without the first 5 of 19 entries\n"
    assert interrupted(5, "remove", path, "*") == (130, "", text)
    assert len(contents(path)) == 14
    status, _, err = interrupted(2, "extract", path, "--to", tmp_path / "out")
    assert (status, err) == (130, "sprintcache: interrupted: 2 files were written\n")
    assert sum(actual.is_file() for actual in (tmp_path / "out").rglob("*")) == 2


def test_ctrl_c_in_the_middle_of_an_entry(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the entry to be whole."""
    monkeypatch.setattr("sprintcache._write.entry_copier._BUFFER", 100)
    written_so_far = []

    def write_all(fd: int, parts: Any, offset: int) -> None:
        files.write_all(fd, parts, offset)
        if offset > 8:  # not the header
            written_so_far.append(offset)
            if len(written_so_far) == 2:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("sprintcache._write.write_buffer.write_all", write_all)
    path = Path(written(tmp_path / "x.cache", [("old", ONE)]))
    status, _, err = run("combine", PARTS[0], "--append", "--to", path)
    assert status == 130
    assert err.endswith(f"{path} is intact, with the first 1 of 16 entries\n")
    assert list(contents(path).items())[1:] == list(contents(PARTS[0]).items())[:1]


def test_ctrl_c_as_a_process(tmp_path: Path) -> None:
    """The second one ends what does not come back: here, reading from a pipe, as of ``<(...)``."""
    path = Path(written(tmp_path / "x.cache", [("old", ONE)]))
    (tmp_path / "a").write_bytes(b"added")
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "add", path, tmp_path / "a", f"/dev/fd/{read_end}"],
        stderr=subprocess.PIPE,
        pass_fds=[read_end],
    )
    try:
        deadline = time.monotonic() + 60
        while path.read_bytes()[8] and time.monotonic() < deadline:  # until it has begun to write
            time.sleep(0.01)
        for _ in range(6):
            # repeatedly: one just before a read is lost; rarely: one at the exit kills Python
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=10)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.communicate()
        os.close(read_end)
        os.close(write_end)
    assert process.returncode == 130
    text = f"sprintcache: interrupted: {path} is intact, with the first 1 of 2 entries\n"
    assert err.decode() == text
    assert contents(path) == {"old": ONE, "a": b"added"}


def test_an_ignored_ctrl_c(interrupted: Interrupted, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert interrupted(1, "combine", *PARTS, "--to", tmp_path / "x.cache")[0] == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_folder_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    text = f"sprintcache: {tmp_path / 'absent'}: No such file or directory\n"
    for command in ("copy", "combine"):
        assert run(command, PARTS[0], "--to", tmp_path / "absent" / "x") == (1, "", text)


# ---- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", MANAGING)
def test_help(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "")
    assert f"example:\n  sprintcache {command}" in out
    assert max(len(line) for line in out.splitlines()) < 80


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["add", "x"], "nothing to add: PATH or --list is required"),
        (["add", "x", "y", "--frame-shift", "-1"], "argument --frame-shift: '-1' is not a time"),
        (["add", "x", "y", "--attribute", "a"], "argument --attribute: 'a' is not NAME=VALUE"),
        (["copy", "x"], "the following arguments are required: --to"),
        (["combine", "--to", "x"], "the following arguments are required: ARCHIVE"),
        (["combine", "x", "--to", "y", "--append", "--overwrite"], "argument --overwrite: not all"),
        (["combine", "x", "--to", "y", "--duplicates", "no"], "argument --duplicates: invalid cho"),
        (["remove", str(PARTS[0])], "nothing to remove: GLOB or --list is required"),
        (["repack", "x", "--overwrite"], "--overwrite is for --to"),
        (["repack", "x", "--sort", "--order", "y"], "argument --order: not allowed with"),
        (["recover", "x", "y", "--to", "z"], "--to is for one ARCHIVE"),
        (["bundle", "x"], "one of the arguments --to --check is required"),
        (["bundle", "--check", "x", "--relative"], "--relative and --overwrite are for --to"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Run, argv: list[str], message: str) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"sprintcache: {message}")
    assert err.count("\n") == 1
    assert f"(see sprintcache {argv[0]} --help)" in err


@pytest.mark.parametrize(
    "argv",
    [
        ["add", "garbage", str(PARTS[0])],
        ["add", "x.bundle", "garbage"],
        ["add", "x.cache", "garbage", "--format", "npy"],
        ["add", ".", "garbage"],
        ["copy", "absent", "--to", "x.cache"],
        ["combine", "garbage", "--to", "x.cache"],
        ["combine", str(PARTS[0]), "--to", "absent/x.cache"],
        ["combine", str(PARTS[0]), "--to", "garbage", "--append"],
        ["combine", str(PARTS[0]), "--to", "x.cache", "--list", "garbage"],
        ["remove", "absent", "x"],
        ["remove", str(DATA / "features.bundle"), "*"],
        ["repack", str(DATA / "features.bundle")],
        ["repack", str(PARTS[0]), "--order", "garbage", "--to", "x.cache"],
        ["recover", "garbage"],
        ["recover", "garbage", "--dry-run"],
    ],
)
def test_errors_are_one_line_and_status_1(
    run: Run, argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("garbage").write_bytes(b"this is something else")
    status, out, err = run(*argv)
    assert (status, out) == (1, "")
    assert err.startswith("sprintcache: ")
    assert err.count("\n") == 1
    assert os.listdir() == ["garbage"]
    assert Path("garbage").read_bytes() == b"this is something else"


@pytest.mark.parametrize(
    "argv",
    [("copy", PARTS[0]), ("bundle", PARTS[0]), ("convert", PARTS[0])],
    ids=lambda argv: argv[0],
)
def test_a_device_or_pipe_is_not_replaced(run: Run, tmp_path: Path, argv: tuple[str, Path]) -> None:
    suffix = {"copy": ".cache", "bundle": ".bundle", "convert": ".npz"}[argv[0]]
    pipe_path = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe_path)
    status, out, err = run(*argv, "--to", pipe_path, "--overwrite")
    assert (status, out) == (1, "")
    assert f"{pipe_path}: not a regular file" in err
    if argv[0] == "copy":  # and never waited for
        for others in (["copy", PARTS[0], "--append", "--to"], ["recover"]):
            assert "not a regular file" in run(*others, pipe_path)[2]
    assert pipe_path.is_fifo()
    assert os.listdir(tmp_path) == [pipe_path.name]


def test_extract_leaves_out_names_that_no_file_can_have(run: Run, tmp_path: Path) -> None:
    path, folder = tmp_path / "x.cache", tmp_path / "files"
    with ArchiveWriter(path) as writer:
        for name in ("a", "a/b", "x" * 300, "last"):
            writer.add_bytes(name, b"text")
    status, _, err = run("extract", path, "--to", folder)
    assert status == 1
    assert err.count("is not written") == 2
    assert f"2 entries written to {folder}; 2 left out" in err
    assert sorted(os.listdir(folder)) == ["a", "last"]
    assert run("extract", path, "last", "--to", folder / "a")[0] == 1


def test_a_missing_silence_phoneme(run: Run) -> None:
    tying = DATA / "state-tying" / "monophone"
    names = ["--allophones", DATA / "allophones", "--state-tying", tying, "--silence", "sil"]
    status, out, err = run("info", DATA / "alignment.viterbi.cache", *names)
    assert (status, out) == (1, "")
    assert f"{DATA / 'allophones'}: the silence phoneme is missing: expected sil{{#+#}}@i@f" in err


def test_a_locked_archive(run: Run, tmp_path: Path) -> None:
    path = Path(written(tmp_path / "x.cache", [("a", ONE)]))
    with ArchiveWriter(path, "a"):
        status, _, err = run("remove", path, "a")
    assert status == 1
    assert err == f"sprintcache: {path}: another writer has it open\n"


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """From the file system to the archive and back, also where the locale is plain C."""
    name = "ség".encode() + b"\xff"
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"data")
    environment = {**os.environ, "LC_ALL": "C"}
    path = tmp_path / "x.cache"
    for argv in (
        ["add", path, tmp_path / "in"],
        ["add", path, tmp_path / "in", b"--prefix=" + name],
        ["extract", path, "--to", tmp_path / "out"],
        ["remove", path, name],
    ):
        subprocess.run([*COMMAND, *argv], check=True, env=environment, stderr=subprocess.DEVNULL)
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted([name, name + name])
    assert [row.name for row in reference.rows(path.read_bytes())] == [name + name]


def test_help_says_what_the_exit_status_means(run: Run) -> None:
    _, out, _ = run("--help")
    assert "exit status: 0 for success; 1 for errors and problems" in " ".join(out.split())
    assert "130 after Ctrl-C" in out
    assert main(["--version"]) == 0


# ---- new names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["espeak/=dev/"], "dev/rec000/1"),
        (["s/espeak/dev/"], "dev/rec000/1"),
        (["s|^.*/(rec\\d+)/|\\1-|"], "rec000-1"),
        (["s/0/x/g", "espeak/=a/"], "a/recxxx/1"),
        (["none/=dev/"], "espeak/rec000/1"),
    ],
)
def test_rename(run: Run, tmp_path: Path, rules: list[str], expected: str) -> None:
    words = [f"--rename={rule}" for rule in rules]
    path, name = tmp_path / "a.cache", "espeak/rec000/1"
    before = contents(PARTS[0])
    assert run("copy", PARTS[0], name, "--to", path, *words)[0] == 0
    assert contents(path) == {
        f"{expected}.attribs": before[f"{name}.attribs"], expected: before[name],
    }  # fmt: skip
    assert run("convert", PARTS[0], "--select", name, "--to", tmp_path / "a.npz", *words)[0] == 0
    with np.load(tmp_path / "a.npz") as file:
        assert set(file.files) == {expected, f"{expected}.times"}
    path.unlink()
    assert run("combine", PARTS[0], "--to", path, "--prefix", "p/", "--compress", *words)[0] == 0
    with open_archive(path) as archive:
        assert archive.read_bytes(f"p/{expected}") == before[name]
        assert len(archive) == len(before)


def test_two_segments_of_one_new_name(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    for duplicates in ("check", "keep", "replace"):
        words = ["--rename", "s/rec.../rec/", "--duplicates", duplicates]
        status, out, err = run("copy", PARTS[0], "--to", path, *words)
        assert (status, out) == (1, "")
        assert "'espeak/rec000/1' and 'espeak/rec003/1' of one archive would both be named" in err
        assert not path.exists()
    status, _, err = run("convert", PARTS[0], "--to", tmp_path / "a.npz", *words[:2])
    assert (status, "another segment is already renamed to 'espeak/rec/1'" in err) == (1, True)
    for rule in ("x", "s/(/x/", "s/a/\\1/", "=b"):
        assert run("copy", PARTS[0], "--to", path, "--rename", rule)[0] == 2
    assert run("copy", PARTS[0], "--to", path, "--rename", "s/.*//")[0] == 1


def test_renamed_segments_of_several_archives(run: Run, tmp_path: Path) -> None:
    """The first is kept, compared with the second under its own name."""
    first = written(tmp_path / "1.cache", [("a/x", ONE), ("a/y", ONE)])
    second = written(tmp_path / "2.cache", [("b/x", ONE), ("b/y", TWO)])
    words = ["--to", tmp_path / "3.cache", "--rename", "s/^.//"]
    status, _, err = run("combine", first, second, *words)
    assert status == 1
    assert "'/y' differs from the existing entry" in err
    assert contents(tmp_path / "3.cache") == {"/x": ONE, "/y": ONE}
    status, _, _ = run("combine", first, second, *words, "--overwrite", "--duplicates=replace")
    assert contents(tmp_path / "3.cache") == {"/x": ONE, "/y": TWO}


def test_combine_reports_attributes_that_only_one_has(run: Run, tmp_path: Path) -> None:
    first = written(tmp_path / "1.cache", [("c/1", ONE)])
    second = written(tmp_path / "2.cache", [("c/1.attribs", b"x"), ("c/1", ONE)])
    for paths in ((first, second), (second, first)):
        status, _, err = run("combine", *paths, "--to", tmp_path / "3.cache", "--overwrite")
        assert status == 1
        assert "'c/1' differs from the existing entry" in err
