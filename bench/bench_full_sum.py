"""The full-sum loss and its gradient: ours, RETURNN's native op, ctc_loss of PyTorch.

Two batches: automata that Sprint exported, 300 frames and 79 labels; and CTC automata of random
labels, 19,000 frames. Results are compared before anything is timed, and ``--check`` does only
that: with sums in the log domain, PyTorch, RETURNN and k2. RETURNN's op compiles for about a minute
when it is first used; ``--no-returnn`` leaves it out. k2 runs in the interpreter that
SPRINTCACHE_K2_PYTHON names, since its wheels need an old PyTorch. On real automata ctc_loss is
there for scale: half as many labels as the automaton has states, so another loss.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, measure, note

AUTOMATA = Path(__file__).resolve().parent.parent / "tests/data/automata/hmm.npz"
NUM_LABELS = 79
REPEATS = 10  # a loss takes a few milliseconds
MACHINE_CALLS = 64  # of exponentials, for one thread
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

    name = f"ours, {threads} thread{'s' if threads > 1 else ''}"
    return Peer(name, lambda order: run, repeats=REPEATS)


def machine_peer(threads: int) -> Peer:
    """Exponentials of arrays that fit into a cache: what a second thread of this machine adds."""
    arrays = [np.full(1 << 15, 0.5) for _ in range(threads)]

    def work(array: Any) -> None:
        for _ in range(MACHINE_CALLS // threads):
            np.exp(array, out=array)
            np.negative(array, out=array)

    def run() -> object:
        others = [Thread(target=work, args=(array,)) for array in arrays[1:]]
        for thread in others:
            thread.start()
        work(arrays[0])
        for thread in others:
            thread.join()
        return arrays

    name = f"numpy's exp, {threads} thread{'s' if threads > 1 else ''}"
    return Peer(name, lambda order: run, repeats=REPEATS)


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

    name = f"ctc_loss, {threads} thread{'s' if threads > 1 else ''}"
    return Peer(name, plan, repeats=REPEATS)


def returnn_run(torch: ModuleType, op: ModuleType, problem: Problem) -> tuple[Any, Any]:
    """Losses of RETURNN's op and posteriors, which are minus its gradient."""
    automata = problem.automata
    mask = np.arange(len(problem.log_probs))[:, None] < problem.lengths[None]
    posteriors, scores = op.fast_baum_welch(
        am_scores=-torch.from_numpy(problem.log_probs),
        edges=torch.from_numpy(automata.edges.astype(np.int32)),
        weights=torch.from_numpy(automata.weights),
        start_end_states=torch.from_numpy(automata.start_end.astype(np.int32)),
        seq_mask=torch.from_numpy(mask),
    )
    return scores[0].numpy(), posteriors


def k2_results(python: str, problem: Problem, folder: Path, rounds: int) -> dict[str, np.ndarray]:
    """Losses, gradients and seconds of k2 in an interpreter that has it, see k2_peer.py."""
    from sprintcache.automata.export import k2_text

    automata, source, result = problem.automata, folder / "problem.npz", folder / "result.npz"
    graphs = [k2_text(automata, number) for number in range(len(automata))]
    np.savez(source, graphs=graphs, log_probs=problem.log_probs, lengths=problem.lengths)
    command = [python, str(Path(__file__).with_name("k2_peer.py")), str(source), str(result)]
    subprocess.run([*command, str(rounds)], check=True, timeout=600)
    with np.load(result) as arrays:
        return dict(arrays)


