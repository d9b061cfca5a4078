"""Parameters of Sprint's automata builder, as keywords of `AutomatonBuilder`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from sprintcache._configuration import Configuration
from sprintcache.errors import ConfigurationError, UnsupportedError

from .state_tying import TYINGS
from .transitions import Transition, Transitions

__all__ = ["builder_keywords", "exporter_of"]

_EXPORTER = "alignment-fsa-exporter"
_APPLICATIONS = ("neural-network-trainer", "lib-rasr")
_TYINGS = (*TYINGS, "none", "lut", "cart", "decision-tree")


def exporter_of(config: Configuration, selection: str | None) -> str:
    """Returns the selection of the automata builder.

    Without one: that of nn-trainer, or of LibRASR where the configuration names only that.
    """
    if selection is None:
        trainer, library = _APPLICATIONS
        is_library = config.mentions(library) and not config.mentions(trainer)
        selection = library if is_library else trainer
    return selection if "." in selection else f"{selection}.{_EXPORTER}"


def builder_keywords(config: Configuration, base: str | None) -> dict[str, Any]:
    """Returns the keywords that a configuration describes.

    Args:
        config: seen from the automata builder.
        base: folder that relative paths start from; None for the working directory.

    Raises:
        ConfigurationError: a parameter is missing, or has another type or value.
        UnsupportedError: a parameter asks for what the builder does not implement.
    """

    def path(text: str) -> str:
        prefix, colon, file = text.partition(":")
        if colon and prefix in ("vocab-text", "vocab-txt"):
            return f"{prefix}:{path(file)}"
        return text if base is None or not text else os.path.join(base, text)

    combination = config.select("model-combination")
    model = combination.select("acoustic-model")
    lexicon = combination.select("lexicon")
    graph = config.select("allophone-state-graph-builder")
    corpus = config.at(config.selection.partition(".")[0]).select("corpus")
    model.choice("type", "classic", ["classic"])
    file = path(lexicon.string("file", ""))
    if not file:
        raise ConfigurationError(f"{lexicon.selection}.file is not set")
    minimum = graph.integer("label-min-duration", 1)
    if minimum > 1:
        raise UnsupportedError(
            f"{graph.selection}.label-min-duration = {minimum}: Sprint refuses more than 1"
        )
    parser = graph.select("orthographic-parser")
    hmm = model.select("hmm")
    phonology = model.select("phonology")
    allophones = model.select("allophones")
    return {
        "lexicon": file,
        "vocabulary": path(lexicon.select("vocab").string("file", "")) or None,
        "normalize_pronunciations": lexicon.boolean("normalize-pronunciation", True),
        "corpus": path(corpus.string("file", "")) or None,
        "case": _case(corpus),
        "topology": graph.choice("topology", "hmm", ["hmm", "ctc", "rna"]),
        "silence_repetitions": parser.boolean("allow-for-silence-repetitions", True),
        "normalize_sequences": parser.boolean("normalize-lemma-sequence-scores", False),
        **_tying(model.select("state-tying"), path),
        "states_per_phone": hmm.integer("states-per-phone", 3),
        "state_repetitions": hmm.integer("state-repetitions", 2),
        "across_word": hmm.boolean("across-word-model", False),
        "history_length": phonology.integer("history-length", 1),
        "future_length": phonology.integer("future-length", 1),
        "allophone_file": path(allophones.string("add-from-file", "")) or None,
        "add_lexicon_allophones": allophones.boolean("add-from-lexicon", True),
        "add_all_allophones": allophones.boolean("add-all", False),
        "fix_word_boundaries": model.boolean("fix-allophone-context-at-word-boundaries", False),
        "drop_invalid_allophones": model.boolean(
            "transducer-builder-filter-out-invalid-allophones", False
        ),
        **_transitions(combination, path),
    }


def _case(corpus: Configuration) -> str | None:
    if corpus.boolean("gemenize-transcriptions", False):
        return "lower"
    return "upper" if corpus.boolean("capitalize-transcriptions", False) else None


def _tying(config: Configuration, path: Callable[[str], str]) -> dict[str, Any]:
    kind = config.choice("type", "cart", _TYINGS)
    has_file = kind in ("lookup", "lut")  # else it may refer to names that are not set
    return {
        "state_tying": kind,
        "state_tying_file": (path(config.string("file", "")) or None) if has_file else None,
        "boundary_classes": config.boolean("use-boundary-classes", True),
        "word_end_classes": config.boolean("use-word-end-classes", False),
    }


def _transitions(combination: Configuration, path: Callable[[str], str]) -> dict[str, Any]:
    model = combination.select("acoustic-model")
    tdp = model.select("tdp")
    if tdp.string("file", ""):
        raise UnsupportedError(f"{tdp.selection}.file: weights in a file are not supported")
    # Sprint multiplies scales in float32
    outer = np.float32(model.weight("scale", 1.0)) * np.float32(combination.weight("scale", 1.0))
    scale = float(np.float32(tdp.weight("scale", 1.0)) * outer)
    kind = tdp.choice("tying-type", "global", ["global", "global-and-nonword", "cart"])
    classes = _ConfiguredClasses(tdp) if kind == "cart" else None
    keywords: dict[str, Any] = {
        "transitions": Transitions(
            phone=_transition(tdp, "state-0"),
            silence=_transition(tdp, "silence"),
            entry=_transition(tdp, "entry-m1"),
            phone_1=_transition(tdp, "state-1"),
            entry_2=_transition(tdp, "entry-m2"),
            classes=classes,
            scale=scale,
            applicator=tdp.choice("applicator-type", "legacy", ["legacy", "corrected"]),
        )
    }
    if classes is not None:
        keywords["transition_tying"] = _tying(tdp.select("state-tying"), path)
    return keywords


def _transition(tdp: Configuration, name: str) -> Transition:
    config = tdp.select(name)
    return Transition(
        config.weight("loop", 3.0),
        config.weight("forward", 0.0),
        config.weight("skip", 3.0),
        config.weight("exit", 0.0),
    )


class _ConfiguredClasses(dict[int, Transition]):
    """Transition weights of the classes of a tying, read when they are asked for."""

    def __init__(self, tdp: Configuration) -> None:
        super().__init__()
        self._tdp = tdp

    def get(self, class_: int, default: Any = None) -> Any:
        if class_ not in self:
            self[class_] = _transition(self._tdp, f"state-{class_}-0")
        return self[class_]
