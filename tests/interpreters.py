"""Other interpreters, such as Sprint may embed."""

from __future__ import annotations

import os
import subprocess

import pytest


def others() -> list[str]:
    """Those of SPRINTCACHE_PYTHONS (separated by colons), or the oldest two on PATH."""
    given = os.environ.get("SPRINTCACHE_PYTHONS")
    return given.split(":") if given else ["python3.8", "python3.9"]


def need_numpy(python: str) -> None:
    """Skips the test where there is no such interpreter, or it has no numpy."""
    try:
        probe = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    except OSError:
        pytest.skip(f"there is no {python}")
    if probe.returncode:
        pytest.skip(f"{python} has no numpy")
