"""Imports a build for fuzzing in place of the compiled reader."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


class _ReaderFinder:
    """Finds sprintcache._reader in the folder of a build."""

    def __init__(self, module: Path) -> None:
        self._module = module

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "sprintcache._reader":
            return None
        return importlib.util.spec_from_file_location(name, self._module)


def load_reader(mode: str) -> ModuleType:
    """The compiled reader of a build: "fast", "address" or "replay"."""
    module = ROOT / "build" / "fuzz" / mode / "_reader.so"
    if not module.exists():
        raise SystemExit(f"{module} is missing: python fuzz/build.py {mode}")
    if "sprintcache._reader" not in sys.modules:
        sys.path.insert(0, str(ROOT))
        sys.meta_path.insert(0, _ReaderFinder(module))
    from sprintcache import _reader

    return _reader
