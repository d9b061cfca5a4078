"""What a disk has after a power loss: recorded calls, applied only as far as they were synced."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

CREATE, WRITE, TRUNCATE, SYNC, LINK, RENAME, UNLINK, MODE, SYNC_FOLDER = range(9)
_HEAD = struct.Struct("<6q")


@dataclass(frozen=True)
class Call:
    """A call that changes a file, as write_faults.c records it."""

    kind: int
    inode: int
    offset: int
    path: Path
    other: Path
    data: bytes
    end: int  # of its record in the log


def read_log(path: Path) -> list[Call]:
    """The calls of a log."""
    log = path.read_bytes()
    calls = []
    at = 0
    while at < len(log):
        kind, inode, offset, size, other_size, data_size = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        text = log[at : at + size].decode()
        other = log[at + size : at + size + other_size].decode()
        at += size + other_size
        data = log[at : at + data_size] if kind == WRITE else b""
        at += len(data)
        calls.append(Call(kind, inode, offset, Path(text), Path(other), data, at))
    return calls


@dataclass
class Disk:
    """A folder in memory: files by inode, their names, and what is not on the disk yet."""

    files: dict[int, bytearray] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    pending: dict[int, list[Call]] = field(default_factory=dict)
    pending_names: list[Call] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """A folder of which everything is on the disk."""
        disk = cls()
        for path in folder.iterdir():
            inode = path.stat().st_ino
            disk.files[inode] = bytearray(path.read_bytes())
            disk.names[path.name] = inode
        return disk

    def happens(self, call: Call) -> None:
        """A call of the process: its effect waits until it is synced."""
        if call.kind in (WRITE, TRUNCATE):
            self.pending.setdefault(call.inode, []).append(call)
        elif call.kind in (CREATE, LINK, RENAME, UNLINK):
            self.pending_names.append(call)
        elif call.kind == SYNC:
            for waiting in self.pending.pop(call.inode, []):
                self._change(waiting)
        elif call.kind == SYNC_FOLDER:
            for waiting in self.pending_names:
                self._rename(waiting)
            self.pending_names = []

    def _change(self, call: Call) -> None:
        content = self.files.setdefault(call.inode, bytearray())
        size = call.offset + len(call.data)
        if call.kind == TRUNCATE:
            del content[call.offset :]
        content.extend(bytes(max(0, size - len(content))))
        if call.kind == WRITE:
            content[call.offset : size] = call.data

    def _without_data(self, call: Call) -> Call:
        """The write of the same size that leaves what the file had, and zeros after it."""
        content = self.files.get(call.inode, b"")
        old = bytes(content[call.offset : call.offset + len(call.data)])
        return replace(call, data=old.ljust(len(call.data), b"\0"))

    def _rename(self, call: Call) -> None:
        if call.kind in (LINK, RENAME):
            self.names[call.other.name] = call.inode
        else:
            self.names.pop(call.path.name, None)
        if call.kind == CREATE:
            self.names[call.path.name] = call.inode
        if call.kind == RENAME:
            self.names.pop(call.path.name, None)

    def _copy(self) -> Disk:
        files = {inode: bytearray(content) for inode, content in self.files.items()}
        pending = {inode: list(calls) for inode, calls in self.pending.items()}
        return Disk(files, dict(self.names), pending, list(self.pending_names))

    def after_power_loss(self, generator: random.Random) -> Iterator[tuple[str, Disk]]:
        """What may be left: nothing that was not synced, names, data, zeros for data, or a part."""
        yield "nothing unsynced", self._copy()
        names = self._copy()
        for call in names.pending_names:
            names._rename(call)
        yield "names only", names
        data = self._copy()
        for calls in data.pending.values():
            for call in calls:
                data._change(call)
        yield "data only", data
        zeros = names._copy()  # sizes reach the disk, the blocks do not
        for calls in zeros.pending.values():
            for call in calls:
                zeros._change(call if call.kind == TRUNCATE else zeros._without_data(call))
        yield "zeros", zeros
        part = self._copy()  # names change in their order, data in any
        for call in part.pending_names[: generator.randint(0, len(part.pending_names))]:
            part._rename(call)
        for calls in part.pending.values():
            for call in calls:
                if generator.random() < 0.5:
                    part._change(call)
        yield "a part", part

    def write(self, folder: Path) -> None:
        """Writes the files that have a name."""
        for name, inode in self.names.items():
            (folder / name).write_bytes(self.files.get(inode, b""))
