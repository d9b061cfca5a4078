"""full_sum_loss in PyTorch: gradients, peers, dtypes, layouts, devices, torch.compile."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sprintcache import AutomatonError
from sprintcache.automata import Automata
from tests.oracle.full_sum import log_domain
from tests.paths import DATA
from tests.sprintcache.test_full_sum import real_automata

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from sprintcache.torch import full_sum, full_sum_loss  # noqa: E402

# a loop with two labels, parallel edges, and a sequence with fewer frames
SMALL = Automata.from_edges(
    [[0, 0, 1, 1, 1, 2, 3, 3], [0, 1, 1, 2, 2, 2, 3, 4], [0, 1, 1, 2, 2, 2, 0, 1],
     [0] * 6 + [1] * 2],
    [0.1, 0.2, 0.3, 0.1, 0.4, 0.0, 0.5, 0.2],
    [[0, 3], [2, 4]],
    tags=["corpus/a", "corpus/b"],
)  # fmt: skip


def ctc_automata(labels: list[list[int]]) -> Automata:
    """The automata of CTC for label sequences, label 0 as blank."""
    edges, start_end, first = [], [], 0
    for sequence, targets in enumerate(labels):
        symbols = [0] * (2 * len(targets) + 1)
        symbols[1::2] = targets
        last = len(symbols)
        for s, symbol in enumerate(symbols):
            sources = [0] if s < 2 else []
            sources += [s + 1, s] if s else [s + 1]
            if s >= 2 and symbol != 0 and symbol != symbols[s - 2]:
                sources.append(s - 1)
            for source in sources:
                edges.append((first + source, first + s + 1, symbol, sequence))
                if s >= last - 2:  # a single end state, entered by copies
                    edges.append((first + source, first + last + 1, symbol, sequence))
        start_end.append((first, first + last + 1))
        first += last + 2
    return Automata.from_edges(np.array(edges).T, np.zeros(len(edges)), np.array(start_end).T)


def real_batch(num_frames: int, num_labels: int) -> tuple[Automata, Any, Any]:
    automata = real_automata(DATA / "automata" / "hmm.npz")
    torch.manual_seed(1)
    logits = torch.randn(num_frames, len(automata), num_labels, dtype=torch.float64) * 2
    lengths = torch.randint(num_frames // 2, num_frames + 1, (len(automata),))
    return automata, logits, lengths


@pytest.mark.parametrize("num_labels", [4, 40], ids=["in place", "labels in use copied"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_gradcheck(num_labels: int, batch_first: bool) -> None:
    torch.manual_seed(2)
    shape = (2, 5, num_labels) if batch_first else (5, 2, num_labels)
    log_probs = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def loss(scores: Any) -> Any:
        return full_sum_loss(
            scores, [5, 3], SMALL, batch_first=batch_first, label_scale=0.7, transition_scale=0.3
        )

    assert torch.autograd.gradcheck(loss, (log_probs,))


def test_ctc_loss_of_pytorch() -> None:
    """After a log_softmax both conventions of the gradient are the same."""
    torch.manual_seed(3)
    labels = [[3, 3, 1], [2], [5, 4, 4, 4, 1, 2]]
    lengths = torch.tensor([9, 1, 14])
    logits = torch.randn(15, 3, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([label for sequence in labels for label in sequence])
    counts = torch.tensor([len(sequence) for sequence in labels])
    scale = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    theirs = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1), targets, lengths, counts, reduction="none"
    )
    (expected,) = torch.autograd.grad((theirs * scale).sum(), logits)
    ours = full_sum_loss(logits.log_softmax(-1), lengths, ctc_automata(labels))
    (actual,) = torch.autograd.grad((ours * scale).sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_the_formula() -> None:
    """Autograd through a log-domain forward pass on tensors, for real automata."""
    automata, logits, lengths = real_batch(40, 80)
    automata, logits, lengths = automata[:9], logits[:, :9].contiguous(), lengths[:9]
    logits.requires_grad_()
    losses = []
    for number, sequence in enumerate(automata):
        source, target, label, _ = torch.from_numpy(sequence.edges.astype(np.int64))
        weights = torch.from_numpy(sequence.weights).double()
        grid = torch.full((int(target.max()) + 1, len(target)), -1e6, dtype=torch.float64)
        forward = grid[:, 0].clone()
        forward[int(sequence.start_end[0, 0])] = 0
        for frame in range(int(lengths[number])):
            terms = forward[source] + 0.5 * logits[frame, number, label] - 0.2 * weights
            forward = grid.index_put((target, torch.arange(len(target))), terms).logsumexp(1)
        losses.append(-forward[int(sequence.start_end[1, 0])])
    expected = torch.stack(losses)
    possible = expected < 1e4
    assert 3 < possible.sum() < len(automata)
    scale = torch.linspace(-1, 2, len(automata), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((expected * scale)[possible].sum(), logits)
    loss = full_sum_loss(logits, lengths, automata, label_scale=0.5, transition_scale=0.2)
    (actual,) = torch.autograd.grad((loss * scale)[possible].sum(), logits)
    torch.testing.assert_close(loss[possible], expected[possible], rtol=1e-11, atol=1e-11)
    assert loss[~possible].isinf().all()
    torch.testing.assert_close(actual, gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes(dtype: str) -> None:
    automata, logits, lengths = real_batch(100, 80)
    kind = getattr(torch, dtype)
    log_probs = logits.log_softmax(-1).to(kind).requires_grad_()
    loss = full_sum_loss(log_probs, lengths, automata)
    loss[loss.isfinite()].sum().backward()
    exact = log_probs.detach().double().requires_grad_()
    expected = full_sum_loss(exact, lengths, automata)
    expected[expected.isfinite()].sum().backward()
    assert loss.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert log_probs.grad.dtype == kind
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    torch.testing.assert_close(log_probs.grad.double(), exact.grad, rtol=tolerance, atol=1e-6)


def test_many_labels_give_the_same_as_few() -> None:
    automata, logits, lengths = real_batch(100, 80)
    wide = torch.randn(100, len(automata), 1000, dtype=torch.float64)
    wide[:, :, :80] = logits
    wide.requires_grad_()
    logits.requires_grad_()
    few, many = (full_sum_loss(scores, lengths, automata) for scores in (logits, wide))
    assert torch.equal(few, many)
    (expected,) = torch.autograd.grad(few[few.isfinite()].sum(), logits)
    (actual,) = torch.autograd.grad(many[many.isfinite()].sum(), wide)
    assert torch.equal(actual[:, :, :80], expected)
    assert not actual[:, :, 80:].any()


def test_no_path() -> None:
    log_probs = torch.zeros(5, 2, 3, requires_grad=True)
    loss = full_sum_loss(log_probs, [5, 0], SMALL)
    assert loss.isinf().tolist() == [False, True]
    loss.sum().backward()
    assert log_probs.grad[:, 0].any()
    assert not log_probs.grad[:, 1].any()
    zeroed = full_sum_loss(log_probs, [5, 0], SMALL, zero_infinity=True)
    assert zeroed.tolist() == [loss[0].item(), 0]
    log_probs.grad = None
    zeroed.mean().backward()
    assert log_probs.grad.isfinite().all()
    with pytest.raises(AutomatonError, match=r"'corpus/b'.*no path of its 0 frames"):
        full_sum_loss(log_probs, [5, 0], SMALL, on_no_path="raise")


def test_scaled_and_accumulated_gradients() -> None:
    log_probs = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    (once,) = torch.autograd.grad(full_sum_loss(log_probs, [5, 3], SMALL).sum(), log_probs)
    (full_sum_loss(log_probs, [5, 3], SMALL).mean() / 4).backward()
    (full_sum_loss(log_probs, [5, 3], SMALL).mean() / 4).backward()
    torch.testing.assert_close(log_probs.grad, once / 4)
    loss = full_sum_loss(log_probs, [5, 3], SMALL).sum()
    for _ in range(2):
        (again,) = torch.autograd.grad(loss, log_probs, retain_graph=True)
        assert torch.equal(again, once)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_in_every_layout(order: tuple[int, int, int], dtype: Any) -> None:
    """`order`: the axes of time, sequence and label in memory, outermost first."""
    automata, logits, lengths = real_batch(60, 80)
    inverse = np.argsort(order).tolist()
    log_probs = logits.to(dtype).permute(order).contiguous().permute(inverse).requires_grad_()
    scale = torch.linspace(-1, 2, len(automata), dtype=dtype)
    loss = full_sum_loss(log_probs, lengths, automata, num_threads=2, label_scale=0.5)
    nan = int(loss.argmin())
    scale[nan] = torch.nan
    loss.backward(scale)
    for number in range(len(automata)):
        gradient, frames = log_probs.grad[:, number], int(lengths[number])
        if number == nan:
            assert gradient[:frames].isnan().any(1).all()
            continue
        assert not gradient[frames:].any()
        if loss[number].isinf():
            assert not gradient.any()
            continue
        sums = torch.full((frames,), -0.5) * scale[number]  # posteriors of a frame sum to 1
        torch.testing.assert_close(gradient[:frames].sum(1), sums.to(dtype), rtol=1e-5, atol=1e-6)


def test_a_retained_graph_computes_posteriors_again() -> None:
    log_probs = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([5, 3])
    loss = full_sum_loss(log_probs, lengths, SMALL).sum()
    (first,) = torch.autograd.grad(loss, log_probs, retain_graph=True)
    lengths[0] = 4
    (second,) = torch.autograd.grad(loss * 2, log_probs, retain_graph=True)
    assert torch.equal(second, first * 2)
    with torch.no_grad():
        log_probs += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, log_probs)


def test_no_gradient_where_none_is_wanted() -> None:
    log_probs = torch.randn(5, 2, 3)
    assert not full_sum_loss(log_probs, [5, 3], SMALL).requires_grad
    log_probs.requires_grad_()
    with torch.no_grad():
        assert not full_sum_loss(log_probs, torch.tensor([5, 3]), SMALL).requires_grad


def test_a_second_derivative_is_refused() -> None:
    log_probs = torch.randn(5, 2, 3, requires_grad=True)
    loss = full_sum_loss(log_probs, [5, 3], SMALL).sum()
    with pytest.raises(RuntimeError, match=r"no second derivative.*create_graph"):
        torch.autograd.grad(loss, log_probs, create_graph=True)


@pytest.mark.parametrize(
    ("log_probs", "automata", "error", "message"),
    [
        (torch.zeros(5, 2, 3, dtype=torch.int64), SMALL, TypeError, "floating numbers"),
        (np.zeros((5, 2, 3)), SMALL, TypeError, "tensor of floating numbers, not ndarray"),
        (torch.zeros(5, 3), SMALL, ValueError, "3 axes"),
        (torch.zeros(5, 2, 3), SMALL.edges, TypeError, "must be Automata"),
        (torch.zeros(5, 2, 2), SMALL, AutomatonError, "'corpus/a'.*edge 3 .*below 2, found 2"),
        (torch.zeros(5, 2, 2).half(), SMALL, AutomatonError, "'corpus/a'.*below 2, found 2"),
        (torch.full((5, 2, 90), torch.nan), SMALL, AutomatonError, "frame 0 of label 0.*nan"),
        (torch.zeros(4, 2, 3), SMALL, ValueError, "sequence 0 must be 0 to 4, not 5"),
    ],
)  # fmt: skip
def test_malformed_input(
    log_probs: Any, automata: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        full_sum_loss(log_probs, [5, 3], automata)


def test_an_invalid_score_names_the_label_itself() -> None:
    log_probs = torch.zeros(5, 2, 90)
    log_probs[2, 1, 1] = torch.nan
    with pytest.raises(AutomatonError, match=r"'corpus/b'.*frame 2 of label 1"):
        full_sum_loss(log_probs, [5, 3], SMALL)


def test_torch_compile_breaks_the_graph_there() -> None:
    code = """
