"""Read and write the cache archives of Sprint (RASR): features, alignments and their labels.

>>> import sprintcache
>>> with sprintcache.open_archive("features.bundle") as archive:  # doctest: +SKIP
...     features = archive.read_features(archive.segments[0])

Public names are loaded when they are first used; importing the package alone needs neither numpy
nor the compiled module, since Sprint's own interpreter imports parts of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._write.combine import CombineReport, combine, repack
    from ._write.recover import RecoveryReport, recover
    from ._write.writer import ArchiveWriter
    from .alignment import Alignment
    from .allophones import AllophoneLabeling
    from .archive import Archive
    from .dataset import SprintCacheDataset
    from .entries import Block, EntryInfo, ScanReport, SkippedRange
    from .errors import (
        AmbiguousSegmentationError,
        ArchiveChangedError,
        AutomatonError,
        ClosedArchiveError,
        ConfigurationError,
        CorruptError,
        EntryNotFoundError,
        FormatError,
        LabelError,
        LoaderError,
        SegmentationError,
        SprintCacheError,
        TruncatedError,
        UnsupportedError,
    )
    from .opening import open_archive, write_index
    from .verification import Problem, VerifyReport, verify

__all__ = [
    "Alignment",
    "AllophoneLabeling",
    "AmbiguousSegmentationError",
    "Archive",
    "ArchiveChangedError",
    "ArchiveWriter",
    "AutomatonError",
    "Block",
    "ClosedArchiveError",
    "CombineReport",
    "ConfigurationError",
    "CorruptError",
    "EntryInfo",
    "EntryNotFoundError",
    "FormatError",
    "LabelError",
    "LoaderError",
    "Problem",
    "RecoveryReport",
    "ScanReport",
    "SegmentationError",
    "SkippedRange",
    "SprintCacheDataset",
    "SprintCacheError",
    "TruncatedError",
    "UnsupportedError",
    "VerifyReport",
    "combine",
    "open_archive",
    "recover",
    "repack",
    "verify",
    "write_index",
]

__version__ = "0.1.0"

_HOME = {
    "Alignment": "alignment",
    "AllophoneLabeling": "allophones",
    "Archive": "archive",
    "ArchiveWriter": "_write.writer",
    "Block": "entries",
    "CombineReport": "_write.combine",
    "EntryInfo": "entries",
    "Problem": "verification",
    "RecoveryReport": "_write.recover",
    "ScanReport": "entries",
    "SkippedRange": "entries",
    "SprintCacheDataset": "dataset",
    "VerifyReport": "verification",
    "combine": "_write.combine",
    "open_archive": "opening",
    "recover": "_write.recover",
    "repack": "_write.combine",
    "verify": "verification",
    "write_index": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME.get(name, "errors")
    try:
        module = importlib.import_module(f".{home}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}._reader":
            raise
        raise ImportError(
            "the compiled module sprintcache._reader is missing: this is a source folder that was"
            " not built (run `pip install .`), or it was built for another Python"
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
