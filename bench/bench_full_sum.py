"""The full-sum loss and its gradient: ours, RETURNN's native op, ctc_loss of PyTorch.

Two batches: automata that Sprint exported, 300 frames and 79 labels; and CTC automata of random
labels, 19,000 frames. Losses are checked before anything is timed: against sums in the log domain
in float64, and, of CTC, against PyTorch. RETURNN's op compiles for about a minute when it is first
used; ``--no-returnn`` leaves it out. On real automata ctc_loss stands for scale: labels as many as
the automaton has frames at least, so another loss.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, measure, note

AUTOMATA = Path(__file__).resolve().parent.parent / "tests/data/automata/hmm.npz"
NUM_LABELS = 79
TOLERANCE = 1e-6  # relative, of the loss


class Problem:
    """A batch: automata, log probabilities and lengths, and label sequences for ctc_loss."""

    def __init__(self, automata: Any, targets: list[Any], lengths: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(int(lengths.max()), len(automata), NUM_LABELS)) * 2
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        self.automata = automata
        self.log_probs = logits.astype(np.float32)
        self.lengths = lengths
        self.targets = targets

    def expected(self) -> np.ndarray:
        """Losses by a forward pass in the log domain, float64."""
        losses = []
        for number, sequence in enumerate(self.automata):
            source, target, label, _ = sequence.edges.astype(np.int64)
            start, end = sequence.start_end[:, 0].tolist()
            forward = np.full(int(sequence.edges[:2].max()) + 1, -np.inf)
            forward[start] = 0
            for scores in self.log_probs[: self.lengths[number], number].astype(np.float64):
                after = np.full(len(forward), -np.inf)
                terms = forward[source] + scores[label] - sequence.weights
                np.logaddexp.at(after, target, terms)
                forward = after
            losses.append(-forward[end])
        return np.array(losses)


def real_problem(sprintcache: ModuleType, num_frames: int, seed: int) -> Problem:
    """Ten automata that Sprint exported, of 54 to 246 states."""
    with np.load(AUTOMATA) as arrays:
        automata = sprintcache.automata.Automata.from_edges(
            arrays["edges"], arrays["weights"], arrays["start_end"]
        )
    low, high = automata.state_ranges
    sizes = high - low + 1
    chosen = [i for i in np.argsort(sizes).tolist() if sizes[i] <= 264][-10:]
    rng = np.random.default_rng(seed)
    targets = [rng.integers(1, NUM_LABELS, int(sizes[i]) // 2) for i in chosen]
    return Problem(automata[chosen], targets, np.full(len(chosen), num_frames), seed)


def ctc_problem(sprintcache: ModuleType, num_sequences: int, seed: int) -> Problem:
    """CTC automata of 51 labels and 95 or 96 frames, blank 0."""
    rng = np.random.default_rng(seed)
    edges, start_end, targets, first = [], [], [], 0
    for sequence in range(num_sequences):
        labels = rng.integers(1, NUM_LABELS, 51)
        symbols = np.zeros(2 * len(labels) + 1, np.int64)
        symbols[1::2] = labels
        last = len(symbols) + 1
        for s, symbol in enumerate(symbols.tolist()):
            sources = [0] if s < 2 else []
            sources += [s + 1, s] if s else [s + 1]
            if s >= 2 and symbol and symbol != symbols[s - 2]:
                sources.append(s - 1)
            heads = [s + 1, last] if s >= len(symbols) - 2 else [s + 1]
            edges += [
                (first + t, first + h, symbol, sequence)
                for t in dict.fromkeys(sources)
                for h in heads
            ]
        start_end.append((first, first + last))
        targets.append(labels)
        first += last + 1
    automata = sprintcache.automata.Automata.from_edges(
        np.array(edges).T, np.zeros(len(edges)), np.array(start_end).T
    )
    lengths = np.where(np.arange(num_sequences) % 2, 96, 95)
    return Problem(automata, targets, lengths, seed)


def ours_peer(torch: ModuleType, problem: Problem, threads: int) -> Peer:
    from sprintcache.torch import full_sum_loss

    log_probs = torch.from_numpy(problem.log_probs).requires_grad_()

    def run() -> object:
        log_probs.grad = None
        full_sum_loss(
            log_probs, problem.lengths, problem.automata, num_threads=threads
        ).sum().backward()
        return log_probs.grad

    return Peer(f"ours, {threads} thread{'s' if threads > 1 else ''}", lambda order: run)


def ctc_peer(torch: ModuleType, problem: Problem, threads: int) -> Peer:
    log_probs = torch.from_numpy(problem.log_probs).requires_grad_()
    targets = torch.from_numpy(np.concatenate(problem.targets))
    sizes = torch.tensor([len(labels) for labels in problem.targets])
    lengths = torch.from_numpy(problem.lengths)

    def plan(order: Order) -> Run:
        torch.set_num_threads(threads)

        def run() -> object:
            log_probs.grad = None
            torch.nn.functional.ctc_loss(
                log_probs, targets, lengths, sizes, reduction="sum"
            ).backward()
            return log_probs.grad

        return run

    return Peer(f"ctc_loss, {threads} thread{'s' if threads > 1 else ''}", plan)


def returnn_losses(torch: ModuleType, op: ModuleType, problem: Problem) -> Any:
    """Losses of RETURNN's op and, as its gradient, posteriors."""
    automata = problem.automata
    mask = np.arange(len(problem.log_probs))[:, None] < problem.lengths[None]
    _, scores = op.fast_baum_welch(
        am_scores=-torch.from_numpy(problem.log_probs),
        edges=torch.from_numpy(automata.edges.astype(np.int32)),
        weights=torch.from_numpy(automata.weights),
        start_end_states=torch.from_numpy(automata.start_end.astype(np.int32)),
        seq_mask=torch.from_numpy(mask),
    )
    return scores[0].numpy()


