"""Pools of Sprints against the stand-in: batches, automata, faults, and RETURNN's ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl._trainer import batch
from sprint_ctl._trainer.process import SprintProcess
from sprint_ctl.error_signals import ReaderThread, SprintInstancePool, SprintSubprocessInstance
from sprint_ctl.errors import (
    SprintDiedError,
    SprintError,
    SprintProtocolError,
    SprintRequestError,
    SprintStartError,
    SprintTimeoutError,
)
from tests import interpreters
from tests.paths import DATA
from tests.resources import children, descriptors

ROOT = Path(__file__).parents[2]
NAMES = [f"espeak/rec{i:03d}/1" for i in range(24)]
STAND_IN = [sys.executable, "-m", "sprint_ctl.fake_sprint"]
CORPUS = [f"--*.corpus.file={DATA}/corpus/corpus.xml.gz", "--*.log.channel=nil"]
# the loss is the number of frames, the error signal what came in: no archive is read
TRIVIAL = [
    *CORPUS,
    "--*.action=python-control",
    "--*.python-control-loop-type=iterate-corpus",
    "--*.extract-features=false",
    "--*.fake.criterion=trivial",
]
LAYER = [
    *CORPUS,
    "--*.action=supervised-training",
    "--*.trainer=feed-forward-trainer",
    "--*.neural-network.links=0->python-layer:0",
    "--*.python-layer.layer-type=python",
    "--*.python-layer.dimension-output=79",
    "--*.training-criterion=cross-entropy",
    "--*.buffer-type=utterance",
    "--*.shuffle=false",
    f"--*.feat-cache={DATA}/features.bundle",
    f"--*.align-cache={DATA}/alignment.linear.cache",
    f"--*.allophone-file={DATA}/allophones",
    f"--*.lexicon.file={DATA}/corpus/lexicon.xml.gz",
    f"--config={DATA}/corpus/am.config",
]
AUTOMATA = [*LAYER, "--*.action=python-control"]


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGFILE", "/dev/null")
    monkeypatch.setenv("tying", "lookup")
    monkeypatch.setenv("tying-file", str(DATA / "state-tying" / "monophone"))
    monkeypatch.setattr(logging.getLogger("sprint_ctl._trainer.pool"), "disabled", True)


def options(arguments: list[str], *more: str, **others: Any) -> dict[str, Any]:
    return {
        "sprintExecPath": STAND_IN,
        "sprintConfigStr": [*arguments, *more],
        "start_timeout": 30.0,
        "request_timeout": 10.0,
        **others,
    }


def instance(arguments: list[str], *more: str, **others: Any) -> SprintSubprocessInstance:
    return SprintSubprocessInstance(**options(arguments, *more, **others))


@pytest.fixture
def pools() -> Iterator[Any]:
    made: list[SprintInstancePool] = []

    def pool(arguments: list[str], *more: str, **others: Any) -> SprintInstancePool:
        made.append(SprintInstancePool(options(arguments, *more, **others)))
        return made[-1]

    yield pool
    for pool_ in made:
        pool_.close()


def posteriors(*shape: int, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def ask(sprint: SprintSubprocessInstance, name: str = NAMES[0], length: int = 3) -> Any:
    x = posteriors(length, 5)
    sprint.get_loss_and_error_signal__send(name, length, x)
    answer = sprint.get_loss_and_error_signal__read()
    assert np.array_equal(answer[2], x)
    return answer


# ---- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
def test_batches_of_any_layout(pools: Any, number: int) -> None:
    pool = pools(TRIVIAL, numInstances=number)
    lengths = [7, 1, 5, 9, 2, 4]
    x = posteriors(9, 6, 5)
    tags = NAMES[:6]
    characters = np.array(tags, "S20").reshape(6, 1).view("S1")
    layouts = (
        (x, np.array(lengths, np.int64), tags),
        (np.asfortranarray(x), np.array(lengths, np.uint8), [tag.encode() for tag in tags]),
        (x.astype(np.float64), lengths, characters),
        (x.transpose(1, 0, 2).copy().transpose(1, 0, 2), np.array(lengths, np.int32), tuple(tags)),
        (x, np.array(lengths, ">i2"), np.array(tags)),
        (x, lengths, characters.view(np.uint8)),
    )
    expected = np.where(np.arange(9)[:, None, None] < np.array(lengths)[:, None], x, 0)
    for log_posteriors, seq_lengths, names in layouts:
        loss, error_signal = pool.get_batch_loss_and_error_signal(
            log_posteriors, seq_lengths, names
        )
        assert loss.dtype == error_signal.dtype == np.float32
        assert loss.tolist() == lengths
        np.testing.assert_array_equal(error_signal, expected)
    assert len(pool.instances) == number
    empty = pool.get_batch_loss_and_error_signal(x[:, :0], [], [])
    assert [part.shape for part in empty] == [(0,), (9, 0, 5)]


def test_cross_entropy_through_the_layer(pools: Any) -> None:
    """Against the formula, with the labels of the real alignment."""
    labeling = sprintcache.AllophoneLabeling(
        "[SILENCE]", str(DATA / "allophones"), state_tying_file=str(DATA / "state-tying/monophone")
    )
    with sprintcache.open_archive(DATA / "alignment.linear.cache") as archive:
        labels = [archive.read_labels(name, labeling) for name in NAMES[:4]]
    lengths = [len(x) for x in labels]
    x = posteriors(max(lengths), 4, 79)
    pool = pools(LAYER, numInstances=2)
    loss, error_signal = pool.get_batch_loss_and_error_signal(x, lengths, NAMES[:4])
    for index, label in enumerate(labels):
        frames = np.arange(len(label))
        p = np.exp(x[: len(label), index].astype(np.float64))
        assert loss[index] == pytest.approx(-np.log(p[frames, label]).sum(), rel=1e-5)
        p[frames, label] -= 1
        np.testing.assert_allclose(error_signal[: len(label), index], p, atol=1e-5)
        assert not error_signal[len(label) :, index].any()


def test_automata_of_a_batch(pools: Any) -> None:
    """Against those of the real Sprint."""
    real = arrays_of(DATA / "transcripts" / "control-loop.npz")
    pool = pools(AUTOMATA, numInstances=2)
    tags = [NAMES[15], NAMES[1].encode(), NAMES[15]]
    edges, weights, start_end = pool.get_automata_for_batch(tags)
    assert (edges.dtype, weights.dtype, start_end.dtype) == (np.uint32, np.float32, np.uint32)
    assert start_end.tolist() == [[0, 48, 48 + 179], [47, 48 + 178, 48 + 179 + 47]]
    parts = (("a3", "a4", 0), ("a0", "a1", 48), ("a3", "a4", 48 + 179))
    start = 0
    for index, (name, name_of_weights, offset) in enumerate(parts):
        source, target, emission = real[name].reshape(3, -1)
        part = edges[:, start : start + len(source)]
        sequence = np.full_like(source, index)
        assert np.array_equal(part, [source + offset, target + offset, emission, sequence])
        part_weights = weights[start : start + len(source)]
        np.testing.assert_allclose(part_weights, real[name_of_weights], rtol=1e-5)
        start += len(source)
    assert start == edges.shape[1]
    with pytest.raises(SprintRequestError, match="no/such/segment"):
        pool.get_automata_for_batch(["no/such/segment", NAMES[1]])
    assert np.array_equal(pool.get_automata_for_batch(tags)[0], edges)
    nothing = pool.get_automata_for_batch([])
    assert [part.shape for part in nothing] == [(4, 0), (0,), (2, 0)]


def test_arguments_that_are_wrong(pools: Any) -> None:
    pool = pools(TRIVIAL)
    x = posteriors(4, 2, 3)
    wrong: list[tuple[Any, Any, Any, type[Exception]]] = [
        (x, [4, 4], None, ValueError),
        (x, [4, 5], NAMES[:2], ValueError),
        (x, [4, -1], NAMES[:2], ValueError),
        (x, [4], NAMES[:2], ValueError),
        (x, [4.0, 4.0], NAMES[:2], TypeError),
        (x, [4, 4], NAMES[:1], ValueError),
        (x[0], [4, 4], NAMES[:2], ValueError),
        (x, [4, 4], ["a", ""], ValueError),
        (x, [4, 4], [3.5, "a"], TypeError),
        (x, [4, 4], "ab", TypeError),
    ]
    for log_posteriors, lengths, tags, kind in wrong:
        with pytest.raises(kind):
            pool.get_batch_loss_and_error_signal(log_posteriors, lengths, tags)
    assert not pool.instances
    with pytest.raises(ValueError, match="tags are needed"):
        pool.get_automata_for_batch(None)
    for bad in ({"numInstances": 0}, {"on_failure": "ignore"}):
        with pytest.raises(ValueError, match=r"numInstances|on_failure"):
            SprintInstancePool(options(TRIVIAL, **bad))


def test_names_of_characters() -> None:
    assert batch.sequence_names(np.array([[104, 105, 0]], np.int32)) == ["hi"]
    assert batch.sequence_names(np.array([[104, 195, 164]], np.uint8)) == ["hä"]
    assert batch.sequence_names(np.array([["h", "ä", ""]])) == ["hä"]
    assert [type(n) for n in batch.sequence_names(np.array(["a", "b"]))] == [str, str]


def test_one_instance_by_hand(pools: Any) -> None:
    pool = pools(TRIVIAL, numInstances=2)
    first = pool.get_free_instance()
    x = posteriors(2, 3)
    with pytest.raises(SprintError, match="no request was sent"):
        first.get_loss_and_error_signal__read()
    first.get_loss_and_error_signal__send(NAMES[0].encode(), np.int64(2), x)
    with pytest.raises(SprintError, match="was not read"):
        first.get_loss_and_error_signal__send(NAMES[0], 2, x)
    second = pool.get_free_instance()
    assert second is not first
    second.get_loss_and_error_signal__send(NAMES[0], 2, x)
    assert pool.get_free_instance() is None
    while not first.get_loss_and_error_signal__have_data():
        time.sleep(0.001)
    name, loss, error_signal = first.get_loss_and_error_signal__read()
    assert (name, loss) == (NAMES[0], 2.0)
    assert type(name) is str
    assert np.array_equal(error_signal, x)
    assert pool.get_free_instance() is first
    kept = error_signal.copy()
    ask(first)
    assert np.array_equal(error_signal, kept)  # the caller's own
    described = first.describe()
    assert described["pid"] == first.pid
    assert described["numpy"] == np.__version__
    assert described["interface_version"] == 5


def test_one_pool_for_equal_options() -> None:
    one = options(TRIVIAL, sprintControlConfig={"verbose": "no"})
    two = options(TRIVIAL, sprintControlConfig={"verbose": "no"})
    pool = SprintInstancePool.get_global_instance(one)
    assert SprintInstancePool.get_global_instance(two) is pool
    assert SprintInstancePool.get_global_instance({**one, "numInstances": 2}) is not pool
    SprintInstancePool.global_instances.clear()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "missing a required argument: 'sprintExecPath'"),
        ({"sprintExecPath": "x", "num_instances": 2}, "'num_instances'"),
    ],
)
def test_wrong_options_are_reported_before_a_request(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        SprintInstancePool(wrong)
    assert "known: sprintExecPath, minPythonControlVersion" in str(caught.value)


def test_threads_share_a_queue_longest_first(pools: Any) -> None:
    """Each takes the next when it is free: the long one alone, the short ones by the other."""
    pool = pools(TRIVIAL, "--*.fake.seconds-per-frame=0.01", numInstances=2)
    taken: dict[str, list[int]] = {}
    order = iter([0, 1, 2, 3, 4])
    lock = threading.Lock()

    def shared() -> Iterator[int]:
        while True:
            with lock:
                index = next(order, None)
            if index is None:
                return
            taken.setdefault(threading.current_thread().name, []).append(index)
            yield index

    lengths = [40, 4, 3, 2, 1]
    x = posteriors(40, 5, 3)
    loss = np.zeros(5, np.float32)
    error_signal = np.zeros_like(x)
    instances = [pool.get_free_instance()]
    instances[0].is_calculating = True
    instances.append(pool.get_free_instance())
    instances[0].is_calculating = False
    threads = [
        ReaderThread(instance, number, shared(), NAMES[:5], lengths, x, loss, error_signal)
        for number, instance in enumerate(instances)
    ]
    for thread in threads:
        thread.join()
        assert thread.exception is None
    assert loss.tolist() == lengths
    assert sorted(taken.values()) == [[0], [1, 2, 3, 4]]


@pytest.mark.parametrize("python", [sys.executable, *interpreters.others()])
def test_a_sprint_with_another_interpreter(python: str) -> None:
    """Another Python and another numpy than the trainer's, memory files between them."""
    interpreters.need_numpy(python)
    sprint = SprintSubprocessInstance(
        [python, "-W", "error", str(ROOT / "tests" / "child_programs" / "sprint_small.py")],
        start_timeout=30,
    )
    for length in (3, 500, 1):
        x = posteriors(length, 2, 40)[:, 1]
        sprint.get_loss_and_error_signal__send(f"a/{length}", length, x)
        _, loss, error_signal = sprint.get_loss_and_error_signal__read()
        assert loss == length
        assert np.array_equal(error_signal, 2 * x)
    assert sprint.describe()["interface_version"] == 5
    sprint.exit_handler()


