"""Automata of allophone states or labels, for full-sum losses and alignments."""

from __future__ import annotations

from .acceptor import Acceptor
from .automata import Automata
from .builder import AutomatonBuilder
from .transitions import Transition, Transitions
from .words import EdgeWords

__all__ = [
    "Acceptor",
    "Automata",
    "AutomatonBuilder",
    "EdgeWords",
    "Transition",
    "Transitions",
]
