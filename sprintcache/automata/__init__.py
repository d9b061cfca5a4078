"""Automata of allophone states or labels, for full-sum losses and alignments."""

from __future__ import annotations

from .acceptor import Acceptor
from .automata import Automata
from .builder import AutomatonBuilder
from .padded import PaddedAutomata, from_padded, to_padded
from .transitions import Transition, Transitions
from .words import EdgeWords

__all__ = [
    "Acceptor",
    "Automata",
    "AutomatonBuilder",
    "EdgeWords",
    "PaddedAutomata",
    "Transition",
    "Transitions",
    "from_padded",
    "to_padded",
]
