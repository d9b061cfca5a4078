"""Whole archives through the Python interface, against the reference decoder of the tests.

Every entry is read in every way, mapped and by pread; all entries as batches, with one thread and
with several, and in file order; and the archive is recovered and appended to.
"""

from __future__ import annotations

import logging
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sprintcache import (
    Archive,
    ArchiveWriter,
    FormatError,
    LabelError,
    SprintCacheError,
    open_archive,
    recover,
)
from tests.oracle import reference
from tests.oracle.compare import IOS, READINGS, Checker, Labeling, Refusal, label_readings

ALLOPHONES = ("sil{#+#}@i@f", "a{b+c}@i", "e{a+#}")
TYING = {"sil{#+#}@i@f.0": 0, "a{b+c}@i.2": 7, "a{b+c}@i.11": 2**31 - 1, "e{a+#}.1": 3}


class DisagreementError(Exception):
    """Two ways to read an archive differ, or one fails as it must not."""


class Archives:
    """Checks archives in a folder, which should be in memory."""

    def __init__(self, folder: Path) -> None:
        logging.disable(logging.CRITICAL)
        self._path = folder / "x.cache"
        self._copy = folder / "copy.cache"
        self._labeling = Labeling.write(folder, ALLOPHONES, TYING)
        readings = (*READINGS, *label_readings(self._labeling))
        self._checker = Checker(self._path, readings)
        self.count = 0

    def __call__(self, data: bytes) -> None:
        """Checks one archive.

        Raises:
            DisagreementError: if it is not read as the reference does.
        """
        self.count += 1
        self._checker.checked.clear()
        if has_undecided_entry(data):
            self._path.write_bytes(data)
            return
        for refusal in self._checker.check(data):
            if not is_justified(refusal):
                raise DisagreementError(refusal)
        choice = zlib.crc32(data)
        try:
            with open_archive(self._path, IOS[choice % 2]) as archive:
                self._check_many(archive)
        except FormatError:
            return
        if choice % 8 == 0:
            self._check_writing(data)

    def _check_many(self, archive: Archive) -> None:
        """Batches and passes are as single reads."""
        names = list(archive.segments)
        ours = self._labeling.ours
        features = {name: outcome(archive.read_features, name) for name in names}
        labels = {name: outcome(archive.read_labels, name, ours) for name in names}
        sound = [name for name in names if isinstance(features[name], np.ndarray)]
        width = max((features[name].shape[1] for name in sound), default=0)
        sound = [name for name in sound if features[name].shape[1] in (width, 0)]
        for num_threads in (1, 3):
            batch, lengths = archive.read_features_batch(sound, num_threads=num_threads)
            for row, length, name in zip(batch, lengths, sound, strict=True):
                expect("batch", row[:length].tobytes(), features[name].tobytes())
                expect("padding", bool(row[length:].any()), False)
            tagged = [name for name in names if isinstance(labels[name], np.ndarray)]
            batch, lengths = archive.read_labels_batch(
                tagged, ours, pad=-7, num_threads=num_threads
            )
            for row, length, name in zip(batch, lengths, tagged, strict=True):
                expect("labels", row[:length].tobytes(), labels[name].tobytes())
                expect("padding", bool((row[length:] != -7).any()), False)
        if len(sound) == len(names) and len({f.shape[1] for f in features.values()}) < 2:
            for name, array in archive.iter_features():
                expect("pass", array.tobytes(), features.pop(name).tobytes())
            expect("names of a pass", len(features), 0)

    def _check_writing(self, data: bytes) -> None:
        """What a scan or the table finds survives recovery, and more can be added then."""
        self._copy.write_bytes(data)
        before = {}
        with open_archive(self._copy, "pread") as archive:
            for name in archive:
                before[name] = outcome(archive.read_bytes, name)
        try:
            recover(self._copy)
            with ArchiveWriter(self._copy, "a") as writer:
                writer.add_bytes("added/1", b"x" * 40, replace=True)
        except SprintCacheError:
            return
        with open_archive(self._copy, "pread") as archive:
            for name, payload in before.items():
                if isinstance(payload, bytes) and name != "added/1":
                    expect(f"{name!r} after recovery", outcome(archive.read_bytes, name), payload)
            expect("the new entry", archive.read_bytes("added/1"), b"x" * 40)


def outcome(read: Any, *arguments: Any) -> Any:
    """The result of a call, or the class of its error."""
    try:
        return read(*arguments)
    except (FormatError, LabelError) as error:
        return type(error)


def expect(what: str, ours: object, expected: object) -> None:
    """Raises a DisagreementError unless both are equal."""
    if ours != expected:
        raise DisagreementError(f"{what}: {ours!r}, not {expected!r}")


def is_justified(refusal: Refusal) -> bool:
    """Whether ours may refuse what the reference reads: damage and limits that only we know."""
    reason = refusal.error.reason
    return (
        reason.startswith("damaged gzip header")
        or "twice in the alphabet" in reason
        or "contradicts the allophone file" in reason
        or "nested deeper than 16" in reason
    )


def has_undecided_entry(data: bytes) -> bool:
    """Whether zlib refuses an entry's deflate data, of which libdeflate reads some more, or vectors
    differ in size, of which `num_frames` counts by the first of a block."""
    try:
        rows = reference.rows(data)
    except reference.RefError:
        return False
    for row in rows:
        if not row.name:
            return True
        try:
            payload = reference.payload(data, row)
        except reference.RefError as error:
            if str(error).startswith("deflate"):
                return True
            continue
        try:
            blocks = reference.blocks(payload)
        except (reference.RefError, RecursionError):
            continue
        sizes = set()
        for block in blocks:
            if block.datatype.startswith("vector-"):
                sizes |= {len(packet) for packet in block.packets if isinstance(packet, list)}
        if len(sizes) > 1:
            return True
    return False


def memory_folder() -> Path:
    """Where files are kept in memory."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")


__all__ = ["Archives", "DisagreementError", "memory_folder"]
