"""Commands that are killed and made to fail, with what may be there afterwards.

This module is imported by the process that is killed as well (runner.py).
"""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sprintcache import ArchiveWriter, recover, write_index
from sprintcache.cli import main
from tests.oracle import builder, index_file, reference
from tests.paths import DATA

Contents = dict[str, bytes]
Step = Callable[[ArchiveWriter], None]

ENTRIES = [(name, b"payload of " + name.encode()) for name in ("a", "bb", "ccc", "dddd")]
LONG = b"a new payload that is long enough to run over the old table, which it does here" * 2
FRAMES = np.arange(12, dtype=np.float32).reshape(4, 3)
ALIGN = DATA / "aligner"


class CommandError(Exception):
    """A command of the shell failed; its message went to stderr."""


def command(*arguments: str | Path) -> None:
    """Runs the sprintcache command in this process."""
    status = main([str(argument) for argument in arguments])
    if status != 0:
        raise CommandError(f"exit status {status}")


@dataclass(frozen=True)
class Scenario:
    """A command that writes `target`, which is complete or as before whenever it dies.

    Attributes:
        target: the name of the file.
        prepare: makes the files of a folder that the command needs.
        run: the command, in that folder; it is given a function to report a finished step with.
        steps: for a writer that changes the target in place, or leaves a part of it: the contents
            after each step, the first before all.
        synced: the steps after which all is on the disk.
        retry: what to run after a kill to get the target; None: `run`.
        extra: the module that it needs.
        shows_damage: whether the target is not synced, since its checksums show what a power loss
            damaged.
    """

    target: str
    prepare: Callable[[Path], None]
    run: Callable[[Path, Callable[[], None]], None]
    steps: tuple[Contents, ...] = ()
    synced: tuple[int, ...] = ()
    retry: Callable[[Path], None] | None = None
    extra: str | None = None
    shows_damage: bool = False

    @property
    def in_place(self) -> bool:
        """Whether the target itself is changed."""
        return bool(self.steps) and bool(self.steps[0])


# ---- writers


def writer(mode: str, *changes: tuple[Step | None, Contents | None]) -> Scenario:
    """A writer that makes changes, each with the contents after it; None flushes."""

    def prepare(folder: Path) -> None:
        if mode != "x":
            (folder / "x.cache").write_bytes(builder.archive(ENTRIES))

    def run(folder: Path, finished: Callable[[], None]) -> None:
        with ArchiveWriter(folder / "x.cache", mode, keep_partial=True) as archive:
            for change, _ in changes:
                if change is None:
                    archive.flush()
                else:
                    change(archive)
                finished()

    states: list[Contents] = [dict(ENTRIES) if mode == "a" else {}]
    synced = [0] if mode == "a" else []
    for change, after in changes:
        states.append(states[-1] if after is None else after)
        if change is None:
            synced.append(len(states) - 1)
    return Scenario("x.cache", prepare, run, tuple(states), tuple(synced))


def adding(name: str, data: bytes, replace: bool = False) -> Step:
    """A step that adds bytes."""
    return lambda archive: archive.add_bytes(name, data, replace=replace)


def feature_bytes() -> bytes:
    """FRAMES as the writer stores them: start times are products."""
    times = [(i * 0.01, i * 0.01 + 0.025) for i in range(len(FRAMES))]
    rows = zip(FRAMES.tolist(), times, strict=True)
    return builder.block("vector-f32", [builder.vector_f32(row, *when) for row, when in rows])


def new_archive() -> Scenario:
    """Bytes, text with attributes, features that are buffered, a flush between them."""
    features = feature_bytes()
    first = {"a": b"first"}
    second = {**first, "f": features}
    third = {**second, "b.attribs": builder.attribs({"k": "v"}), "b": b"second" * 40}
    return writer(
        "x",
        (adding("a", b"first"), first),
        (lambda archive: archive.add_features("f", FRAMES), second),
        (None, None),
        (lambda archive: archive.add_bytes("b", b"second" * 40, {"k": "v"}, True), third),
        (adding("c", LONG), {**third, "c": LONG}),
    )


def appending() -> Scenario:
    """Over the old table, a flush, more."""
    first = {**dict(ENTRIES), "new": LONG}
    second = {**first, "other": b"x" * 300}
    return writer(
        "a",
        (adding("new", LONG), first),
        (None, None),
        (adding("other", b"x" * 300), second),
    )


