"""A seeded scheduler of faults: each batch of a pool is right, or fails with a named error.

SPRINTCACHE_FAULT_BATCHES sets the number of batches (default 60); thousands take some minutes.
SPRINTCACHE_FAULT_SEED sets their seed (default 0).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprint_ctl._trainer.batch import log_posteriors_array
from sprint_ctl.error_signals import SprintInstancePool, SprintSubprocessInstance
from sprint_ctl.errors import SprintDiedError, SprintError, SprintProtocolError, SprintStartError
from sprintcache._interrupts import start_threads
from tests.faults import InterruptionError, alarm, in_fork
from tests.paths import ROOT
from tests.resources import children, descriptors

TINY = Path(__file__).parents[1] / "child_programs" / "sprint_tiny.py"
SMALL = TINY.with_name("sprint_small.py")
NUM_BATCHES = int(os.environ.get("SPRINTCACHE_FAULT_BATCHES", "60"))
SEED = int(os.environ.get("SPRINTCACHE_FAULT_SEED", "0"))

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pool", "batch_run"):
        monkeypatch.setattr(logging.getLogger(f"sprint_ctl._trainer.{module}"), "disabled", True)


def small_pool(**options: Any) -> SprintInstancePool:
    """Of Sprints that load our own modules."""
    return SprintInstancePool(
        {"sprintExecPath": [sys.executable, str(SMALL)], "start_timeout": 60.0, **options}
    )


def tiny_pool(**options: Any) -> SprintInstancePool:
    return SprintInstancePool(
        {
            "sprintExecPath": [sys.executable, "-S", "-E", str(TINY)],
            "start_timeout": 30.0,
            "request_timeout": 10.0,
            "exit_timeout": 5.0,
            **options,
        }
    )


def random_posteriors(seed: int, *shape: int) -> Any:
    """Unlike those of any other batch, so that an answer to another request is noticed."""
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def run_batch(pool: SprintInstancePool, tags: list[str], seed: int = 0) -> list[bool]:
    """Whether each segment was skipped; those that were not have the right values."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, len(tags))
    x = random_posteriors(seed, int(lengths.max()), len(tags), 3)
    loss, error_signal = pool.get_batch_loss_and_error_signal(x, lengths, tags)
    skipped = np.isinf(loss)
    expected = np.where(np.arange(len(x))[:, None, None] < lengths[:, None], 2 * x, 0)
    expected[:, skipped] = 0
    assert loss[~skipped].tolist() == lengths[~skipped].tolist()
    np.testing.assert_array_equal(error_signal, expected)
    return skipped.tolist()


def resources() -> tuple[list[str], int, int]:
    """Child processes, descriptors and threads of this process."""
    return children(), len(descriptors()), threading.active_count()