import torch
from tests.sprintcache.test_full_sum_torch import SMALL
from sprintcache.torch import full_sum_loss

def step(logits):
    return full_sum_loss((logits * 2).log_softmax(-1), [5, 3], SMALL).mean() * 3

logits = torch.randn(5, 2, 3, requires_grad=True)
expected, = torch.autograd.grad(step(logits), logits)
compiled = torch.compile(step, backend="eager")
for _ in range(2):
    found, = torch.autograd.grad(compiled(logits), logits)
    assert torch.equal(found, expected)
print("same")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout == "same\n", done.stderr
    assert "Warning" not in done.stderr


# ---- devices ---------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda() -> None:
    automata, logits, lengths = real_batch(100, 200)
    for kind in (torch.float32, torch.float16):
        there = logits.to("cuda", kind).requires_grad_()
        here = logits.to(kind).requires_grad_()
        results = [full_sum_loss(scores, lengths, automata) for scores in (there, here)]
        assert results[0].is_cuda
        for result in results:
            result[result.isfinite()].sum().backward()
        torch.testing.assert_close(results[0].cpu(), results[1])
        torch.testing.assert_close(there.grad.cpu(), here.grad)


class _Event:
    """Replaces torch.cuda.Event: the copy may be read only after `synchronize`."""

    def __init__(self, copies: list[tuple[Any, Any]]) -> None:
        self.copies = copies

    def record(self, stream: Any) -> None:
        assert stream == "the stream of the device"

    def synchronize(self) -> None:
        for target, source in self.copies:
            target.data.copy_(source)
        self.copies.clear()