def replacing() -> Scenario:
    """In place, elsewhere, and the last entry."""
    first = {**dict(ENTRIES), "bb": b"PAYLOAD OF BB"}
    second = {**first, "a": b"longer than it was"}
    third = {**second, "dddd": b"x"}
    return writer(
        "a",
        (adding("bb", b"PAYLOAD OF BB", True), first),
        (adding("a", b"longer than it was", True), second),
        (None, None),
        (adding("dddd", b"x", True), third),
    )


def removing() -> Scenario:
    """A hole, an entry into it, and the last entry."""
    first = {name: data for name, data in ENTRIES if name != "bb"}
    second = {**first, "xx": b"payload of xx"}
    third = {name: data for name, data in second.items() if name != "dddd"}
    return writer(
        "a",
        (lambda archive: archive.remove("bb"), first),
        (adding("xx", b"payload of xx"), second),
        (None, None),
        (lambda archive: archive.remove("dddd"), third),
    )


# ---- commands


def copies(*names: str | Path) -> Callable[[Path], None]:
    """Copies files of tests/data into the folder."""

    def prepare(folder: Path) -> None:
        for name in names:
            shutil.copy(DATA / name, folder / Path(name).name)

    return prepare


def shell(
    target: str, prepare: Callable[[Path], None], *arguments: str, extra: str | None = None
) -> Scenario:
    """A command that writes a new file, or replaces one."""

    def run(folder: Path, finished: Callable[[], None]) -> None:
        command(*arguments)

    return Scenario(target, prepare, run, extra=extra)


def two_archives(folder: Path) -> None:
    """Two archives, one with a hole, and one in their place."""
    (folder / "1.cache").write_bytes(builder.archive(ENTRIES[:2], holes=[1]))
    more = [(f"n{i}", zlib.compress(bytes([i]) * 9) * 30) for i in range(5)]
    (folder / "2.cache").write_bytes(builder.archive([*ENTRIES[2:], *more], compress=True))
    (folder / "out.cache").write_bytes(builder.archive([("old", b"old")]))


def unfinished(name: str) -> Callable[[Path], None]:
    """An archive that a killed writer left."""

    def prepare(folder: Path) -> None:
        (folder / name).write_bytes(builder.archive(ENTRIES, table=False))

    return prepare


def small_npz(folder: Path) -> None:
    """Labels and features as NumPy arrays."""
    np.savez(folder / "in.npz", **{"s/1": FRAMES, "s/2": FRAMES[:2]})


def recovering(name: str, *arguments: str) -> Scenario:
    """Recovers an unfinished archive in place: its entries are there at any time."""

    def run(folder: Path, finished: Callable[[], None]) -> None:
        command("recover", *arguments)

    target = name.removesuffix(".partial")
    states = (dict(ENTRIES), dict(ENTRIES))
    return Scenario(target, unfinished(name), run, states, (0, 1))


def combined_in_place() -> Scenario:
    """combine --append: an archive that grows."""
    old = {"old": b"old"}
    whole = {**old, **dict(ENTRIES[:2])}

    def run(folder: Path, finished: Callable[[], None]) -> None:
        command("combine", "1.cache", "--to", "out.cache", "--append")

    return Scenario("out.cache", two_archives, run, (old, whole), (0,))


def indexing(prepare: Callable[[Path], None]) -> Scenario:
    """Writes the index of an archive."""

    def run(folder: Path, finished: Callable[[], None]) -> None:
        command("index", "x.cache", "--threads=1")

    return Scenario("x.cache.index", prepare, run, shows_damage=True)


def one_archive(folder: Path) -> None:
    """Features and other entries, more than one block of an index holds."""
    entries = [(f"segment/{i:04}", feature_bytes() if i % 3 else b"") for i in range(300)]
    (folder / "x.cache").write_bytes(builder.archive([*ENTRIES, *entries]))


def archive_with_old_index(folder: Path) -> None:
    """An archive that was replaced after its index was written."""
    (folder / "x.cache").write_bytes(builder.archive(ENTRIES))
    write_index(folder / "x.cache")
    one_archive(folder)


ALIGN_ARGUMENTS = (
    "align",
    str(ALIGN / "posteriors" / "mini.mono3.1x.mid.cache"),
    f"--config={ALIGN / 'configs' / 'mini-plain.config'}",
    f"--base={ALIGN}",
    "--threads=1",
    "--select=mini/rec002/1",
)