def kill_sprints(pool: SprintInstancePool, number: int = signal.SIGKILL) -> None:
    for pid in [sprint.pid for sprint in pool.instances]:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def scheduled_batch(pool: SprintInstancePool, chance: random.Random, seed: int) -> str:
    """One batch with a fault at some time; its outcome."""
    tags = [f"c/slow/{seed}-{i}" for i in range(chance.randint(1, 10))]
    faults = ["none", "kill before", "kill", "refuse", "bad", "interrupt", "fork"]
    fault = "stop" if chance.random() < 0.04 else chance.choice([*faults, "interrupt"])
    when = chance.random() * 0.15
    timer: threading.Timer | None = None
    may_fail = set()
    if fault == "kill before":
        kill_sprints(pool)
    elif fault in ("kill", "stop"):
        number = signal.SIGKILL if fault == "kill" else signal.SIGSTOP
        timer = threading.Timer(when, kill_sprints, (pool, number))
        timer.start()
        may_fail = set(range(len(tags)))
    elif fault in ("refuse", "bad"):
        index = chance.randrange(len(tags))
        tags[index] = f"c/{'kill' if fault == 'bad' else fault}/{index}"
        may_fail = {index}
    elif fault == "fork":
        assert in_fork(lambda: (run_batch(pool, tags, seed), pool.close())) == 0
    kind = chance.choice([KeyboardInterrupt, InterruptionError])
    try:
        if fault == "interrupt":
            with alarm(when, kind) as state:
                skipped = run_batch(pool, tags, seed)
            assert state.was_ignored or not state.was_raised, "the pool swallowed the exception"
        else:
            skipped = run_batch(pool, tags, seed)
    except kind:
        assert fault == "interrupt"
        return "interrupted"
    except SprintError as error:
        if error.segment not in {None, *(tags[i] for i in may_fail)} or not may_fail:
            raise
        return "failed"
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
            kill_sprints(pool, signal.SIGCONT)
    assert {i for i, is_skipped in enumerate(skipped) if is_skipped} <= may_fail, fault
    return "skipped" if any(skipped) else "right"


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("on_failure", ["raise", "skip"])
def test_scheduled_faults(number: int, on_failure: str) -> None:
    before = resources()
    outcomes: dict[str, int] = {}
    seed = SEED * 10 + number * 2 + (on_failure == "skip")
    chance = random.Random(seed)
    pool = tiny_pool(numInstances=number, on_failure=on_failure, request_timeout=2.0)
    for index in range(max(NUM_BATCHES // 4, 1)):
        outcome = scheduled_batch(pool, chance, seed * 1_000_000 + index)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert len(pool.instances) <= number
        if outcome != "right":
            assert not any(run_batch(pool, ["c/1", "c/2"], -1 % 2**32))
    pool.close()
    assert outcomes.get("right")
    assert resources() == before


# ---- one rule at a time ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("on_failure", ["raise", "skip"])
def test_sprints_that_died_between_batches_are_no_try(number: int, on_failure: str) -> None:
    pool = tiny_pool(numInstances=number, on_failure=on_failure, max_restarts=1)
    tags = [f"c/slow/{i}" for i in range(2 * number)]
    for seed in range(3):
        assert not any(run_batch(pool, tags, seed))
        kill_sprints(pool)
        while any(sprint.is_running for sprint in pool.instances):
            time.sleep(0.001)
    assert not any(run_batch(pool, tags))
    pool.close()


def test_two_bad_segments_in_a_row_do_not_end_a_pool_of_one() -> None:
    pool = tiny_pool(on_failure="skip")
    tags = ["c/kill/1", "c/kill/2", "c/1", "c/2", "c/refuse/3"]
    assert run_batch(pool, ["c/1"]) == [False]
    for _ in range(3):
        assert run_batch(pool, tags) == [True, True, False, False, True]
    for bad in range(2):  # batches of one segment
        assert run_batch(pool, [f"c/kill/{bad}"]) == [True]
    assert pool.num_skipped == 11
    assert run_batch(pool, ["c/1"]) == [False]
    with pytest.raises(SprintDiedError, match="SIGKILL"):  # it never answers
        run_batch(pool, [f"c/kill/{i}" for i in range(20)])
    assert pool.num_skipped == 11
    assert run_batch(pool, ["c/1"]) == [False]  # and it is not given up for good
    pool.close()


@pytest.mark.parametrize("fault", ["short", "text", "complex", "huge", "nothing"])
def test_an_answer_of_another_shape_or_type_is_refused(fault: str) -> None:
    """Also a shape that could be broadcast, and an integer that no float holds."""
    pool = tiny_pool()
    x = random_posteriors(0, 4, 1, 3)
    for _ in range(2):
        with pytest.raises(SprintProtocolError, match=r"shape \(4, 3\)") as caught:
            pool.get_batch_loss_and_error_signal(x, [4], [f"c/{fault}/1"])
        assert caught.value.segment == f"c/{fault}/1"
    assert run_batch(pool, ["c/1"]) == [False]
    pool.close()


@pytest.mark.parametrize("version", [0, 2])
def test_a_module_of_another_version_is_refused(version: int) -> None:
    before = resources()
    pool = tiny_pool(sprintControlConfig={"version": version})
    with pytest.raises(SprintError, match="version 1 of the module"):
        run_batch(pool, ["c/1"])
    pool.close()
    assert resources() == before


def test_one_sprint_that_does_not_start_does_not_fail_the_batch(tmp_path: Path) -> None:
    script = tmp_path / "sprint.sh"
    script.write_text(
        f"#!/bin/sh\nmkdir {tmp_path}/first 2>/dev/null && exit 3\n"
        f'exec {sys.executable} -S -E {TINY} "$@"\n'
    )
    script.chmod(0o755)
    pool = tiny_pool(sprintExecPath=str(script), numInstances=2)
    assert not any(run_batch(pool, [f"c/slow/{i}" for i in range(20)]))
    assert len(pool.instances) == 1
    pool.close()


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_sprint_that_no_longer_starts_is_given_up(tmp_path: Path, max_restarts: int) -> None:
    starts = tmp_path / "starts"
    script = tmp_path / "sprint.sh"
    script.write_text(
        f"#!/bin/sh\necho >> {starts}\n[ $(wc -l < {starts}) = 1 ] || exit 3\n"
        f'exec {sys.executable} -S -E {TINY} "$@"\n'
    )
    script.chmod(0o755)
    pool = tiny_pool(sprintExecPath=str(script), max_restarts=max_restarts)
    assert run_batch(pool, ["c/1"]) == [False]
    kill_sprints(pool)
    with pytest.raises(SprintStartError, match="exit status 3"):
        run_batch(pool, ["c/1", "c/2"])
    assert len(starts.read_text()) == 1 + 1 + max_restarts
    pool.close()


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, InterruptionError, TimeoutError])
def test_an_interrupt_ends_hanging_sprints(number: int, kind: type[BaseException]) -> None:
    """It comes at once, and nothing restarts the Sprints that were ended."""
    before = resources()
    pool = tiny_pool(numInstances=number, on_failure="skip", request_timeout=None)
    run_batch(pool, ["c/1"] * number)
    with pytest.raises(kind, match="of a signal handler"), alarm(0.2, kind):
        run_batch(pool, [f"c/stop/{i}" for i in range(2 * number)])
    assert pool.instances == []
    assert resources() == before
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    pool.close()


