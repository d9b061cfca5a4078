"""The loss of Sprint processes in PyTorch: the successor of SprintErrorSigOp.

Sprint's error signal is the derivative by what the posteriors are the softmax of
(sprint-interface.md, section 2). It sums to zero over the labels of a frame, so log_softmax passes
it on as it is, and it serves as the gradient at its output, the log posteriors.
``torch.nn.functional.ctc_loss`` keeps to the same convention. Anything else that gives log
posteriors, unnormalized scores say, would get a wrong gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("PyTorch is missing: pip install 'sprintcache[torch]'") from error

from ._trainer.pool import SprintInstancePool

__all__ = ["full_sum_automata", "sprint_loss"]


class _SprintLoss(torch.autograd.Function):  # type: ignore[misc]
    """Computes losses and, in the same request, what their gradient will be."""

    @staticmethod
    def forward(
        ctx: Any,
        log_posteriors: torch.Tensor,
        seq_lengths: Any,
        tags: Any,
        pool: SprintInstancePool,
    ) -> torch.Tensor:
        posteriors = log_posteriors.detach().to("cpu", torch.float32).numpy()
        loss, error_signal = pool.get_batch_loss_and_error_signal(posteriors, seq_lengths, tags)
        if ctx.needs_input_grad[0]:
            ctx.dtype = log_posteriors.dtype
            ctx.save_for_backward(torch.from_numpy(error_signal).to(log_posteriors.device))
        return torch.from_numpy(loss).to(log_posteriors.device)

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True; it would be taken as a constant
            raise RuntimeError("Sprint's loss has no second derivative: no create_graph=True here")
        (error_signal,) = ctx.saved_tensors
        # in float32: half precision has neither the range for the factor of loss scaling nor the
        # digits for small error signals
        gradient = error_signal * scale.to(error_signal.dtype)[None, :, None]
        return gradient.to(ctx.dtype), None, None, None


def sprint_loss(
    log_posteriors: torch.Tensor, seq_lengths: Any, tags: Any, sprint_opts: Mapping[str, Any]
) -> torch.Tensor:
    """Loss of each sequence, with Sprint's error signal as gradient.

    Sprint computes in float32 on the CPU. All calls with the same options share one pool of Sprint
    processes, which is started by the first; its ``close`` ends them.

    Args:
        log_posteriors: (time, batch, label), output of a log_softmax; any floating dtype, device
            and strides; or such an array or nested lists, which get no gradient. Frames beyond the
            length of a sequence may hold anything and get no gradient.
        seq_lengths: (batch,) integers: a tensor on any device, an array or a list.
        tags: names of the segments, as for
            `SprintInstancePool.get_batch_loss_and_error_signal`.
        sprint_opts: options of `sprint_ctl.error_signals.SprintInstancePool`.

    Returns:
        (batch,) float32 on the device of the posteriors; infinite, without gradient, for a segment
        that Sprint discards or that is skipped (``on_failure="skip"``).

    Raises:
        TypeError: posteriors that are not floating numbers.
        ValueError: shapes that do not fit, or a sequence without frames.
        SprintError: see `SprintInstancePool.get_batch_loss_and_error_signal`.
    """
    if not isinstance(log_posteriors, torch.Tensor):
        array = np.asarray(log_posteriors)
        if array.dtype.kind != "f":
            raise TypeError(f"log posteriors must be floating numbers, not {array.dtype}")
        # torch takes neither any strides nor any byte order
        log_posteriors = torch.from_numpy(np.array(array, np.float32))
    if not log_posteriors.is_floating_point():
        raise TypeError(f"log posteriors must be floating numbers, not {log_posteriors.dtype}")
    if isinstance(seq_lengths, torch.Tensor):
        seq_lengths = seq_lengths.detach().cpu().numpy()
    pool = SprintInstancePool.get_global_instance(sprint_opts)
    loss: torch.Tensor = _SprintLoss.apply(log_posteriors, seq_lengths, tags, pool)
    return loss


def full_sum_automata(
    tags: Any, sprint_opts: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Automata of allophone states of a batch, joined into one, on the CPU.

    Args:
        tags: names of the segments, as for `SprintInstancePool.get_automata_for_batch`.
        sprint_opts: options of `sprint_ctl.error_signals.SprintInstancePool`; Sprint has to run its
            control loop (``--*.action=python-control``).

    Returns:
        edges (4, E) int32, rows: from, to, emission, sequence; weights (E,) float32, -log
        probabilities; start and end state of each sequence (2, batch) int32.

    Raises:
        ValueError: no tags.
        SprintError: see `SprintInstancePool.get_automata_for_batch`.
    """
    pool = SprintInstancePool.get_global_instance(sprint_opts)
    edges, weights, start_end = pool.get_automata_for_batch(tags)
    return (
        torch.from_numpy(edges.view(np.int32)),
        torch.from_numpy(weights),
        torch.from_numpy(start_end.view(np.int32)),
    )
