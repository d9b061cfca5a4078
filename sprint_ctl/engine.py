"""The interface of a user's engine that runs inside a Sprint process.

The configuration string names its class: ``engine:package.module:Class``. It is instantiated once
per process, with the parsed string (`sprint_ctl.config`), and has the methods that its use needs:

* ``init(input_dim, output_dim)``, optional, as soon as Sprint knows the dimensions (below 1 if
  there are none).
* ``train(dataset)`` where Sprint delivers data: runs in a separate thread and iterates over epochs
  of the `SprintDatasetBase`: ``init_seq_order(epoch)``, then the sequences. When it returns, Sprint
  exits normally; an exception ends Sprint with status 1.
* ``forward(features, segment_name)`` where Sprint wants posteriors (target-mode forward-only or
  criterion-by-sprint, or a feature scorer): (T, D) float32 features to (T, L) log posteriors; the
  name may be None. Runs in Sprint's thread.
* ``backward(loss, error_signal, natural_pairing_type)`` after each ``forward`` of
  criterion-by-sprint, or ``discard()``, optional, where Sprint drops the segment. The error signal,
  (T, L) float32, is the derivative with respect to the posteriors, or, with "softmax" as pairing
  type, to the input of the softmax.
* ``exit()``, optional, at the end.

``dataset_options``, an optional attribute, has options of the dataset. A missing method is an error
when Sprint first needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import SprintError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["call_optional", "load_engine", "log_posteriors", "required_method"]


def load_engine(config: Mapping[str, str]) -> Any:
    """The engine that a configuration names.

    Raises:
        ValueError: no engine is named.
        ImportError, AttributeError: the class does not exist.
    """
    name = config.get("engine", "")
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(
            f"configuration {dict(config)}: expected engine:package.module:Class, found {name!r}"
        )
    return getattr(importlib.import_module(module), attribute)(dict(config))


def required_method(engine: Any, name: str) -> Any:
    """A method of an engine. Raises SprintError if it is missing."""
    method = getattr(engine, name, None)
    if method is None:
        raise SprintError(f"{type(engine).__name__} has no {name}, which Sprint needs here")
    return method


def call_optional(engine: Any, name: str, *arguments: Any) -> None:
    """Calls an optional method of an engine."""
    method = getattr(engine, name, None)
    if method is not None:
        method(*arguments)


def log_posteriors(
    engine: Any, features: NDArray[Any], segment_name: str | None, output_dim: int, min_frames: int
) -> NDArray[np.float32]:
    """Forwards a segment, and checks the result.

    Args:
        engine: has ``forward``.
        features: (T, D).
        segment_name: full name, or None if not known.
        output_dim: required number of labels.
        min_frames: minimum number of frames of the result; at most as many as there are features.

    Returns:
        (T', output_dim) float32.

    Raises:
        SprintError: a result of another shape.
    """
    result = np.asarray(required_method(engine, "forward")(features, segment_name), np.float32)
    if (
        result.ndim != 2
        or result.shape[1] != output_dim
        or not min_frames <= len(result) <= len(features)
    ):
        frames = f"{min_frames} to {len(features)}" if min_frames < len(features) else min_frames
        raise SprintError(
            f"{type(engine).__name__}.forward returns a shape that Sprint does not expect",
            segment=segment_name,
            expected=f"({frames}, {output_dim})",
            found=result.shape,
        )
    return result
