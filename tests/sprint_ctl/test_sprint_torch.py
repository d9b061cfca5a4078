"""Sprint's loss and gradient in PyTorch, against torch's own losses and against differences."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl.error_signals import SprintInstancePool
from sprint_ctl.errors import SprintRequestError
from sprintcache.bliss import Corpus
from tests.paths import DATA
from tests.sprint_ctl.test_pool_faults import tiny_pool

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from sprint_ctl.torch import full_sum_automata, sprint_loss  # noqa: E402

COMMON = [f"--*.corpus.file={DATA}/corpus/corpus.xml.gz", "--*.log.channel=nil"]
CTC = [
    "--*.action=python-control",
    "--*.python-control-loop-type=iterate-corpus",
    "--*.extract-features=false",
    "--*.fake.criterion=ctc",
]
LAYER = [
    "--*.action=supervised-training",
    "--*.trainer=feed-forward-trainer",
    "--*.buffer-type=utterance",
    "--*.shuffle=false",
    "--*.neural-network.links=0->python-layer:0",
    "--*.python-layer.layer-type=python",
    "--*.python-layer.dimension-output=79",
    "--*.python-layer.pymod-name=sprint_ctl.control",
    "--*.training-criterion=cross-entropy",
    f"--*.feat-cache={DATA}/features.bundle",
    f"--*.align-cache={DATA}/alignment.linear.cache",
    f"--*.allophone-file={DATA}/allophones",
    f"--*.state-tying.file={DATA}/state-tying/monophone",
]
TEXTS = {
    segment.name: segment.orthography or "" for segment in Corpus(DATA / "corpus/corpus.xml.gz")
}
TAGS = list(TEXTS)[:3]
CHARACTERS = "".join(sorted(set("".join(TEXTS.values()))))
NUM_LABELS = len(CHARACTERS) + 1  # the blank is the last
LENGTHS = [140, 120, 170]


def options(*arguments: str, **more: Any) -> dict[str, Any]:
    return {
        "sprintExecPath": [sys.executable, "-m", "sprint_ctl.fake_sprint"],
        "sprintConfigStr": [*COMMON, *arguments],
        "start_timeout": 60.0,
        "request_timeout": 60.0,
        **more,
    }


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    for pool in SprintInstancePool.global_instances.values():
        pool.close()
    SprintInstancePool.global_instances.clear()


def ctc_loss(log_posteriors: Any, tags: list[str] = TAGS, **more: Any) -> Any:
    return sprint_loss(log_posteriors, LENGTHS[: len(tags)], tags, options(*CTC, **more))


def logits(seed: int = 0, dtype: Any = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shape = max(LENGTHS), len(TAGS), NUM_LABELS
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def torch_ctc(z: Any) -> Any:
    targets = [[CHARACTERS.index(c) for c in TEXTS[tag]] for tag in TAGS]
    # Sprint's orthographies end in a blank, which the stand-in strips again
    return torch.nn.functional.ctc_loss(
        z.log_softmax(-1),
        torch.tensor([label for target in targets for label in target]),
        torch.tensor(LENGTHS),
        torch.tensor([len(target) for target in targets]),
        blank=NUM_LABELS - 1,
        reduction="none",
    )


def test_full_sum_equals_ctc_loss() -> None:
    """Losses, and gradients under a scale for each sequence, down to what is below log_softmax."""
    scale = torch.tensor([2.0, 0.0, -0.5])
    ours, theirs = logits(), logits(dtype=torch.float64)
    loss = ctc_loss(ours.log_softmax(-1))
    expected = torch_ctc(theirs)
    assert loss.shape == (3,)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-5, atol=0)
    (loss * scale).sum().backward()
    (expected * scale).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=0, atol=2e-5)
    for index, length in enumerate(LENGTHS):
        assert not ours.grad[length:, index].any()
    assert ours.grad[:, 0].any()


def test_cross_entropy_of_the_layer_equals_torchs() -> None:
    labeling = sprintcache.AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )
    with sprintcache.open_archive(DATA / "alignment.linear.cache") as archive:
        padded, lengths = archive.read_labels_batch(TAGS, labeling, pad=-100)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn((len(TAGS), max(lengths), 79), generator=generator, requires_grad=True)
    loss = sprint_loss(z.log_softmax(-1).transpose(0, 1), lengths, TAGS, options(*LAYER))
    expected = torch.nn.functional.cross_entropy(
        z.transpose(1, 2), torch.from_numpy(padded).long(), reduction="none"
    ).sum(1)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    (ours,) = torch.autograd.grad((loss / torch.from_numpy(lengths)).sum(), z)
    (theirs,) = torch.autograd.grad((expected / torch.from_numpy(lengths)).sum(), z)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)


def test_the_gradient_is_the_slope() -> None:
    """Central differences of the loss in random directions; Sprint computes in float32."""
    z = logits(2, torch.float64)
    ctc_loss(z.log_softmax(-1)).sum().backward()
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        direction = torch.randn(z.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            above, below = (
                ctc_loss((z + step * direction).log_softmax(-1)).double().sum()
                for step in (1e-2, -1e-2)
            )
        slope = float((z.grad * direction).sum())
        assert float((above - below) / 2e-2) == pytest.approx(slope, rel=5e-3, abs=0.2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_any_dtype(dtype: str) -> None:
    """The gradient has that of the posteriors; what is sent is float32, so is the loss."""
    posteriors = logits().log_softmax(-1).detach().to(getattr(torch, dtype)).requires_grad_()
    loss = ctc_loss(posteriors)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert posteriors.grad.dtype == posteriors.dtype
    same = posteriors.detach().float().requires_grad_()
    expected = ctc_loss(same)
    expected.sum().backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(posteriors.grad, same.grad.to(posteriors.dtype))


def test_any_strides_lengths_and_padding() -> None:
    posteriors = logits().log_softmax(-1).detach()
    expected = ctc_loss(posteriors)
    spread = torch.full((NUM_LABELS, 3, 2 * len(posteriors)), float("nan"))
    strided = spread.permute(2, 1, 0)[::2]
    for index, length in enumerate(LENGTHS):
        strided[:length, index] = posteriors[:length, index]
    assert not strided.is_contiguous()
    strided.requires_grad_()
    lengths = torch.tensor(LENGTHS, dtype=torch.int16)
    loss = sprint_loss(strided, lengths, np.array(TAGS), options(*CTC))
    assert torch.equal(loss, expected)
    loss.sum().backward()
    assert torch.isfinite(strided.grad).all()
    for index, length in enumerate(LENGTHS):
        assert not strided.grad[length:, index].any()


def test_without_gradient_and_with_several_uses() -> None:
    z = logits()
    with torch.no_grad():
        assert not ctc_loss(z.log_softmax(-1)).requires_grad
    assert not ctc_loss(z.log_softmax(-1).detach()).requires_grad
    loss = ctc_loss(z.log_softmax(-1))
    (once,) = torch.autograd.grad(loss.sum(), z, retain_graph=True)
    (twice,) = torch.autograd.grad(2 * loss.mean(), z, retain_graph=True)
    torch.testing.assert_close(twice, once * 2 / 3)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(loss.sum(), z, create_graph=True)


def test_a_sequence_that_fails() -> None:
    tags = [TAGS[0], "espeak/unknown/1", TAGS[2]]
    z = logits()
    with pytest.raises(SprintRequestError, match="espeak/unknown/1"):
        ctc_loss(z.log_softmax(-1), tags)
    loss = ctc_loss(z.log_softmax(-1), tags, on_failure="skip")
    assert loss.isfinite().tolist() == [True, False, True]
    loss.sum().backward()
    assert not z.grad[:, 1].any()
    clean = logits()
    ctc_loss(clean.log_softmax(-1)).sum().backward()
    assert torch.equal(z.grad[:, 0], clean.grad[:, 0])


def test_bad_arguments() -> None:
    posteriors = logits().log_softmax(-1)
    with pytest.raises(TypeError, match="int64"):
        ctc_loss(torch.zeros((4, 3, NUM_LABELS), dtype=torch.int64))
    with pytest.raises(ValueError, match="tags"):
        sprint_loss(posteriors, LENGTHS, None, options(*CTC))
    with pytest.raises(ValueError, match=r"length 171 of sequence 2"):
        sprint_loss(posteriors, [140, 120, 171], TAGS, options(*CTC))
    with pytest.raises(TypeError, match="float32"):
        sprint_loss(posteriors, torch.tensor([1.0, 1.0, 1.0]), TAGS, options(*CTC))


def test_automata_are_those_of_the_pool() -> None:
    opts = options("--*.action=python-control", numInstances=2)
    edges, weights, start_end = full_sum_automata(TAGS, opts)
    assert (edges.dtype, weights.dtype, start_end.dtype) == (
        torch.int32,
        torch.float32,
        torch.int32,
    )
    expected = SprintInstancePool.get_global_instance(opts).get_automata_for_batch(TAGS)
    for ours, theirs in zip((edges, weights, start_end), expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    # from left to right over the characters: a loop and a step for each but the first loop
    characters = [len(TEXTS[tag]) for tag in TAGS]
    assert (start_end[1] - start_end[0]).tolist() == characters
    assert edges[3].bincount().tolist() == [2 * number for number in characters]


def test_one_process_gives_losses_and_automata() -> None:
    """Sprint requests its segments again inside the callback, to look up their orthographies."""
    loss = ctc_loss(logits().log_softmax(-1))
    edges, _, _ = full_sum_automata(TAGS, options(*CTC))
    alone, _, _ = full_sum_automata(TAGS, options("--*.action=python-control", numInstances=2))
    assert torch.equal(edges, alone)
    assert torch.equal(ctc_loss(logits().log_softmax(-1)), loss)


def test_the_example_learns() -> None:
    """Each epoch is better than the one before, and all segments are trained on."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "sequence_training.py"))
    lines: list[str] = []
    losses = example["train"](3, lines.append)
    assert losses[0] > losses[1] > losses[2]
    assert len(lines) == 3
    assert SprintInstancePool.get_global_instance(example["OPTIONS"]).num_skipped == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("confidence", "scale"), [(1.0, 65536.0), (13.0, 8192.0)])