def test_an_interrupt_while_sprints_start_doubles_none(tmp_path: Path) -> None:
    before = resources()
    script = tmp_path / "sprint.sh"
    script.write_text(f'#!/bin/sh\nsleep 0.3\nexec {sys.executable} -S -E {TINY} "$@"\n')
    script.chmod(0o755)
    pool = tiny_pool(sprintExecPath=str(script), numInstances=3)
    with pytest.raises(KeyboardInterrupt), alarm(0.15, KeyboardInterrupt):
        run_batch(pool, [f"c/{i}" for i in range(6)])
    assert resources() == before
    assert not any(run_batch(pool, [f"c/{i}" for i in range(6)]))
    started = {str(sprint.pid) for sprint in pool.instances if sprint.pid is not None}
    assert started == set(resources()[0])  # two may have done all before the third was started
    assert len(pool.instances) == 3
    pool.close()


def test_a_fork_while_another_thread_is_in_a_batch() -> None:
    pool = tiny_pool(numInstances=2)
    thread = threading.Thread(target=run_batch, args=(pool, [f"c/slow/{i}" for i in range(60)]))
    thread.start()
    while not any(sprint.is_calculating for sprint in pool.instances):
        time.sleep(0.001)
    assert in_fork(lambda: (run_batch(pool, ["c/1", "c/2"]), pool.close())) == 0
    thread.join()
    assert not any(run_batch(pool, ["c/1"]))
    pool.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InterruptionError])
