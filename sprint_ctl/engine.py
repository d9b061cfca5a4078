"""What a user's engine has to have, to run inside a Sprint process.

The configuration string names its class: ``engine:package.module:Class``. It is made once in the
process, with the pairs of that string (`sprint_ctl.config`), and has the methods that its use
needs:

* ``init(input_dim, output_dim)``, if it has one, as soon as Sprint knows the dimensions (below 1
  where there are none).
* ``train(dataset)`` where Sprint delivers data: runs in a thread of its own until it returns, and
  takes epochs from the dataset. When it returns Sprint ends in order; an exception ends Sprint with
  status 1.
* ``forward(features, segment_name)`` where Sprint wants posteriors (target-mode forward-only or
  criterion-by-sprint, or a feature scorer). Runs in Sprint's thread.
* ``backward(loss, error_signal, natural_pairing_type)`` after each ``forward`` of
  criterion-by-sprint, or ``discard()``, if it has one, where Sprint drops the segment.
* ``exit()``, if it has one, at the end.

Methods that are missing are missed when Sprint first needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .errors import SprintError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .dataset_base import SprintDatasetBase

    class Engine(Protocol):
        """An engine with all methods.

        Attributes:
            dataset_options: of the `SprintDatasetBase` for ``train``, if it has any.
        """

        dataset_options: Mapping[str, Any]

        def init(self, input_dim: int, output_dim: int) -> None:
            """Sprint knows the dimensions."""

        def train(self, dataset: SprintDatasetBase) -> None:
            """Takes epochs from the dataset: ``init_seq_order(epoch)``, then its sequences."""

        def forward(
            self, features: NDArray[np.float32], segment_name: str | None
        ) -> NDArray[np.floating[Any]]:
            """(T, D) features to (T, L) log posteriors."""

        def backward(
            self,
            loss: float,
            error_signal: NDArray[np.float32],
            natural_pairing_type: str | None,
        ) -> None:
            """Takes loss and error signal (T, L) of the segment that was forwarded last.

            The error signal is the derivative by the posteriors, or, with "softmax", by what they
            are the softmax of.
            """

        def discard(self) -> None:
            """Sprint has dropped the segment that was forwarded last."""

        def exit(self) -> None:
            """The end."""


__all__ = ["call_if_there", "load_engine", "log_posteriors", "needed"]


def load_engine(config: Mapping[str, str]) -> Any:
    """The engine that a configuration names.

    Raises:
        ValueError: it names none.
        ImportError, AttributeError: there is no such class.
    """
    name = config.get("engine", "")
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(
            f"configuration {dict(config)}: expected engine:package.module:Class, found {name!r}"
        )
    return getattr(importlib.import_module(module), attribute)(dict(config))


def needed(engine: Any, method: str) -> Any:
    """A method of an engine. Raises SprintError where it has none."""
    found = getattr(engine, method, None)
    if found is None:
        raise SprintError(f"{type(engine).__name__} has no {method}, which Sprint needs here")
    return found


def call_if_there(engine: Any, method: str, *arguments: Any) -> None:
    """Calls a method that an engine need not have."""
    found = getattr(engine, method, None)
    if found is not None:
        found(*arguments)


def log_posteriors(
    engine: Any, features: NDArray[Any], segment_name: str | None, output_dim: int, shortest: int
) -> NDArray[np.float32]:
    """What an engine computes of a segment, checked.

    Args:
        engine: has ``forward``.
        features: (T, D).
        segment_name: or None where Sprint does not tell.
        output_dim: labels there must be.
        shortest: frames there must be, at least; at most as many as came.

    Returns:
        (T', output_dim) float32.

    Raises:
        SprintError: something else.
    """
    result = np.asarray(needed(engine, "forward")(features, segment_name), np.float32)
    if (
        result.ndim != 2
        or result.shape[1] != output_dim
        or not shortest <= len(result) <= len(features)
    ):
        frames = f"{shortest} to {len(features)}" if shortest < len(features) else shortest
        raise SprintError(
            f"{type(engine).__name__}.forward returns another shape than Sprint expects",
            segment=segment_name,
            expected=f"({frames}, {output_dim})",
            found=result.shape,
        )
    return result