# ---- what goes wrong ---------------------------------------------------------------------------

BEFORE: dict[str, tuple[list[str], type[SprintError], str]] = {
    "killed": (["--*.fake.misbehave=init:signal:KILL"], SprintStartError, "SIGKILL"),
    "segfault": (["--*.fake.misbehave=start:signal:SEGV"], SprintStartError, "SIGSEGV"),
    "status": (["--*.fake.misbehave=import:code:1"], SprintStartError, "exit status 1"),
    "error": (["--*.fake.misbehave=init:error:no lattice"], SprintStartError, "no lattice"),
    "import": (["--*.pymod-name=no_such_module"], SprintStartError, "no_such_module"),
    "garbage": (["--*.fake.misbehave=init:garbage"], SprintProtocolError, "found"),
    "hang": (["--*.fake.misbehave=init:hang"], SprintTimeoutError, "not ready in time"),
    "too old": (["--*.fake.version-number=1"], SprintStartError, "too old"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_faults_before_it_is_ready(name: str) -> None:
    more, kind, words = BEFORE[name]
    with pytest.raises(kind, match=words) as caught:
        instance(TRIVIAL, *more, start_timeout=1.0 if name == "hang" else 30.0)
    assert "--*.pymod-config" in str(caught.value)
    assert "during init" in str(caught.value)


DURING: dict[str, tuple[str, type[SprintError], str]] = {
    "killed": ("segment-2:signal:KILL", SprintDiedError, "ended by SIGKILL"),
    "segfault": ("request-2:signal:SEGV", SprintDiedError, "ended by SIGSEGV"),
    "abort": ("request-2:abort", SprintDiedError, "ended by SIGABRT"),
    "error": ("request-2:error:bad lattice", SprintDiedError, "bad lattice"),
    "hang": ("request-2:hang", SprintTimeoutError, "in time"),
    "halted": ("request-2:signal:STOP", SprintTimeoutError, "in time"),
    "garbage": ("request-2:garbage", SprintProtocolError, "not a message|cannot be read|absurd"),
    "half": ("request-2:half", SprintProtocolError, "not a message: expected a pickle"),
    "closed": ("request-2:close", SprintDiedError, "Bad file descriptor"),
}


@pytest.mark.parametrize("name", DURING)
def test_faults_during_a_request(name: str) -> None:
    rule, kind, words = DURING[name]
    patience = 2.0 if kind is SprintTimeoutError else 10.0
    sprint = instance(TRIVIAL, f"--*.fake.misbehave={rule}", request_timeout=patience)
    ask(sprint)
    with pytest.raises(kind, match=words) as caught:
        ask(sprint, NAMES[3])
    assert caught.value.segment == NAMES[3]
    assert NAMES[3] in str(caught.value)
    assert "during get_loss_and_error_signal" in str(caught.value)
    assert not sprint.is_running
    sprint.init()
    ask(sprint)
    sprint.exit_handler()


def test_killed_between_requests() -> None:
    sprint = instance(TRIVIAL)
    ask(sprint)
    assert sprint.pid is not None
    os.kill(sprint.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert not sprint.is_running
    with pytest.raises(SprintDiedError, match="SIGKILL"):
        ask(sprint)
    sprint.init()
    ask(sprint)
    sprint.exit_handler()
    with pytest.raises(SprintError, match="was ended"):
        ask(sprint)


def test_an_abort_while_it_exits_is_no_error() -> None:
    sprint = instance(LAYER, "--*.fake.misbehave=exit:abort")
    sprint.get_loss_and_error_signal__send(NAMES[15], 100, posteriors(100, 79))
    assert sprint.get_loss_and_error_signal__read()[1] > 0
    process = sprint._process
    sprint.exit_handler()
    assert process is not None
    assert process.poll() == -signal.SIGABRT


@pytest.mark.parametrize("number", [1, 2])
def test_one_bad_sequence_spoils_no_other(pools: Any, number: int) -> None:
    """Refused by a Sprint that still runs: raised after the others are done, or skipped."""
    tags = [NAMES[0], "no/such/segment", *NAMES[2:5]]
    x = posteriors(4, 5, 3)
    lengths = [4, 3, 2, 0, 1]
    raising = pools(TRIVIAL, numInstances=number)
    with pytest.raises(SprintRequestError, match="not in Sprint's corpus"):
        raising.get_batch_loss_and_error_signal(x, lengths, tags)
    pids = [sprint.pid for sprint in raising.instances]
    skipping = pools(TRIVIAL, numInstances=number, on_failure="skip")
    loss, error_signal = skipping.get_batch_loss_and_error_signal(x, lengths, tags)
    assert loss.tolist() == [4, np.inf, 2, np.inf, 1]
    assert [bool(error_signal[:, b].any()) for b in range(5)] == [True, False, True, False, True]
    assert skipping.num_skipped == 2
    for pool in (raising, skipping):
        assert pool.get_batch_loss_and_error_signal(x, [4] * 5, NAMES[:5])[0].tolist() == [4] * 5
    assert [sprint.pid for sprint in raising.instances] == pids


def test_a_pool_where_one_dies_again_and_again(pools: Any, tmp_path: Path) -> None:
    """Each death is made good by a restart; every batch is complete, while Sprints start or not."""
    turns = tmp_path / "sprint.sh"
    # the fifth to come replaces the first; no segment meets both, which would be given up
    turns.write_text(
        "#!/bin/sh\n"
        f"number=1; until mkdir {tmp_path}/$number 2>/dev/null; do number=$((number + 1)); done\n"
        "case $number in\n"
        "1) bad=--*.fake.misbehave=request-1:signal:KILL;;\n"
        "5) bad=--*.fake.misbehave=request-2:signal:SEGV;;\n"
        "esac\n"
        f'exec {" ".join(STAND_IN)} "$@" $bad\n'
    )
    turns.chmod(0o755)
    pool = pools(TRIVIAL, sprintExecPath=str(turns), numInstances=4)
    x = posteriors(6, 12, 3)
    lengths = [6, 5, 4, 3, 2, 1] * 2
    while not (tmp_path / "5").exists() or any(sprint.is_starting for sprint in pool.instances):
        loss, error_signal = pool.get_batch_loss_and_error_signal(x, lengths, NAMES[:12])
        assert loss.tolist() == lengths
        assert np.array_equal(error_signal[:1], x[:1])


@pytest.mark.parametrize("on_failure", ["raise", "skip"])
def test_a_sequence_that_kills_every_sprint(pools: Any, on_failure: str) -> None:
    """Tried twice; then given up, and the Sprint goes on."""
    pool = pools(
        TRIVIAL, "--*.fake.misbehave=segment-3:signal:KILL", on_failure=on_failure, max_restarts=2
    )
    x = posteriors(3, 3, 3)
    # the count of restarts begins again: two requests are done before each death
    for _ in range(3):
        assert pool.get_batch_loss_and_error_signal(x, [3, 2, 1], NAMES[:3])[0].tolist() == [
            3,
            2,
            1,
        ]
    worst = pools(TRIVIAL, "--*.fake.misbehave=segment-*:signal:KILL", on_failure=on_failure)
    with pytest.raises(SprintDiedError, match="SIGKILL") as caught:
        worst.get_batch_loss_and_error_signal(x, [3, 2, 1], NAMES[:3])
    assert caught.value.segment in NAMES[:3]
    assert worst.num_skipped == 0
    with pytest.raises(SprintDiedError, match="SIGKILL"):  # and so in the next batch
        worst.get_batch_loss_and_error_signal(x, [3, 2, 1], NAMES[:3])


def test_a_pool_that_does_not_start(pools: Any) -> None:
    pool = pools(TRIVIAL, "--*.fake.misbehave=start:code:3", numInstances=2, on_failure="skip")
    with pytest.raises(SprintStartError, match="exit status 3"):
        pool.get_batch_loss_and_error_signal(posteriors(2, 2, 3), [2, 2], NAMES[:2])
    assert pool.instances == []


def test_an_interrupted_start_ends_its_sprint(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    sprint = instance(TRIVIAL)
    monkeypatch.setattr(SprintProcess, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sprint.start()
    assert not sprint.is_running
    monkeypatch.undo()
    sprint.init()
    ask(sprint)
    sprint.exit_handler()


def test_starting_and_stopping_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    """200 times in the long form: SPRINTCACHE_CYCLES=200."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def resources() -> tuple[int, int, list[str], list[str]]:
        return len(descriptors()), threading.active_count(), os.listdir(tmp_path), children()

    sprint = instance(TRIVIAL)
    sprint.exit_handler()
    before = resources()
    for cycle in range(int(os.environ.get("SPRINTCACHE_CYCLES", "5"))):
        sprint.init()
        ask(sprint)
        if cycle % 2:
            os.kill(sprint.pid or 0, signal.SIGKILL)
    sprint.exit_handler()
    assert resources() == before


def test_a_trainer_that_is_killed_takes_its_sprints_with_it(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import tests.sprint_ctl.test_error_signals as t
sprints = [t.instance(t.TRIVIAL), t.instance(t.TRIVIAL, "--*.fake.misbehave=request-1:hang")]
t.ask(sprints[0])
sprints[1].get_loss_and_error_signal__send(t.NAMES[0], 3, t.posteriors(3, 5))
sys.stdout.write(" ".join(str(s.pid) for s in sprints)); sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    waiting = {int(pid) for pid in done.stdout.split()}
    assert len(waiting) == 2
    while waiting and time.monotonic() < deadline:
        waiting = {pid for pid in waiting if Path(f"/proc/{pid}/cmdline").exists()}
        time.sleep(0.02)
    assert not waiting
    assert not list(tmp_path.iterdir())  # the Sprints have removed what the trainer could not


# ---- RETURNN at the other end ------------------------------------------------------------


def incumbent() -> str:
    """An interpreter with RETURNN and NumPy below 2.3, whose pipe works."""
    python = os.environ.get("SPRINTCACHE_RETURNN_PYTHON")
    if not python:
        pytest.skip("SPRINTCACHE_RETURNN_PYTHON names no interpreter with RETURNN, NumPy < 2.3")
    return python


def test_the_config_prefix_needs_returnn() -> None:
    code = """
import sys
sys.modules["returnn"] = None
from sprint_ctl.error_signals import SprintSubprocessInstance
SprintSubprocessInstance(sys.executable, sprintConfigStr="config:sprint_args")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "returnn cannot be imported" in done.stderr


def test_our_pool_drives_the_incumbents_child() -> None:
    python = incumbent()
    where = "import os, returnn; print(os.path.dirname(os.path.dirname(returnn.__file__)))"
    root = subprocess.check_output([python, "-c", where], text=True).strip()
    theirs = [
        f"--*.pymod-path={root}",
        "--*.pymod-name=returnn.sprint.control",
        f"--*.python-segment-order-pymod-path={root}",
        "--*.python-segment-order-pymod-name=returnn.sprint.control",
    ]
    executable = ["env", f"PYTHONPATH={ROOT}", python, "-m", "sprint_ctl.fake_sprint"]
    ours = instance(LAYER)
    peer = instance(LAYER, *theirs, sprintExecPath=executable)
    assert peer._process is not None
    assert peer._process.wire.version == 1
    x = posteriors(100, 79)
    answers = []
    for sprint in (ours, peer):
        sprint.get_loss_and_error_signal__send(NAMES[15], 100, x)
        answers.append(sprint.get_loss_and_error_signal__read())
        sprint.exit_handler()
    assert answers[0][:2] == answers[1][:2]
    np.testing.assert_allclose(answers[0][2], answers[1][2], atol=1e-6)


def test_our_child_answers_the_incumbents_pool(tmp_path: Path) -> None:
    python = incumbent()
    executable = tmp_path / "sprint.sh"
    # no shell: it would drop variables with a hyphen in the name
    executable.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.chdir({str(ROOT)!r})\n"
        f"os.execv({STAND_IN[0]!r}, {STAND_IN!r} + sys.argv[1:])\n"
    )
    executable.chmod(0o755)
    ours = [
        f"--*.pymod-path={ROOT}",
        "--*.pymod-name=sprint_ctl.control",
        f"--*.python-segment-order-pymod-path={ROOT}",
        "--*.python-segment-order-pymod-name=sprint_ctl.control",
    ]
    x = posteriors(100, 2, 79)
    np.save(tmp_path / "x.npy", x)
    facts = {
        "losses": {"sprintExecPath": str(executable), "sprintConfigStr": " ".join(LAYER + ours)},
        "automata": {
            "sprintExecPath": str(executable),
            "sprintConfigStr": " ".join(AUTOMATA + ours),
            "usePythonSegmentOrder": False,
        },
    }
    for of in facts.values():
        of["sprintConfigStr"] = str(of["sprintConfigStr"]).replace("->", r"-\>")
    code = f"""
    import json, sys
    import numpy as np
    from returnn.sprint.error_signals import SprintInstancePool
    facts = json.loads({json.dumps(json.dumps(facts))})
    x = np.load("x.npy")
    pool = SprintInstancePool(facts["losses"])
    loss, error_signal = pool.get_batch_loss_and_error_signal(
        x, np.array([100, 100], np.int32), tags=[{NAMES[15]!r}] * 2)
    pool = SprintInstancePool(facts["automata"])
    edges, weights, start_end = pool.get_automata_for_batch([{NAMES[15]!r}, {NAMES[1]!r}])
    np.savez("answers.npz", loss=loss, error_signal=error_signal, edges=edges, weights=weights,
             start_end=start_end)
    """
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = arrays_of(tmp_path / "answers.npz")
    pool = SprintInstancePool(options(LAYER))
    loss, error_signal = pool.get_batch_loss_and_error_signal(x, [100, 100], [NAMES[15]] * 2)
    pool.close()
    np.testing.assert_allclose(answers["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(answers["error_signal"], error_signal, atol=1e-6)
    pool = SprintInstancePool(options(AUTOMATA))
    automata = pool.get_automata_for_batch([NAMES[15], NAMES[1]])
    pool.close()
    for key, value in zip(("edges", "weights", "start_end"), automata, strict=True):
        assert np.array_equal(answers[key], value)