def test_the_copy_from_a_device_waits_for_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of CUDA tensors, with a copy that is late, as an asynchronous one may be."""
    copies: list[tuple[Any, Any]] = []
    pinned: list[bool] = []
    empty_like = torch.empty_like

    class Late(torch.Tensor):
        """A tensor that says it is on a device."""

        is_cuda = True

    def late_empty(like: Any, device: str, pin_memory: bool) -> Any:
        pinned.append(pin_memory)
        target = empty_like(like.as_subclass(torch.Tensor), device=device).fill_(torch.nan)
        monkeypatch.setattr(
            target, "copy_", lambda source, non_blocking: copies.append((target, source))
        )
        return target

    monkeypatch.setattr(torch.cuda, "Event", lambda: _Event(copies))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the stream of the device")
    monkeypatch.setattr(full_sum.torch, "empty_like", late_empty)
    log_probs = torch.randn(5, 2, 9)
    scores = full_sum._to_cpu(log_probs.as_subclass(Late), np.array([0, 2, 8]))
    assert pinned == [True]
    assert not copies
    assert torch.equal(scores, log_probs[:, :, [0, 2, 8]])


def test_tensors_of_other_devices_pass_only_labels_in_use() -> None:
    """The meta device has no data: what is copied is known by its shape."""
    log_probs = torch.zeros(5, 2, 9, device="meta")
    assert full_sum._columns(log_probs, SMALL).tolist() == [0, 1, 2]


# ---- RETURNN ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of RETURNN
@pytest.mark.skipif(
    os.environ.get("SPRINTCACHE_TEST_RETURNN_OP") != "1",
    reason="compiles for a minute; SPRINTCACHE_TEST_RETURNN_OP=1 runs it",
)
def test_the_native_op_of_returnn() -> None:
    native_op = pytest.importorskip("returnn.torch.util.native_op")
    automata, logits, lengths = real_batch(200, 80)
    log_probs = logits.float().log_softmax(-1)
    loss = full_sum_loss(log_probs, lengths, automata)
    possible = loss.isfinite()
    automata = automata[torch.nonzero(possible)[:, 0].tolist()]
    log_probs, lengths = log_probs[:, possible], lengths[possible]
    mask = torch.arange(len(log_probs))[:, None] < lengths[None]
    posteriors, scores = native_op.fast_baum_welch(
        am_scores=-log_probs,
        edges=torch.from_numpy(automata.edges.astype(np.int32)),
        weights=torch.from_numpy(automata.weights),
        start_end_states=torch.from_numpy(automata.start_end.astype(np.int32)),
        seq_mask=mask,
    )
    torch.testing.assert_close(loss[possible], scores[0], rtol=1e-5, atol=1e-2)
    ours = automata.full_sum(log_probs.numpy(), lengths.numpy())
    actual = torch.exp(-posteriors).numpy() * mask[:, :, None].numpy()
    np.testing.assert_allclose(ours.posteriors, actual, atol=5e-3)  # theirs is float32


def test_k2() -> None:
    k2 = pytest.importorskip("k2", reason="k2 has no wheel for every PyTorch")
    automata, logits, _ = real_batch(100, 80)
    log_probs = logits.float().log_softmax(-1)
    texts = []
    for sequence in automata:
        source, target, label, _ = sequence.edges.astype(np.int64)
        final = int(sequence.start_end[1, 0]) + 1
        rows = zip(source, target, label + 1, -sequence.weights, strict=True)
        lines = [f"{s} {t} {k} {w}" for s, t, k, w in rows]
        texts.append("\n".join([*lines, f"{final - 1} {final} -1 0", str(final)]))
    graphs = k2.create_fsa_vec([k2.Fsa.from_str(text) for text in texts])
    padded = torch.cat([torch.full((*log_probs.shape[:2], 1), -1e9), log_probs], -1)
    spans = torch.tensor([[i, 0, 100] for i in range(len(automata))], dtype=torch.int32)
    dense = k2.DenseFsaVec(padded.transpose(0, 1).contiguous(), spans)
    lattice = k2.intersect_dense(graphs, dense, output_beam=1e9)
    scores = lattice.get_tot_scores(log_semiring=True, use_double_scores=True)
    loss = full_sum_loss(log_probs, [100] * len(automata), automata)
    torch.testing.assert_close(loss.double(), -scores, rtol=1e-5, atol=1e-3)


def test_the_oracles_agree() -> None:
    """The CTC automata that the comparison with PyTorch relies on, in the log domain of numpy."""
    automata = ctc_automata([[1, 2, 2]])
    log_probs = torch.randn(8, 1, 3, dtype=torch.float64).log_softmax(-1)
    one = log_domain(automata.edges, automata.weights, 0, 8, log_probs[:, 0].numpy())
    theirs = torch.nn.functional.ctc_loss(
        log_probs, torch.tensor([[1, 2, 2]]), torch.tensor([8]), torch.tensor([3]), reduction="sum"
    )
    assert one.loss == pytest.approx(float(theirs), rel=1e-12)


# ---- the example -----------------------------------------------------------------------------


def test_the_example_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    path = DATA.parents[1] / "examples" / "full_sum_training.py"
    try:
        curves = runpy.run_path(str(path))["main"](["--epochs", "3"])
    finally:
        torch.set_num_threads(threads)
    assert sorted(curves) == ["frame labels", "full sum"]
    for curve in curves.values():
        assert curve.loss[-1] < curve.loss[0]
        assert all(0 < error < 1 for error in curve.error)
    assert curves["frame labels"].error[-1] < 0.7 < curves["full sum"].error[0]
    assert "from flat start" in capsys.readouterr().out
