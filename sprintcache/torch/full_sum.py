"""full_sum_loss: the sum over all paths of automata as a loss in PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sprintcache.automata import Automata, _full_sum
from sprintcache.automata.full_sum import check_labels, compute

__all__ = ["full_sum_loss"]

_MIN_LABELS = 512  # below, rows are read in place where they can be
_MIN_UNUSED = 4  # labels for each label in use, from which only those in use are copied


def full_sum_loss(
    log_probs: torch.Tensor,
    lengths: Any,
    automata: Automata,
    *,
    batch_first: bool = False,
    label_scale: float = 1.0,
    transition_scale: float = 1.0,
    zero_infinity: bool = False,
    on_no_path: str = "inf",
    num_threads: int | None = None,
) -> torch.Tensor:
    """Returns the full-sum (Baum-Welch) loss of each sequence.

    The loss is the negative logarithm of the sum over all paths of the automaton with one edge per
    frame; a path scores `label_scale` times the log probabilities of its labels minus
    `transition_scale` times its weights. Its gradient by the log probabilities is
    ``-label_scale`` times the posteriors of the labels, scaled by the incoming gradient of
    the loss; forward and backward passes are computed at once, and again for a further backward
    pass of a retained graph. This is the derivative of
    the formula itself; `torch.nn.functional.ctc_loss` returns that gradient plus the exponential of
    its input, which is the same only where the input comes from a log_softmax.

    Log probabilities need not be normalized: subtract a scaled log prior, or pass logits. The sums
    run on the CPU in float64. Of tensors on other devices, and of half precision, only the labels
    that the automata use are copied, through pinned memory; the copy waits for the stream that
    computes the log probabilities and for nothing else.

    Args:
        log_probs: (T, B, L) natural logarithms, any floating dtype, device and strides. Frames
            beyond the length of a sequence are not read and get no gradient.
        lengths: (B,) integers: a tensor, an array or a list.
        automata: B automata.
        batch_first: whether `log_probs` is (B, T, L).
        label_scale: factor of log probabilities, 0 or more.
        transition_scale: factor of weights, 0 or more.
        zero_infinity: whether a sequence without a path counts 0 instead of inf.
        on_no_path: "inf", or "raise" for an error that names the sequence.
        num_threads: threads to share the sequences; None for `torch.get_num_threads()`.

    Returns:
        (B,) losses on the device of `log_probs`, float32, or float64 for such input. A sequence
        without a path of its length has loss inf and no gradient.

    Raises:
        TypeError: for another kind of numbers or of automata.
        ValueError: for shapes, lengths or options out of range.
        AutomatonError: for a label that `log_probs` does not have, a log probability of NaN or
            +inf, or, with `on_no_path="raise"`, a sequence without a path; names the sequence.
        RuntimeError: in the backward pass with ``create_graph=True``: there is no second
            derivative.
    """
    function = _uncompiled() if "torch._dynamo" in sys.modules else _full_sum_loss
    loss: torch.Tensor = function(
        log_probs,
        lengths,
        automata,
        batch_first,
        zero_infinity,
        label_scale=label_scale,
        transition_scale=transition_scale,
        on_no_path=on_no_path,
        num_threads=torch.get_num_threads() if num_threads is None else num_threads,
    )
    return loss


_uncompiled_loss: Callable[..., torch.Tensor] | None = None


def _uncompiled() -> Callable[..., torch.Tensor]:
    """The computation as a graph break: torch.compile would translate its numpy calls."""
    global _uncompiled_loss  # not functools.cache, of which torch.compile warns
    if _uncompiled_loss is None:
        _uncompiled_loss = torch.compiler.disable(_full_sum_loss)
    return _uncompiled_loss


def _full_sum_loss(
    log_probs: torch.Tensor,
    lengths: Any,
    automata: Automata,
    batch_first: bool,
    zero_infinity: bool,
    **options: Any,
) -> torch.Tensor:
    if not isinstance(log_probs, torch.Tensor) or not log_probs.is_floating_point():
        kind = log_probs.dtype if isinstance(log_probs, torch.Tensor) else type(log_probs).__name__
        raise TypeError(f"log_probs must be a tensor of floating numbers, not {kind}")
    if log_probs.ndim != 3:
        raise ValueError(f"log_probs must have 3 axes, not shape {tuple(log_probs.shape)}")
    if not isinstance(automata, Automata):
        raise TypeError(f"automata must be Automata, not {type(automata).__name__}")
    if isinstance(lengths, torch.Tensor):
        lengths = lengths.detach().cpu().numpy()
    lengths = np.array(lengths)  # a copy, since a retained graph may be computed again
    with_gradient = torch.is_grad_enabled() and log_probs.requires_grad
    time_major = log_probs.transpose(0, 1) if batch_first else log_probs
    loss: torch.Tensor = _FullSumLoss.apply(time_major, lengths, automata, with_gradient, options)
    if zero_infinity:
        loss = torch.where(loss == torch.inf, torch.zeros_like(loss), loss)
    return loss


class _FullSumLoss(torch.autograd.Function):  # type: ignore[misc]
    """Computes losses and, in the same call, their gradient by the log probabilities.

    The gradient belongs to the first backward pass, which scales it in place. A further one, of a
    retained graph, computes it again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: torch.Tensor,
        lengths: Any,
        automata: Automata,
        with_gradient: bool,
        options: dict[str, Any],
    ) -> torch.Tensor:
        loss, gradient, columns = _compute(log_probs, lengths, automata, with_gradient, options)
        if with_gradient:
            ctx.save_for_backward(log_probs)
            ctx.arguments = lengths, automata, with_gradient, options
            ctx.loss = loss
            ctx.gradient = gradient
            ctx.columns = columns
            ctx.num_labels = log_probs.shape[2]
            ctx.dtype = log_probs.dtype
        if log_probs.dtype != torch.float64:
            loss = loss.astype(np.float32)
        result = torch.from_numpy(loss)
        return result if log_probs.device.type == "cpu" else result.to(log_probs.device)

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True would take the gradient as a constant
            raise RuntimeError(
                "full_sum_loss has no second derivative: call backward without create_graph=True"
            )
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            (log_probs,) = ctx.saved_tensors
            _, gradient, _ = _compute(log_probs, *ctx.arguments)
        _scale(gradient, scale, ctx.loss, ctx.arguments[-1]["num_threads"])
        gradient = gradient.to(ctx.dtype)
        if ctx.columns is not None:
            columns = torch.from_numpy(ctx.columns).to(gradient.device)
            shape = (*gradient.shape[:2], ctx.num_labels)
            gradient = gradient.new_zeros(shape).index_copy_(2, columns, gradient)
        return gradient, None, None, None, None


