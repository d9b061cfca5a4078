"""Automata of segments from Sprint processes or from LibRASR, as `sprintcache.automata.Automata`.

Both classes are callables from segment names to automata, which is what
``sprintcache.torch.AutomataCollate`` calls in the workers of a DataLoader. They make their
processes or their builder in the process that first calls them, so they survive fork and pickle.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sprintcache.automata import Automata
from sprintcache.errors import AutomatonError

from ._trainer.automaton import automaton_from_reply, join_automata
from ._trainer.batch import sequence_names
from ._trainer.pool import SprintInstancePool
from .errors import SprintAutomatonError

__all__ = ["LibrasrAutomata", "PoolAutomata", "from_librasr", "from_weighted_fsa"]


class PoolAutomata:
    """Automata from a pool of Sprint processes.

    In the workers of a DataLoader each worker has its own Sprints: set ``numInstances`` to 1.
    """

    def __init__(self, sprint_opts: Mapping[str, Any]) -> None:
        """Starts nothing yet.

        Args:
            sprint_opts: options of `sprint_ctl.error_signals.SprintInstancePool`; Sprint has to run
                its control loop (``--*.action=python-control``).
        """
        self.sprint_opts = dict(sprint_opts)

    def __call__(self, tags: Sequence[str]) -> Automata:
        """Returns the automata of segments.

        Raises:
            ValueError: without segments.
            SprintError: see `SprintInstancePool.get_automata_for_batch`.
        """
        pool = SprintInstancePool.get_global_instance(self.sprint_opts)
        names = sequence_names(tags)
        edges, weights, start_end = pool.get_automata_for_batch(names)
        return Automata.from_edges(edges, weights, start_end, tags=names)


class LibrasrAutomata:
    """Automata from LibRASR, in this process.

    LibRASR holds the GIL, takes time quadratic in the number of words, and ends the process on an
    unknown word without pronunciation, so call it in a worker process.
    """

    def __init__(
        self, config_path: str | os.PathLike[str], settings: Mapping[str, str] | None = None
    ) -> None:
        """Loads nothing yet.

        Args:
            config_path: configuration file, with selection ``lib-rasr`` or ``*``.
            settings: further parameters, name to value, over those of the file.
        """
        self.config_path = os.fspath(config_path)
        self.settings = dict(settings or {})
        self._builder: Any = None
        self._process = -1

    def __call__(self, tags: Sequence[str]) -> Automata:
        """Returns the automata of segments of the configured corpus.

        Raises:
            AutomatonError: for a segment that LibRASR does not know.
            ImportError: if LibRASR is not installed.
        """
        builder = self._get_builder()
        results = []
        for tag in tags:
            try:
                results.append(builder.build_by_segment_name(tag))
            except ValueError as error:
                raise AutomatonError(f"LibRASR: {error}", entry=tag) from error
        return from_librasr(results, tags)

    def build(self, orthographies: Sequence[str], tags: Sequence[str] | None = None) -> Automata:
        """Returns the automata of orthographies, which are normalized as LibRASR demands.

        Args:
            orthographies: words separated by white space.
            tags: names of the automata.

        Raises:
            ImportError: if LibRASR is not installed.
        """
        builder = self._get_builder()
        # LibRASR ends the process unless one blank follows each word
        texts = ["".join(f"{word} " for word in text.split()) for text in orthographies]
        return from_librasr([builder.build_by_orthography(text) for text in texts], tags)

    def _get_builder(self) -> Any:
        if self._process != os.getpid():
            try:
                import librasr
            except ModuleNotFoundError as error:
                if error.name != "librasr":
                    raise
                raise ImportError("LibRASR is missing; RASR's sources build it") from error
            config = librasr.Configuration()
            config.set_from_file(self.config_path)
            for name, value in self.settings.items():
                config.set(name, value)
            self._builder = librasr.AllophoneStateFsaBuilder(config)
            self._process = os.getpid()
        return self._builder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_builder": None, "_process": -1}


def from_librasr(results: Sequence[Any], tags: Sequence[str] | None = None) -> Automata:
    """Returns the automata of what LibRASR's builder returned for some segments.

    Args:
        results: for each segment (number of states, number of edges, edges, weights); edges are
            3 E integers: all source states, all target states, all labels.
        tags: names of the segments.

    Raises:
        AutomatonError: for what is not an automaton, or one whose final state cannot be reached.
            It names the segment.
    """
    automata = []
    for number, result in enumerate(results):
        try:
            automata.append(automaton_from_reply(_reply(result)))
        except SprintAutomatonError as error:
            raise AutomatonError(
                f"sequence {number}: {error.reason}",
                entry=None if tags is None else tags[number],
                expected=error.expected,
                found=error.found,
            ) from None
    try:
        edges, weights, start_end = join_automata(automata)
    except SprintAutomatonError as error:
        raise AutomatonError(error.reason, expected=error.expected, found=error.found) from None
    return Automata.from_edges(edges, weights, start_end, tags=tags)


def _reply(result: Any) -> list[Any]:
    """The result for a segment in the types of a reply of Sprint."""
    values = list(result) if isinstance(result, (tuple, list)) else [result]
    arrays = [np.asarray(value) for value in values[2:]]
    if arrays and arrays[0].ndim == 2 and len(arrays[0]) == 3:
        arrays[0] = arrays[0].reshape(-1)
    return [*values[:2], *arrays]


def from_weighted_fsa(fsa: Any, tags: Sequence[str] | None = None) -> Automata:
    """Returns the automata of a tuple in the layout of i6_models.

    Args:
        fsa: WeightedFsa (number of states, edges (4, E), weights, start and end states (2, B)), or
            WeightedFsaV2 (states and edges per sequence, edges (3, E), weights, start and end
            states); tensors on any device, or arrays.
        tags: names of the sequences.

    Raises:
        ValueError: for a tuple of another length.
        AutomatonError: for malformed edges.
    """
    fields = [_to_array(field) for field in fsa]
    if len(fields) == 4:
        _, edges, weights, start_end = fields
    elif len(fields) == 5:
        _, num_edges, edges, weights, start_end = fields
        sequences = np.repeat(np.arange(len(num_edges)), num_edges.astype(np.int64))
        edges = np.vstack([edges, sequences.astype(edges.dtype)])
    else:
        raise ValueError(f"a WeightedFsa has 4 or 5 fields, not {len(fields)}")
    return Automata.from_edges(edges, weights, start_end, tags=tags)


def _to_array(field: Any) -> Any:
    return np.asarray(field.detach().cpu() if hasattr(field, "detach") else field)
