"""Callback: the commands of Sprint that Python may call while Sprint calls it.

A wrong argument or an unknown name is a Python exception; errors inside Sprint end the process,
since a callback runs below frames of embedded Python code.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._configuration import Configuration
from sprintcache.errors import ConfigurationError, SprintCacheError

from .application import Application, CriticalError, critical
from .arguments import parse
from .automata import Automaton, character_automaton
from .criteria import Criterion, create
from .embedding import Embedding
from .extraction import AcousticModel, open_cache
from .visiting import CorpusDescription

if TYPE_CHECKING:
    from sprintcache.alignment import Alignment
    from sprintcache.archive import Archive
    from sprintcache.automata import AutomatonBuilder

__all__ = ["Callback", "Transcriptions"]

_HELP = """Usage: callback(cmd, *args).
callback comes via Sprint PythonControl.
The commands are those of Sprint's src/Nn/PythonControl.cc.
"""
VERSION_NUMBER = 5
_CALM = ("version", "version_number", "help", "init_criterion")
_ERROR_TYPES = ("none", "error-signal", "error-signal-before-softmax", "pseudo-targets")


class Transcriptions:
    """Derives automata and the classes of CTC from orthographies."""

    def __init__(self, app: Application, config: Configuration) -> None:
        """Keeps the selections; the corpus is read on first use."""
        self.app = app
        self.config = config

    @cached_property
    def _corpus(self) -> CorpusDescription:
        return CorpusDescription(self.app, self.config.select("corpus"))

    @cached_property
    def by_name(self) -> dict[str, str]:
        return self._corpus.by_name()

    @cached_property
    def characters(self) -> str:
        """Classes of CTC: those of the corpus, or ``fake.characters``."""
        given = self.app.fake.get("characters")
        return self._corpus.characters() if given is None else given

    @cached_property
    def _builder(self) -> AutomatonBuilder | None:
        config = self.config.select("alignment-fsa-exporter")
        if not config.select("model-combination").select("lexicon").string("file", ""):
            return None
        # only this needs the compiled module
        from sprintcache.automata import AutomatonBuilder

        with critical("automaton"):
            return AutomatonBuilder.from_configuration(config)

    def automaton(self, orthography: str) -> Automaton:
        """An automaton of allophone states if there is a lexicon, else of characters."""
        if self._builder is not None:
            with critical("automaton"):
                automata = self._builder.build([orthography])
            num_states = int(automata.start_end[1, 0]) + 1
            return Automaton(num_states, automata.edges[:3], automata.weights)
        classes = self.characters
        text = orthography.strip()
        if not text or set(text) - set(classes):
            raise CriticalError(f"automaton: no characters of the corpus: {orthography!r}")
        return character_automaton([classes.index(c) for c in text])

    def criterion(self) -> Criterion:
        """The criterion of the component."""
        return create(self.app, self.config, lambda: self.characters, self.automaton)


class Callback:
    """The commands of one PythonControl."""

    def __init__(self, app: Application, config: Configuration, embedding: Embedding) -> None:
        self.app = app
        self.config = config
        self.embedding = embedding
        self._texts = Transcriptions(app, config)
        self._archives: dict[str, Archive] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command; the first argument is its name."""
        if not args:
            raise TypeError(
                "PythonControl callback(): requires at least one arg. try callback('help')"
            )
        command = args[0]
        if not isinstance(command, str):
            raise TypeError("PythonControl callback(): first arg must be a string")
        method = getattr(self, f"_do_{command}", None)
        if method is None:
            raise ValueError(f"PythonControl callback(): unknown command '{command}'")
        try:
            if command not in _CALM:
                self.app.misbehavior.at("request")
            return method(args, kwargs)
        except (CriticalError, ConfigurationError) as error:
            self.app.report(error)
            self.app.leave(1)

    # ---- commands; each parses (command, ...) itself

    def _do_version(self, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> str:
        return "<version>stand-in for RWTH ASR (sprint_ctl.fake_sprint)\n</version>"

    def _do_version_number(self, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> int:
        return self.app.fake.integer("version-number", VERSION_NUMBER)

    def _do_help(self, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> str:
        return _HELP

    @cached_property
    def _model(self) -> AcousticModel:
        return AcousticModel(self.config)

    @cached_property
    def _criterion(self) -> Criterion:
        return self._texts.criterion()

    def _do_init_criterion(self, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        self._criterion.loss = 0.0

    def _do_calculate_criterion(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = "command", "posteriors", "orthography", "alignment", "output_error_type"
        values = parse("sO|sOss", (*names, "segment_name"), args, kwargs)
        _, posteriors, orthography, alignment, error_type, _ = values
        error_type = error_type or "none"
        if error_type not in _ERROR_TYPES:
            raise ValueError(
                "PythonControl callback(): calculate_criterion: unknown output_error_type"
                f" '{error_type}'"
            )
        outputs = self.embedding.array(posteriors, 2, "posteriors")
        labels = None
        if alignment is not None:
            if orthography is not None:
                raise ValueError(
                    "PythonControl callback(): calculate_criterion: you should provide either an"
                    " alignment, or the orthography, but not both"
                )
            labels = self.embedding.array(alignment, 1, "alignment").astype(np.int64)
        self.app.work(outputs.shape[1])
        criterion = self._criterion
        if not criterion.put(outputs, labels, orthography):
            return None, None
        error: Any = None
        if error_type == "error-signal":
            error = criterion.error_signal()
        elif error_type == "error-signal-before-softmax":
            error = criterion.error_signal_before_softmax()
        elif error_type == "pseudo-targets":
            error = criterion.pseudo_targets()
        loss = float(np.float32(criterion.loss))
        return loss, None if error is None else self.embedding.matrix(error.T)

    def _do_export_allophone_state_fsa_by_orthography(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        _, orthography = parse("ss", ("command", "orthography"), args, kwargs)
        return self._exported(orthography)

    def _do_export_allophone_state_fsa_by_segment_name(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        _, name = parse("ss", ("command", "segment_name"), args, kwargs)
        return self._exported(self._orthography(args[0], name))

    def _exported(self, orthography: str) -> Any:
        automaton = self._texts.automaton(orthography)
        edges = self.embedding.vector(automaton.edges.reshape(-1), np.uint32)
        weights = self.embedding.vector(automaton.weights, np.float32)
        return automaton.num_states, len(weights), edges, weights

    def _do_get_orthography_by_segment_name(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        _, name = parse("ss", ("command", "segment_name"), args, kwargs)
        return self._orthography(args[0], name)

    def _orthography(self, command: str, name: str) -> str:
        if name not in self._texts.by_name:
            raise KeyError(f"PythonControl {command}: unknown segment name '{name}'")
        return self._texts.by_name[name]

    # ---- alignments

    def _do_get_alignment_from_cache(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = "command", "cache_filename", "segment_name"
        _, file, name = parse("sss", names, args, kwargs)
        ids = self._viterbi(self._archive(file), name).emission
        return self.embedding.vector(ids, np.uint32)

    def _do_analyze_alignment_from_cache(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, int]:
        names = "command", "cache_filename", "segment_name", "silence_allophone_state_idx"
        _, file, name, silence = parse("ss|si", names, args, kwargs)
        if silence is None or silence < 0:
            silence = self._model.labeling.sil_allo_state_id
        archive = self._archive(file)
        counts = dict.fromkeys(
            ("length", "nSilForward", "nSilLoop", "nPhonForward", "nPhonLoop"), 0
        )
        for entry in archive.segments if name is None else [name]:
            ids = self._viterbi(archive, entry).emission
            before, stays = ids[:-1] == silence, ids[1:] == ids[:-1]
            counts["length"] += len(ids)
            counts["nSilForward"] += int((before & ~stays).sum())
            counts["nSilLoop"] += int((before & stays).sum())
            counts["nPhonForward"] += int((~before & ~stays).sum())
            counts["nPhonLoop"] += int((~before & stays).sum())
        return counts

    def _archive(self, path: str) -> Archive:
        if path not in self._archives:
            try:
                self._archives[path] = open_cache(path)
            except (OSError, SprintCacheError):
                raise ValueError(f"PythonControl: cannot open cache archive '{path}'") from None
        return self._archives[path]

    def _viterbi(self, archive: Archive, name: str) -> Alignment:
        try:
            alignment = archive.read_alignment(name)
        except SprintCacheError as error:
            raise ValueError(
                f"PythonControl: cannot read entry (segment-name) '{name}' in archive: {error}"
            ) from None
        if alignment.label_type != "allophone-state":
            raise ValueError("PythonControl: alignment label type is not allophone-state-id")
        wrong = np.flatnonzero(alignment.time != np.arange(len(alignment.time)))
        if len(wrong):
            frame, time = int(wrong[0]), int(alignment.time[wrong[0]])
            if time < frame:
                raise ValueError(
                    f"PythonControl: Viterbi alignment: expected time frame {frame}, got {time}."
                    " (maybe Baum-Welch alignment?)"
                )
            raise ValueError(
                f"PythonControl: Viterbi alignment: skipped time frame {frame}, got {time}"
            )
        return alignment