def _compute(
    log_probs: torch.Tensor,
    lengths: Any,
    automata: Automata,
    with_gradient: bool,
    options: dict[str, Any],
) -> tuple[Any, torch.Tensor | None, Any]:
    """Returns losses, (B,) float64 in numpy; their gradient, (T, B, L) on the device of the log
    probabilities, or None; and the labels that are its last axis, None for all."""
    columns = _columns(log_probs, automata)
    scores = _to_cpu(log_probs.detach(), columns)
    labels = automata.edges[2]
    if columns is not None:
        position = np.zeros(log_probs.shape[2], np.uint32)
        position[columns] = np.arange(columns.size, dtype=np.uint32)
        labels = position[labels]
    gradient = None
    if with_gradient:
        gradient = torch.empty_like(scores, pin_memory=log_probs.is_cuda)
    loss, _, _ = compute(
        automata,
        labels,
        scores.numpy(),
        lengths,
        posteriors=None if gradient is None else gradient.numpy(),
        label_names=columns,
        posterior_factor=-options["label_scale"],
        **options,
    )
    if gradient is not None and log_probs.is_cuda:
        gradient = gradient.to(log_probs.device, non_blocking=True)
    return loss, gradient, columns


def _columns(log_probs: torch.Tensor, automata: Automata) -> Any:
    """Returns the labels in use, int64, or None where all of `log_probs` can be read in place."""
    num_labels = log_probs.shape[2]
    readable = log_probs.device.type == "cpu" and log_probs.dtype in (torch.float32, torch.float64)
    if readable and num_labels < _MIN_LABELS:
        return None
    check_labels(automata, num_labels)
    used = np.zeros(num_labels, bool)
    used[automata.edges[2]] = True
    columns = np.flatnonzero(used)
    return None if readable and columns.size * _MIN_UNUSED > num_labels else columns


def _to_cpu(log_probs: torch.Tensor, columns: Any) -> torch.Tensor:
    """Returns log probabilities of some columns in the memory of the CPU, float32 or float64."""
    dtype = torch.float64 if log_probs.dtype == torch.float64 else torch.float32
    if columns is None:
        return log_probs
    chosen = log_probs.index_select(2, torch.from_numpy(columns).to(log_probs.device)).to(dtype)
    if not chosen.is_cuda:
        return chosen.cpu()
    pinned = torch.empty_like(chosen, device="cpu", pin_memory=True)
    pinned.copy_(chosen, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(chosen.device))
    done.synchronize()
    return pinned


def _scale(gradient: torch.Tensor, scale: torch.Tensor, loss: Any, num_threads: int) -> None:
    """Multiplies a (T, B, L) gradient in place by (B,) scales; that of sequences without a path
    stays 0, even for a scale of NaN or inf."""
    if gradient.device.type == "cpu":
        _full_sum.scale(gradient.numpy(), scale.numpy(), loss, num_threads)
        return
    scale = torch.where(torch.from_numpy(np.isfinite(loss)).to(scale.device), scale, 1)
    gradient.mul_(scale.to(gradient.dtype)[None, :, None])
