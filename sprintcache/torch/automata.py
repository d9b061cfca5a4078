"""Automata as tensors, on any device, in the layout of i6_models, and as k2 graphs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from sprintcache.automata import Automata
from sprintcache.automata.export import k2_text

__all__ = ["AutomataTensors", "to_k2"]


class AutomataTensors(NamedTuple):
    """A batch of automata as tensors; fields and operations as those of i6_models' WeightedFsa.

    Attributes:
        num_states: () int32, states of all sequences.
        edges: (4, E) int32, rows: from state, to state, label, sequence.
        weights: (E,) float32, negative natural logarithms.
        start_end_states: (2, B) int32.
    """

    num_states: torch.Tensor
    edges: torch.Tensor
    weights: torch.Tensor
    start_end_states: torch.Tensor

    @classmethod
    def from_automata(cls, automata: Automata) -> AutomataTensors:
        """Returns tensors on the CPU.

        Raises:
            ValueError: if the states do not fit into 31 bits.
        """
        if automata.num_edges and int(automata.edges.max()) > np.iinfo(np.int32).max:
            raise ValueError("states or labels do not fit into int32")
        num_states = int(automata.state_ranges[1].max(initial=-1)) + 1
        return cls(
            torch.tensor(num_states, dtype=torch.int32),
            torch.from_numpy(automata.edges.astype(np.int32)),
            torch.from_numpy(np.array(automata.weights, np.float32)),
            torch.from_numpy(automata.start_end.astype(np.int32)),
        )

    def to_automata(self, tags: Any = None) -> Automata:
        """Returns the same as Automata, checked."""
        edges, weights, start_end = (tensor.cpu().numpy() for tensor in self[1:])
        return Automata.from_edges(edges, weights, start_end, tags=tags)

    def to(self, device: Any, non_blocking: bool = False) -> AutomataTensors:
        """Returns the same on a device."""
        return AutomataTensors(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))

    def pin_memory(self) -> AutomataTensors:
        """Returns the same in pinned memory; a DataLoader with `pin_memory` calls it."""
        return AutomataTensors(*(tensor.pin_memory() for tensor in self))

    def __mul__(self, scale: object) -> AutomataTensors:
        """Returns the same with all weights multiplied."""
        return self._replace(weights=self.weights * scale)


def to_k2(automata: Automata) -> Any:
    """Returns the automata as a ``k2.Fsa`` with one graph per sequence.

    Labels are counted from 1; see `sprintcache.automata.export.k2_text`.

    Raises:
        ImportError: if k2 is not installed.
    """
    try:
        import k2
    except ModuleNotFoundError as error:
        if error.name != "k2":
            raise
        raise ImportError("k2 is missing; https://k2-fsa.github.io/k2 has its wheels") from error
    graphs = [k2.Fsa.from_str(k2_text(automata, number)) for number in range(len(automata))]
    return k2.create_fsa_vec(graphs)