def test_the_error_signal_is_scaled_before_it_is_rounded(
    dtype: Any, confidence: float, scale: float
) -> None:
    """The factor of loss scaling is infinite in half precision, small signals have no digits."""
    opts = {**tiny_pool().sprint_opts, "numInstances": 1}
    x = torch.zeros(3, 2, 5)
    x[:, :, 1] = confidence
    x = x.log_softmax(-1).to(dtype).requires_grad_()
    (sprint_loss(x, [3, 2], ["c/1", "c/2"], opts).sum() * scale).backward()
    expected = 2 * x.detach().to(torch.float32) * scale  # twice the log posteriors
    expected[2, 1] = 0
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert torch.equal(x.grad, expected.to(dtype))


def test_tensors_go_to_the_pool_and_arrays_to_the_loss() -> None:
    pool = tiny_pool()
    x = torch.randn(3, 2, 5).log_softmax(-1).requires_grad_()
    arguments = torch.tensor([3, 2]), ["c/1", "c/2"]
    loss, error_signal = pool.get_batch_loss_and_error_signal(x, *arguments)
    assert loss.tolist() == [3, 2]
    half = pool.get_batch_loss_and_error_signal(x.bfloat16(), *arguments)[1]
    np.testing.assert_array_equal(half[:2], 2 * x.detach().bfloat16().float().numpy()[:2])
    pool.close()
    opts = pool.sprint_opts
    array = x.detach().numpy()
    fixed = array.copy()
    fixed.flags.writeable = False
    others = fixed, array[:, ::-1], array.astype(">f4"), array.astype(np.longdouble)
    for values in (array, x.tolist(), *others):
        assert sprint_loss(values, *arguments, opts).tolist() == [3, 2]
    assert error_signal.shape == (3, 2, 5)
