"""Where the real Sprint files are: some in the tests, all of them next to the checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"


def full_data() -> Path | None:
    """The folder with the whole set (`archives/`, `expected/`, ...), None where it is absent."""
    sibling = DATA.parents[2] / "shared" / "rasr-data"
    folder = Path(os.environ.get("SPRINTCACHE_RASR_DATA") or sibling)
    return folder if folder.is_dir() else None