class Agreement:
    """Rows of a table: how far losses, and gradients by log probabilities, are apart."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    def add(
        self,
        peer: str,
        problem: str,
        losses: Any,
        expected: Any,
        tolerance: float,
        gradients: float | None = None,
    ) -> float:
        """Adds a row; raises unless losses agree. Returns the largest relative difference."""
        error = float(np.max(np.abs(losses - expected) / np.abs(expected)))
        if not error <= tolerance or (gradients is not None and not gradients <= 5e-3):
            raise AssertionError(f"{peer}: losses differ by {error:.2g}, gradients by {gradients}")
        shown = "" if gradients is None else f"{gradients:.1g}"
        self.rows.append([peer, problem, f"{error:.1g}", shown])
        return error


def log_domain_rows(agreement: Agreement, problems: dict[str, Problem]) -> float:
    """Compares with sums in the log domain; returns the difference of the last problem."""
    error = 0.0
    for name, problem in problems.items():
        loss = problem.automata.full_sum(problem.log_probs, problem.lengths).loss
        error = agreement.add("log domain, float64", name, loss, problem.expected(), TOLERANCE)
    return error


def ctc_row(torch: ModuleType, agreement: Agreement, problem: Problem) -> None:
    """Compares with ctc_loss in float64, gradients by what the log_softmax is of."""
    from sprintcache.torch import full_sum_loss

    logits = torch.from_numpy(problem.log_probs).double().requires_grad_()
    ours = full_sum_loss(logits.log_softmax(-1), problem.lengths, problem.automata)
    theirs = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1),
        torch.from_numpy(np.concatenate(problem.targets)),
        torch.from_numpy(problem.lengths),
        torch.tensor([len(labels) for labels in problem.targets]),
        reduction="none",
    )
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    (expected,) = torch.autograd.grad(theirs.sum(), logits)
    agreement.add(
        "ctc_loss of PyTorch, float64",
        "CTC, 96 frames",
        ours.detach().numpy(),
        theirs.detach().numpy(),
        TOLERANCE,
        float((gradient - expected).abs().max()),
    )


def returnn_rows(
    torch: ModuleType, op: ModuleType | None, agreement: Agreement, problems: dict[str, Problem]
) -> bool:
    """Compares with RETURNN's op; whether it could be compiled."""
    if op is None:
        agreement.rows.append(["RETURNN's op, float32", "", "not run", ""])
        return False
    for name, problem in problems.items():
        try:
            losses, posteriors = returnn_run(torch, op, problem)
        except Exception as error:  # it needs a compiler and ninja
            note(f"skipped: RETURNN's op ({error})")
            agreement.rows.append(["RETURNN's op, float32", name, "does not compile here", ""])
            return False
        ours = problem.automata.full_sum(problem.log_probs, problem.lengths)
        difference = np.abs(ours.posteriors - np.exp(-posteriors.numpy()))
        agreement.add(
            "RETURNN's op, float32", name, losses, ours.loss, 1e-4, float(difference.max())
        )
    return True


def k2_rows(
    agreement: Agreement, problems: dict[str, Problem], python: str | None, folder: Path
) -> list[float]:
    """Compares with k2 where there is an interpreter that has it; returns its seconds of a call for
    the first problem."""
    if python is None:
        agreement.rows.append(["k2", "", "not installed", ""])
        return []
    seconds = []
    for name, problem in problems.items():
        ours = problem.automata.full_sum(problem.log_probs, problem.lengths)
        results = k2_results(python, problem, folder, 3 if seconds else 7)
        seconds = seconds or results["seconds"].tolist()
        difference = float(np.abs(results["gradient"] + ours.posteriors).max())
        agreement.add("k2, float64 sums", name, results["loss"], ours.loss, 1e-5, difference)
    return seconds


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="compare the results, time nothing")
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
    problems = {"real, 300 frames": real, "real, 1000 frames": long}
    ctc = ctc_problem(sprintcache, 20 if args.quick else 200, args.seed)
    agreement = Agreement()
    error = log_domain_rows(agreement, problems)
    ctc_row(torch, agreement, ctc)
    has_op = returnn_rows(torch, op, agreement, problems)
    with harness.workspace(args) as folder:
        k2_seconds = k2_rows(agreement, problems, os.environ.get("SPRINTCACHE_K2_PYTHON"), folder)
    report.table(
        "how far others are from full_sum_loss",
        ["", "automata", "loss, relative", "gradient or posterior, absolute"],
        agreement.rows,
    )
    if args.check:
        report.finish()
        return
    peers = [ours_peer(torch, real, threads) for threads in (1, 2)]
    peers.append(ctc_peer(torch, real, 2))
    if has_op and op is not None:
        peers.append(Peer("RETURNN's op", lambda order: lambda: returnn_run(torch, op, real)))
    timings = measure(peers, real.lengths, min(rounds, 7) if has_op else rounds, args.seed)
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
        ).rstrip("; ")
        + (f"; k2, 2 threads {np.median(k2_seconds) * 1e3:.0f} ms" if k2_seconds else ""),
    )
    report.figure(
        "full_sum_error",
        "relative error of the loss at 1,000 frames",
        "at most 1e-6",
        error * 1e12,
        error <= TOLERANCE,
        "e-12",
    )

    report.say(
        f"{len(ctc.automata)} CTC automata, {int(ctc.lengths.sum())} frames,"
        f" {ctc.automata.num_edges} edges"
    )
    peers = [ours_peer(torch, ctc, 1), ours_peer(torch, ctc, 2)]
    peers += [ctc_peer(torch, ctc, 1), ctc_peer(torch, ctc, 2)]
    peers += [machine_peer(1), machine_peer(2)]
    timings = measure(peers, ctc.lengths, rounds, args.seed)
    shown = {name: timing for name, timing in timings.items() if not name.startswith("numpy")}
    report.timings("CTC automata: loss and gradient", shown, "ours, 1 thread")
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
        remark="; ".join(
            f"{name} {timings[f'{name}, 1 thread'].ratio(timings[f'{name}, 2 threads']):.2f} times"
            for name in ("ctc_loss", "numpy's exp")
        ),
    )
    report.finish()


if __name__ == "__main__":
    main()