def check(report: Report, name: str, found: Any, expected: np.ndarray, tolerance: float) -> float:
    """Raises unless losses agree; returns the largest relative difference."""
    error = float(np.max(np.abs(found - expected) / np.abs(expected)))
    if not error <= tolerance:
        raise AssertionError(f"{name}: relative difference {error:.2g} of a loss")
    report.say(f"equal: {name}, relative difference at most {error:.1g}")
    return error


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--no-returnn", action="store_true", help="leave out RETURNN's op")
    args = parser.parse_args()
    torch = harness.optional("torch")
    sprintcache = harness.ours(args)
    report = Report("full_sum", args, sprintcache)
    if torch is None or sprintcache is None:
        report.finish()
        return
    import sprintcache.automata

    rounds = args.rounds or (3 if args.quick else 31)
    op = None if args.no_returnn or args.quick else harness.optional("returnn.torch.util.native_op")

    real = real_problem(sprintcache, 300, args.seed)
    long = real_problem(sprintcache, 1000, args.seed)
    error = 0.0
    for problem, frames in ((real, 300), (long, 1000)):
        loss = problem.automata.full_sum(problem.log_probs, problem.lengths).loss
        error = check(report, f"real, {frames} frames", loss, problem.expected(), TOLERANCE)
    peers = [ours_peer(torch, real, threads) for threads in (1, 2)]
    peers.append(ctc_peer(torch, real, 2))
    if op is not None:
        try:
            losses = returnn_losses(torch, op, real)
            check(report, "RETURNN's op", losses, real.expected(), 1e-4)
            peers.append(
                Peer("RETURNN's op", lambda order: lambda: returnn_losses(torch, op, real))
            )
        except Exception as problem_of_peer:  # it needs a compiler and ninja
            note(f"skipped: RETURNN's op ({problem_of_peer})")
    timings = measure(peers, real.lengths, min(rounds, 7) if op else rounds, args.seed)
    report.timings(
        "10 real automata, 300 frames, 79 labels: loss and gradient", timings, "ours, 2 threads"
    )
    milliseconds = float(np.median(timings["ours, 2 threads"].seconds)) * 1e3
    report.figure(
        "full_sum_real",
        "loss and gradient of 10 real automata x 300 frames, 2 threads",
        "at most 3 ms",
        milliseconds,
        milliseconds <= 3,
        " ms",
        remark="".join(
            f"{name} {np.median(timing.seconds) * 1e3:.0f} ms; "
            for name, timing in timings.items()
            if not name.startswith("ours")
        ).rstrip("; "),
    )
    report.figure(
        "full_sum_error",
        "relative error of the loss at 1,000 frames",
        "at most 1e-6",
        error * 1e12,
        error <= TOLERANCE,
        "e-12",
    )

    ctc = ctc_problem(sprintcache, 20 if args.quick else 200, args.seed)
    loss = ctc.automata.full_sum(ctc.log_probs, ctc.lengths).loss
    theirs = torch.nn.functional.ctc_loss(
        torch.from_numpy(ctc.log_probs).double(),
        torch.from_numpy(np.concatenate(ctc.targets)),
        torch.from_numpy(ctc.lengths),
        torch.tensor([len(labels) for labels in ctc.targets]),
        reduction="none",
    )
    check(report, "ctc_loss of PyTorch", loss, theirs.numpy(), TOLERANCE)
    report.say(
        f"{len(ctc.automata)} CTC automata, {int(ctc.lengths.sum())} frames,"
        f" {ctc.automata.num_edges} edges"
    )
    peers = [ours_peer(torch, ctc, 1), ours_peer(torch, ctc, 2)]
    peers += [ctc_peer(torch, ctc, 1), ctc_peer(torch, ctc, 2)]
    timings = measure(peers, ctc.lengths, rounds, args.seed)
    report.timings("CTC automata: loss and gradient", timings, "ours, 1 thread")
    one, two = (timings[f"ours, {name}"] for name in ("1 thread", "2 threads"))
    milliseconds = float(np.median(one.seconds)) * 1e3
    speedup = one.ratio(two)
    report.figure(
        "full_sum_ctc",
        "loss and gradient of 200 CTC automata, 19,000 frames, 1 thread",
        "at most 25 ms",
        milliseconds,
        milliseconds <= 25,
        " ms",
    )
    report.figure(
        "full_sum_threads",
        "the same with 2 threads",
        "at least 1.8 times as fast",
        speedup,
        speedup >= 1.8 if (os.cpu_count() or 1) > 1 else None,
        " times",
    )
    report.finish()


if __name__ == "__main__":
    main()
