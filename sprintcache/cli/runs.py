"""Alignments as people want to see them: a line for each run of one state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sprintcache import states

from .usage import share

if TYPE_CHECKING:
    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.states import Names

__all__ = ["alignment_lines", "runs_of"]


def runs_of(alignment: Alignment) -> list[tuple[int, int]]:
    """(first, behind the last) item of each run: one id and weight, times that count up."""
    time, emission = alignment.time.astype(np.int64), alignment.emission
    weight = alignment.weight
    breaks = (np.diff(time) != 1) | (emission[1:] != emission[:-1]) | (weight[1:] != weight[:-1])
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(time)]
    return [(first, behind) for first, behind in pairwise(edges) if behind > first]


def alignment_lines(
    name: str, alignment: Alignment, frames: slice | None, known: Names
) -> Iterator[str]:
    """A head that says what it is, then a line per run of one state.

    Args:
        name: the entry's, for the head.
        alignment: the alignment.
        frames: which frames; None: all.
        known: symbols and labels of the states.
    """
    yield f"{name}: {_alignment_text(alignment)}"
    contradiction = ""
    if alignment.label_type == "allophone-state":
        contradiction = states.contradiction(alignment.alphabet, known.allophones)
    labels = None
    if contradiction:  # labels by id would be wrong ones
        yield f"# warning: {contradiction}"
    elif known.labeling is not None and alignment.label_type == "allophone-state":
        labels = _labels_by_id(alignment, known.labeling)
        yield _label_text(alignment, labels, known.labeling)
    chosen = range(alignment.num_frames)[frames or slice(None)]
    names = {
        id_: states.symbol(id_, None if contradiction else known.allophones, alignment.alphabet)
        if alignment.label_type == "allophone-state"
        else str(id_)
        for id_ in np.unique(alignment.emission).tolist()
    }
    wide = max([len("state"), *map(len, names.values())])
    head = f"# frames       count  {'state':{wide}}"
    head += "  label" * (labels is not None) + "    weight" * alignment.weighted
    yield head.rstrip()
    for first, behind in runs_of(alignment):
        start = max(int(alignment.time[first]), chosen.start)
        end = min(int(alignment.time[behind - 1]), chosen.stop - 1)
        if start > end:
            continue
        id_ = int(alignment.emission[first])
        span = f"{start:6}" + (f"-{end}" if end > start else "")
        text = f"{span:13} {end - start + 1:6}  {names[id_]:{wide}}"
        if labels is not None:
            text += f"  {labels[id_] if labels[id_] >= 0 else '-':>5}"
        if alignment.weighted:
            text += f"  {alignment.weight[first]:8.6f}"
        yield text.rstrip()


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
        part = share(alignment.weight, np.isin(alignment.emission, silent))
        text += "" if part is None else f", silence {100 * part:.1f} %"
    return text
