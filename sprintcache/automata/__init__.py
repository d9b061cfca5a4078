"""Automata of allophone states or labels: what a full-sum loss and an alignment run over."""

from __future__ import annotations

from .automata import Automata
from .words import EdgeWords

__all__ = ["Automata", "EdgeWords"]
