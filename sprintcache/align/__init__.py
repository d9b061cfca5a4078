"""Forced alignment of label scores with orthographies, by the rules of Sprint's aligner."""

from __future__ import annotations

from .aligner import Aligner
from .result import AlignedWord, AlignResult
from .segments import align_segments, write_result

__all__ = ["AlignResult", "AlignedWord", "Aligner", "align_segments", "write_result"]