SCENARIOS: dict[str, Scenario] = {
    "new": new_archive(),
    "append": appending(),
    "replace": replacing(),
    "remove": removing(),
    "recover": recovering("x.cache", "x.cache"),
    "recover a partial file": recovering("x.cache.partial", "x.cache"),
    "recover a copy": shell(
        "y.cache", unfinished("x.cache"), "recover", "x.cache", "--to", "y.cache"
    ),
    "combine": shell(
        "new.cache", two_archives, "combine", "1.cache", "2.cache", "--to", "new.cache"
    ),
    "combine over": shell(
        "out.cache",
        two_archives,
        "combine",
        "1.cache",
        "2.cache",
        "--to",
        "out.cache",
        "--overwrite",
    ),
    "combine into": combined_in_place(),
    "repack": shell("2.cache", two_archives, "repack", "2.cache", "--decompress", "--sort"),
    "convert to npz": shell(
        "out.npz", copies("energy.cache"), "convert", "energy.cache", "--to", "out.npz"
    ),
    "convert to hdf": shell(
        "out.hdf",
        copies("energy.cache"),
        "convert",
        "energy.cache",
        "--to",
        "out.hdf",
        extra="h5py",
    ),
    "convert to ark": shell(
        "out.ark",
        copies("energy.cache"),
        "convert",
        "energy.cache",
        "--to",
        "out.ark",
        extra="kaldi_native_io",
    ),
    "convert to ctm": shell(
        "out.ctm",
        copies("alignment.viterbi.cache"),
        "convert",
        "alignment.viterbi.cache",
        "--to",
        "out.ctm",
        f"--allophones={DATA / 'allophones'}",
        "--tier=phones",
    ),
    "convert from npz": shell("out.cache", small_npz, "convert", "in.npz", "--to", "out.cache"),
    "index": indexing(one_archive),
    "index over": indexing(archive_with_old_index),
    "align": shell("out.cache", copies(), *ALIGN_ARGUMENTS, "--to", "out.cache"),
    "align with words": shell(
        "out.ctm", copies(), *ALIGN_ARGUMENTS, "--to", "out.cache", "--ctm", "out.ctm"
    ),
}


# ---- what is in a file


def contents(path: Path) -> Contents:
    """The entries of an archive with a valid table, by the reference; without damaged ones."""
    data = path.read_bytes()
    actual = {}
    for row in reference.read_table(data):
        with suppress(reference.RefError):
            actual[row.name.decode("utf-8", "surrogateescape")] = reference.payload(data, row)
    return actual


def digest(path: Path) -> object:
    """What a file says, whatever the times and paddings in it."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays}
    if path.suffix == ".index":  # without the times and the inodes of the archive
        try:
            return index_file.read(path.read_bytes())[:4]
        except (AssertionError, IndexError, struct.error):
            return "damaged"
    if path.suffix == ".hdf":
        import h5py

        with h5py.File(path) as file:
            actual: dict[str, bytes] = {}
            file.visititems(
                lambda name, node: (
                    actual.__setitem__(name, node[()].tobytes())
                    if isinstance(node, h5py.Dataset) and node.dtype.kind != "O"
                    else None
                )
            )
            return actual
    return path.read_bytes()


def check_steps(
    path: Path, states: Sequence[Contents], done: int, last: int, torn: bool = False
) -> str | None:
    """What is wrong with an archive after a death between the steps `done` and `last`, or None.

    What all states from `done` to `last` have is there; nothing is there that was in no state. With
    `torn`, entries that were not synced may have lost bytes.
    """
    actual = contents(path)
    ever: dict[str, set[bytes]] = {}
    for state in states[: last + 1]:
        for name, data in state.items():
            ever.setdefault(name, set()).add(data)
    for name, data in actual.items():
        if data not in ever.get(name, ()) and not (torn and name not in states[done]):
            return f"{name!r} was never {data[:40]!r}"
    near = states[done : last + 1]
    for name in near[0]:
        if all(name in state for state in near) and actual.get(name) not in [
            state[name] for state in near
        ]:
            return f"{name!r} is lost or old: {actual.get(name, b'')[:40]!r}"
    return None


def recovered(path: Path) -> None:
    """Recovers an archive where there is anything to recover."""
    if path.exists() or Path(f"{path}.partial").exists():
        recover(path)