def test_an_exception_anywhere_in_the_start_of_a_thread(kind: type[BaseException]) -> None:
    """At each instruction of it, as from a signal handler: it is not lost, and the thread runs."""
    before = threading.active_count()
    instruction, is_over = 0, False
    while not is_over:
        num_left = instruction
        ran = threading.Event()
        thread = threading.Thread(target=ran.set, daemon=True)

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal num_left
            if frame.f_globals["__name__"] not in ("threading", start_threads.__module__):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                num_left -= 1
                if num_left == -1:
                    raise kind("of a signal handler")
            return trace

        sys.settrace(trace)
        try:
            start_threads(thread)
            is_over = True
        except kind:
            pass
        finally:
            sys.settrace(None)
        if thread.ident is not None:
            assert ran.wait(10)
            thread.join(10)
        instruction += 1
    assert instruction > 20
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == before


def test_close_from_a_signal_handler_in_a_batch() -> None:
    before = resources()
    pool = tiny_pool(numInstances=2)
    run_batch(pool, ["c/1", "c/2"])

    def handler(*_: object) -> None:
        pool.close()
        with pytest.raises(SprintError, match="batch under way"):
            run_batch(pool, ["c/1"])
        raise SystemExit

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(SystemExit):
        run_batch(pool, [f"c/stop/{i}" for i in range(4)])
    signal.signal(signal.SIGALRM, previous)
    assert resources() == before


def test_a_batch_at_the_exit_of_the_interpreter_restarts_nothing(tmp_path: Path) -> None:
    """Of a daemon thread: its Sprints, which hang, are ended together and not tried again."""
    script = tmp_path / "sprint.sh"
    script.write_text(
        f'#!/bin/sh\necho >> {tmp_path}/starts\nexec {sys.executable} -S -E {TINY} "$@"\n'
    )
    script.chmod(0o755)
    code = f"""
import threading, time
from tests.sprint_ctl.test_pool_faults import run_batch, tiny_pool
pool = tiny_pool(sprintExecPath={str(script)!r}, numInstances=2, request_timeout=None)
run_batch(pool, ["c/1", "c/2"])
threading.Thread(target=run_batch, args=(pool, ["c/stop/1"] * 9), daemon=True).start()
while not all(sprint.is_calculating for sprint in pool.instances):
    time.sleep(0.001)
print(*(sprint.pid for sprint in pool.instances))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=100,
    )
    assert (tmp_path / "starts").read_text() == "\n\n"
    assert [pid for pid in done.stdout.split() if Path(f"/proc/{pid}").exists()] == []


def test_a_request_that_was_sent_directly_keeps_its_sprint() -> None:
    pool = tiny_pool(numInstances=2)
    sprint = pool.get_free_instance()
    assert sprint is not None
    x = random_posteriors(1, 4, 3)
    sprint.get_loss_and_error_signal__send("c/slow/1", 4, x)
    assert not any(run_batch(pool, [f"c/{i}" for i in range(4)]))
    other = pool.get_free_instance()
    assert other is not None
    assert other is not sprint
    other.get_loss_and_error_signal__send("c/1", 4, x)
    with pytest.raises(SprintError, match="sent directly"):
        run_batch(pool, ["c/1"])
    for used in (sprint, other):
        assert np.array_equal(used.get_loss_and_error_signal__read()[2], 2 * x)
    sprint.get_loss_and_error_signal__send("c/stop", 4, x)
    with pytest.raises(InterruptionError), alarm(0.1, InterruptionError):
        sprint.get_loss_and_error_signal__read()
    with pytest.raises(SprintDiedError):
        sprint.get_loss_and_error_signal__send("c/1", 4, x)
    assert not any(run_batch(pool, ["c/1"] * 4))
    pool.close()


@pytest.mark.parametrize("framing", [1, 2])
def test_an_answer_never_meets_a_later_request(framing: int) -> None:
    """Neither framing needs ids for that: the Sprint of a request that was broken off is ended."""
    pool = small_pool(sprintControlConfig={"wire": framing})
    x = random_posteriors(0, 5, 2000, 3)
    tags = [f"c/{i}/5" for i in range(2000)]
    for seed in range(4):
        try:
            with alarm(0.001 * 3**seed, InterruptionError) as state:
                pool.get_batch_loss_and_error_signal(x, [5] * 2000, tags)
        except InterruptionError:
            pass
        else:
            assert state.was_ignored, "the pool swallowed the exception, or was done before"
        y = random_posteriors(seed + 1, 5, 1, 3)
        loss, error_signal = pool.get_batch_loss_and_error_signal(y, [5], ["c/1/5"])
        assert loss.tolist() == [5]
        np.testing.assert_array_equal(error_signal, 2 * y)
    pool.close()


CHATTY = """
import os, pickle, struct, sys
import numpy as np
config = dict(pair.split(":", 1) for a in sys.argv[1:] if a.startswith("--*.pymod-config=")
              for pair in a.partition("=")[2].split(","))
