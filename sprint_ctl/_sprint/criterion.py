"""Loss and error signal of one segment, from Sprint's callback.

Sprint has two criteria (sprint-interface.md, sections 2 and 9). The key ``criterion`` of the
configuration selects one, otherwise what Sprint extracts for the segment does:

* ``cross-entropy``, with an alignment: probabilities, the alignment as float32 (Sprint's check
  demands it), ``output_error_type="error-signal-before-softmax"``
* ``ctc``, without: log posteriors, the orthography as str, ``output_error_type="error-signal"``;
  the criterion that Sprint had until April 2025
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["CRITERIA", "loss_by_callback", "loss_by_name", "skipped"]

CRITERIA = ("cross-entropy", "ctc")


def loss_by_callback(
    callback: Callable[..., Any],
    name: str,
    log_posteriors: NDArray[np.float32],
    *,
    orthography: str | bytes | None = None,
    alignment: NDArray[Any] | None = None,
    criterion: str | None = None,
) -> tuple[float, NDArray[np.float32]]:
    """Loss and error signal of a segment, (time, label) float32; `skipped` if Sprint discards it.

    Args:
        callback: Sprint's.
        name: of the segment.
        log_posteriors: (time, label) float32.
        orthography: UTF-8 where bytes.
        alignment: label of each frame, or None.
        criterion: one of `CRITERIA`; None: cross-entropy if the segment has an alignment, else ctc.

    Raises:
        ValueError: Sprint did not extract what the criterion needs, or its answer has another
            shape.
    """
    if criterion is None:
        criterion = "ctc" if alignment is None else "cross-entropy"
    if criterion == "cross-entropy":
        if alignment is None:
            raise ValueError(f"segment {name!r}: no alignment, see --*.extract-alignments")
        _check_alignment(name, alignment, log_posteriors.shape)
        answer = callback(
            "calculate_criterion",
            posteriors=np.exp(log_posteriors).T,
            alignment=np.asarray(alignment, np.float32),
            output_error_type="error-signal-before-softmax",
            segment_name=name,
        )
    else:
        if orthography is None:
            raise ValueError(f"segment {name!r}: neither alignment nor orthography")
        if np.isnan(log_posteriors[0, 0]):  # Sprint checks this one, and aborts
            raise ValueError(f"segment {name!r}: the posteriors are not numbers (nan)")
        text = orthography.decode("utf-8") if isinstance(orthography, bytes) else orthography
        answer = callback(
            "calculate_criterion",
            posteriors=log_posteriors.T,
            orthography=text,
            output_error_type="error-signal",
            segment_name=name,
        )
    loss, error_signal = answer
    if loss is None or error_signal is None:
        return skipped(log_posteriors)
    if error_signal.shape != log_posteriors.shape[::-1]:
        raise ValueError(
            f"segment {name!r}: error signal of shape {error_signal.shape},"
            f" expected {log_posteriors.shape[::-1]}"
        )
    return float(loss), np.asarray(error_signal.T, np.float32)


def _check_alignment(name: str, alignment: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Sprint aborts on another length, and reads out of bounds for a class out of range."""
    if alignment.shape != shape[:1]:
        raise ValueError(
            f"segment {name!r} differs in length between Sprint and the trainer:"
            f" {alignment.shape[0]} aligned frames, {shape[0]} posteriors"
        )
    if alignment.size and int(alignment.max()) >= shape[1]:
        raise ValueError(
            f"segment {name!r}: class {alignment.max()} in Sprint's alignment, and the trainer has"
            f" {shape[1]} labels"
        )


def loss_by_name(
    callback: Callable[..., Any],
    name: str,
    log_posteriors: NDArray[np.float32],
    *,
    criterion: str | None = None,
) -> tuple[float, NDArray[np.float32]]:
    """The same where Sprint does not visit its segments: asks Sprint for the orthography."""
    orthography = None
    if criterion != "cross-entropy":
        orthography = callback("get_orthography_by_segment_name", name)
    return loss_by_callback(
        callback, name, log_posteriors, orthography=orthography, criterion=criterion
    )


def skipped(log_posteriors: NDArray[Any]) -> tuple[float, NDArray[np.float32]]:
    """Loss and error signal of a segment that Sprint discards: infinite loss, no gradient."""
    return float("inf"), np.zeros(log_posteriors.shape, np.float32)
