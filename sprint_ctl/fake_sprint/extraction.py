"""Extraction: features and alignments of a segment from archives, as from a flow network.

``feat-cache`` and ``align-cache`` at the selection ``feature-extraction`` name archives; or
``feature-extraction.file`` names a flow network, whose outputs are traced back to the first
generic-cache. Instead of archives, ``fake.features = DIMENSIONxFRAMES`` generates random features
of this size for every segment.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._configuration import Configuration

from .application import Application, CriticalError, critical
from .files import read_xml

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.archive import Archive

__all__ = ["AcousticModel", "Extraction", "open_cache"]


def open_cache(path: str) -> Archive:
    """Opens an archive; only this needs the compiled module."""
    from sprintcache.opening import open_archive

    return open_archive(path)


class Extraction:
    """The features and alignments of a component; archives are opened when first used."""

    def __init__(self, app: Application, config: Configuration) -> None:
        """Reads ``feature-extraction`` of the component's selection."""
        self.app = app
        self._flow = config.select("feature-extraction")
        self._archives: dict[str, Archive] = {}
        self._synthetic: NDArray[np.float32] | None = None
        shape = app.fake.string("features", "")
        if shape:
            dimension, _, num_frames = shape.partition("x")
            if not (dimension.isdigit() and num_frames.isdigit()):
                raise CriticalError(f"fake.features = {shape!r} is not DIMENSIONxFRAMES")
            generator = np.random.default_rng(0)
            size = int(num_frames), int(dimension)
            self._synthetic = generator.standard_normal(size, np.float32)

    def features(self, name: str) -> NDArray[np.float32]:
        """(T, D) float32 features of a segment."""
        if self._synthetic is not None:
            return self._synthetic
        with critical("features"):
            return self._archive("features").read_features(name)

    def num_frames(self, name: str) -> int:
        with critical("features"):
            known = self._synthetic
            return self._archive("features").num_frames(name) if known is None else len(known)

    def alignment(self, name: str) -> Alignment:
        with critical("Failed to extract alignment"):
            return self._archive("alignments").read_alignment(name)

    def _archive(self, port: str) -> Archive:
        if port not in self._archives:
            option = "feat-cache" if port == "features" else "align-cache"
            network = self._flow.string("file", "")
            path = self._flow.string(option, "")
            if network and not path:
                path = _cache_of_port(network, port, self._flow)
            if not path:
                raise CriticalError(f"no archive of {port}: neither {option} nor a flow network")
            with critical(port):
                self._archives[port] = open_cache(path)
        return self._archives[port]


def _cache_of_port(network: str, port: str, config: Configuration) -> str:
    """Path of the archive at the source of a port of a flow network; "" without one."""
    root = read_xml(network, "flow network")
    nodes = {node.get("name", ""): node for node in root.iter("node")}
    feeds = {link.get("to", ""): link.get("from", "") for link in root.iter("link")}
    source = feeds.get(f"{root.get('name', 'network')}:{port}", "")
    seen: set[str] = set()
    while source and source not in seen:
        seen.add(source)
        name = source.partition(":")[0]
        node = nodes.get(name)
        if node is not None and node.get("filter") == "generic-cache":
            path = config.select(name).get("path")
            return config.resolve(node.get("path", "")) if path is None else path
        source = feeds.get(name, "")
    return ""


class AcousticModel:
    """The parts of the acoustic model that labels need: allophones and state tying.

    Read at ``model-combination.acoustic-model``: ``allophones.add-from-file`` (or
    ``allophone-file``), ``state-tying.file``, ``silence`` (default ``[SILENCE]``).
    """

    def __init__(self, config: Configuration) -> None:
        """Keeps the paths; files are read on first use."""
        config = config.select("model-combination").select("acoustic-model")
        self.allophone_file = config.string(
            "allophone-file", config.select("allophones").string("add-from-file", "")
        )
        self.state_tying_file = config.select("state-tying").string("file", "")
        self.silence = config.string("silence", "[SILENCE]")

    @cached_property
    def labeling(self) -> AllophoneLabeling:
        from sprintcache.allophones import AllophoneLabeling

        if not (self.allophone_file and self.state_tying_file):
            raise CriticalError(
                "acoustic-model: labels need state-tying.file and allophones.add-from-file"
            )
        with critical("acoustic-model"):
            return AllophoneLabeling(
                self.silence, self.allophone_file, state_tying_file=self.state_tying_file
            )

    @property
    def num_classes(self) -> int:
        return self.labeling.num_labels

    def classes(self, alignment: Alignment) -> NDArray[np.uint32]:
        """(N,) class of every item by the state tying, via symbols if there is an alphabet."""
        ids = alignment.emission
        if alignment.label_type == "emission":
            return ids
        if alignment.alphabet is None:
            labels = self.labeling.labels_of(ids)
        else:
            used, places = np.unique(ids, return_inverse=True)
            tying = self.labeling.state_tying or {}
            known = [tying.get(alignment.alphabet.get(i, ""), -1) for i in used.tolist()]
            labels = np.array(known, np.int32)[places]
        if (labels < 0).any():
            raise CriticalError(f"no class for allophone state {ids[labels < 0][0]}")
        return labels.astype(np.uint32)

    def viterbi(
        self, alignment: Alignment, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """One class per frame, and the features without the frames that the alignment skips."""
        times = alignment.time
        if not (times[1:] > times[:-1]).all():
            raise CriticalError("Viterbi alignment: maybe Baum-Welch alignment? (times go back)")
        length = int(times[-1]) + 1 if len(times) else 0
        if length > len(features):
            raise CriticalError(
                f"Viterbi alignment: got time frame {length - 1}"
                f" but sequence length is {len(features)}"
            )
        if len(times) < length:
            features = features[np.concatenate([times, np.arange(length, len(features))])]
        return self.classes(alignment), features