pipe = os.fdopen(int(config["p2c_fd"]), "rb")
def receive():
    return pickle.loads(pipe.read(*struct.unpack("<i", pipe.read(4))))
def framed(*message):
    body = pickle.dumps(message)
    return struct.pack("<i", len(body)) + body
receive()
more = framed("ok", "chatty", 1)
while True:
    os.write(int(config["c2p_fd"]), more)
    request = receive()
    if request[0] == "exit":
        os._exit(0)
    more = framed("ok", float(request[2]), 2 * request[3])
    more += more if "answer" in config else framed("exception", "lattice cache lost")
    if "exception" in config:
        os.write(int(config["c2p_fd"]), more)
        os._exit(1)
"""


@pytest.mark.parametrize("extra", ["answer", "exception"])
def test_what_answers_no_request_is_not_taken_for_an_answer(extra: str) -> None:
    """In the pickle framing, which has no ids."""
    pool = tiny_pool(
        sprintExecPath=[sys.executable, "-c", CHATTY],
        sprintControlConfig={extra: 1},
        max_restarts=9,
    )
    for seed in range(2):
        assert not any(run_batch(pool, [f"c/{i}" for i in range(4)], seed))
    pool.close()
    sprint = SprintSubprocessInstance(**pool.sprint_opts)
    x = random_posteriors(1, 2, 3)
    sprint.get_loss_and_error_signal("c/1", x, np.empty_like(x))
    kind, words = {
        "answer": (SprintProtocolError, "nothing before the request"),
        "exception": (SprintDiedError, "lattice cache lost"),
    }[extra]
    with pytest.raises(kind, match=words) as caught:
        sprint.get_loss_and_error_signal("c/2", x, np.empty_like(x))
    assert caught.value.segment == "c/2"
    assert not sprint.is_running


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_a_sprint_with_closed_standard_descriptors_writes(closed: str, tmp_path: Path) -> None:
    """Its log is not written into our pipes or memory files, which may have the free numbers."""
    noise = "    for fd in (1, 2):\n        with contextlib.suppress(OSError):\n"
    noise += "            os.write(fd, b'<log>' * 9)\n"
    noisy = tmp_path / "noisy.py"
    code = SMALL.read_text().replace("import sys\n", "import contextlib, os, sys\n")
    noisy.write_text(code.replace("    control.init_segment", f"{noise}    control.init_segment"))
    script = tmp_path / "sprint.sh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {noisy} "$@" {closed}\n')
    script.chmod(0o755)
    for framing in (1, 2):
        pool = small_pool(sprintExecPath=str(script), sprintControlConfig={"wire": framing})
        x = random_posteriors(framing, 5, 4, 3)
        tags = [f"c/{i}/5" for i in range(4)]
        loss, error_signal = pool.get_batch_loss_and_error_signal(x, [5] * 4, tags)
        assert loss.tolist() == [5] * 4
        np.testing.assert_array_equal(error_signal, 2 * x)
        (sprint,) = pool.instances
        names = {fd: Path(f"/proc/{sprint.pid}/fd/{fd}") for fd in range(3)}
        files = {fd: os.readlink(path) for fd, path in names.items() if path.is_symlink()}
        assert len(files) == 3 - closed.count("&"), files
        pool.close()


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("inf"), None, 1e7, np.float32(40), 10**400])
def test_timeouts_of_any_length(value: Any) -> None:
    before = resources()
    timeouts = dict.fromkeys(("start_timeout", "request_timeout", "exit_timeout"), value)
    pool = tiny_pool(on_failure="skip", **timeouts)
    assert not any(run_batch(pool, ["c/slow/1", "c/2"]))
    pool.close()
    assert resources() == before


@pytest.mark.parametrize("name", ["start_timeout", "request_timeout", "exit_timeout"])
def test_timeouts_that_are_not_a_time(name: str) -> None:
    for value, kind in (
        (-1, ValueError),
        (-(10**400), ValueError),
        (float("nan"), ValueError),
        ("9", TypeError),
    ):
        with pytest.raises(kind, match=name):
            tiny_pool(**{name: value})


def test_programming_errors_are_not_skipped() -> None:
    class Foreign:
        shape, ndim, dtype = (5, 2, 3), 3, np.dtype(np.float32)

    pool = tiny_pool(on_failure="skip", numInstances=2)
    wrong: list[tuple[Any, type[Exception]]] = [
        (Foreign(), TypeError),
        ([[["a"]]], TypeError),
        (np.zeros((5, 2, 3), np.complex64), TypeError),
        ([[[0.0]], [[0.0], [0.0]]], ValueError),
    ]
    for log_posteriors, kind in wrong:
        with pytest.raises(kind):
            pool.get_batch_loss_and_error_signal(log_posteriors, [5, 5], ["c/1", "c/2"])
    with pytest.raises(TypeError, match="no such"):
        run_batch(tiny_pool(sprintExecPath=[sys.executable, _no_such]), ["c/1"])
    assert pool.num_skipped == 0


def _no_such() -> str:
    raise TypeError("no such word")


def test_lists_are_taken() -> None:
    x = random_posteriors(3, 2, 2, 3)
    pool = tiny_pool()
    loss, error_signal = pool.get_batch_loss_and_error_signal(x.tolist(), [2, 1], ["c/1", "c/2"])
    assert loss.tolist() == [2, 1]
    assert np.array_equal(error_signal[:, 0], 2 * x[:, 0])
    pool.close()
    assert log_posteriors_array(x, 2) is x


@pytest.mark.parametrize("kind", ["log posteriors", "half", "logits", "probabilities", "nan"])
def test_what_is_not_log_posteriors_is_noticed(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    x = random_posteriors(1, 4, 1, 500)
    arrays = {"log posteriors": x, "half": x.astype(np.float16), "logits": x + 3, "nan": x * np.nan}
    pool = tiny_pool()
    for _ in range(2):
        loss, _ = pool.get_batch_loss_and_error_signal(arrays.get(kind, np.exp(x)), [4], ["c/1"])
        assert loss.tolist() == [4]
    pool.close()
    words = [record.getMessage() for record in caplog.records]
    assert len(words) == (kind not in ("log posteriors", "half"))
    assert all("log_softmax" in text for text in words)


# ---- automata ----------------------------------------------------------------------------------


def test_an_interrupted_automaton_ends_its_sprint() -> None:
    pool = tiny_pool()
    sprint = pool.get_free_instance()
    assert sprint is not None
    with pytest.raises(InterruptionError), alarm(0.1, InterruptionError):
        sprint.get_automaton("a/stop/3")
    assert not sprint.is_calculating
    assert not sprint.is_running
    with pytest.raises(SprintDiedError):
        sprint.get_automaton("a/3")
    sprint.init()
    assert sprint.get_automaton("a/3")[:2] == (4, 3)
    pool.close()


def test_automata_after_an_interrupt() -> None:
    pool = tiny_pool(numInstances=2)
    with pytest.raises(KeyboardInterrupt), alarm(0.1, KeyboardInterrupt):
        pool.get_automata_for_batch([f"a/slow/{n}" for n in range(10, 60)])
    for n in (3, 5):
        edges, weights, start_end = pool.get_automata_for_batch([f"a/{n}", "a/1"])
        assert edges[0].tolist() == [*range(n), n + 1]
        assert len(weights) == n + 1
        assert start_end.tolist() == [[0, n + 1], [n, n + 2]]
    pool.close()
