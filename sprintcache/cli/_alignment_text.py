"""Alignments as text: a line per run of one state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sprintcache import states
from sprintcache._analysis.accumulators import weight_share

if TYPE_CHECKING:
    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.states import StateNames

__all__ = ["alignment_lines"]


def alignment_lines(
    name: str, alignment: Alignment, frames: slice | None, state_names: StateNames
) -> Iterator[str]:
    """A head with kind, size and times, then a line per run of one state."""
    yield f"{name}: {_alignment_text(alignment)}"
    has_states = alignment.label_type == "allophone-state"
    contradiction = ""
    if has_states:
        contradiction = states.contradiction(alignment.alphabet, state_names.allophones)
    labels = None
    if contradiction:  # labels by id would be wrong
        yield f"# warning: {contradiction}"
    elif state_names.labeling is not None and has_states:
        labels = _labels_by_id(alignment, state_names.labeling)
        yield _label_text(alignment, labels, state_names.labeling)
    allophones = None if contradiction else state_names.allophones
    symbols = {
        id_: states.symbol(id_, allophones, alignment.alphabet) if has_states else str(id_)
        for id_ in np.unique(alignment.emission).tolist()
    }
    width = max([len("state"), *map(len, symbols.values())])
    head = f"# frames       count  {'state':{width}}"
    head += "  label" if labels is not None else ""
    head += "    weight" if alignment.weighted else ""
    yield head.rstrip()
    chosen = range(alignment.num_frames)[frames or slice(None)]
    for run in _runs(alignment):
        start = max(int(alignment.time[run.start]), chosen.start)
        end = min(int(alignment.time[run.stop - 1]), chosen.stop - 1)
        if start > end:
            continue
        id_ = int(alignment.emission[run.start])
        span = f"{start:6}" + (f"-{end}" if end > start else "")
        text = f"{span:13} {end - start + 1:6}  {symbols[id_]:{width}}"
        if labels is not None:
            text += f"  {labels[id_] if labels[id_] >= 0 else '-':>5}"
        if alignment.weighted:
            text += f"  {alignment.weight[run.start]:8.6f}"
        yield text.rstrip()


def _runs(alignment: Alignment) -> list[range]:
    """Item indices of each run: one id and weight, in consecutive frames."""
    time, emission = alignment.time.astype(np.int64), alignment.emission
    weight = alignment.weight
    breaks = (np.diff(time) != 1) | (emission[1:] != emission[:-1]) | (weight[1:] != weight[:-1])
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(time)]
    return [range(start, stop) for start, stop in pairwise(edges) if stop > start]


def _alignment_text(alignment: Alignment) -> str:
    kind = "soft" if alignment.weighted else "Viterbi" if alignment.is_viterbi else "unweighted"
    ids = "emission ids" if alignment.label_type == "emission" else "allophone states"
    text = f"{kind} alignment, {len(alignment)} items, {alignment.num_frames} frames, {ids}"
    if alignment.alphabet is not None:
        text += f", alphabet of {len(alignment.alphabet)}"
    if len(alignment) and alignment.start is not None and alignment.end is not None:
        text += f", {alignment.start:.3f} to {alignment.end:.3f} s"
    return text


def _labels_by_id(alignment: Alignment, labeling: AllophoneLabeling) -> dict[int, int]:
    ids = np.unique(alignment.emission)
    return dict(zip(ids.tolist(), labeling.labels_of(ids).tolist(), strict=True))


def _label_text(alignment: Alignment, labels: dict[int, int], labeling: AllophoneLabeling) -> str:
    used = {label for label in labels.values() if label >= 0}
    text = f"# {len(used)} of {labeling.num_labels} labels"
    if labeling.sil_label_idx is not None:
        silent = [id_ for id_, label in labels.items() if label == labeling.sil_label_idx]
        share = weight_share(alignment.weight, np.isin(alignment.emission, silent))
        text += "" if share is None else f", silence {100 * share:.1f} %"
    return text
