"""The module that generates pages of the documentation."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.paths import ROOT

__all__ = ["load_generated"]


def load_generated(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A new docs/generated.py, imported as Sphinx does; skips without matplotlib."""
    pytest.importorskip("matplotlib", reason="the charts need matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs/generated.py")
    assert spec is not None
    assert spec.loader is not None
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    return generated
