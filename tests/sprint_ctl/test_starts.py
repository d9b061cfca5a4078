"""Sprints that hang at their start: the others of a pool do their work, and no process is left."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sprint_ctl.error_signals import SprintInstancePool
from sprint_ctl.errors import SprintDiedError, SprintTimeoutError
from tests.faults import InterruptionError, alarm, in_fork
from tests.paths import ROOT
from tests.sprint_ctl.test_pool_faults import TINY, kill_sprints, resources, run_batch, tiny_pool

START_TIMEOUT = 60.0

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def hanging_pool(
    folder: Path, hanging: str, hangs: str = "sleep 1000 #", **options: Any
) -> SprintInstancePool:
    """Of Sprints whose starts of these numbers, such as "1 3", never answer."""
    script = folder / "sprint.sh"
    script.write_text(
        f"#!/bin/sh\nn=1; until mkdir {folder}/$n 2>/dev/null; do n=$((n + 1)); done\n"
        f'case " {hanging} " in *" $n "*) exec {hangs} "$@"\n;; esac\n'
        f'exec {sys.executable} -S -E {TINY} "$@"\n'
    )
    script.chmod(0o755)
    return tiny_pool(
        sprintExecPath=str(script),
        **{"numInstances": 2, "start_timeout": START_TIMEOUT, "exit_timeout": 30.0, **options},
    )


HALF = """
import os, pickle, struct, sys, time
config = next(a for a in sys.argv if a.startswith("--*.pymod-config=")).partition("=")[2]
pipe = int(dict(pair.split(":", 1) for pair in config.split(","))["c2p_fd"])
body = pickle.dumps(("ok", "tiny", 1, 2))
os.write(pipe, (struct.pack("<i", len(body)) + body)[:int(sys.argv[1])])
time.sleep(1000)
"""


@pytest.mark.parametrize("size", [1, 4, 5, 20])
def test_half_an_answer_is_not_waited_for(size: int, tmp_path: Path) -> None:
    half = tmp_path / "half.py"
    half.write_text(HALF)
    pool = hanging_pool(tmp_path, "1", hangs=f"{sys.executable} -S -E {half} {size}")
    begin = time.monotonic()
    for seed in range(3):
        assert not any(run_batch(pool, ["c/slow/1", "c/slow/2", "c/slow/3"], seed))
        assert len(starting(pool)) == 1
    pool.close()
    assert time.monotonic() - begin < START_TIMEOUT / 2


def starting(pool: SprintInstancePool) -> list[int | None]:
    return [sprint.pid for sprint in pool.instances if sprint.is_starting]


@pytest.mark.parametrize("hanging", ["1", "2"])
def test_a_batch_does_not_wait_for_a_start(hanging: str, tmp_path: Path) -> None:
    before = resources()
    pool = hanging_pool(tmp_path, hanging, numInstances=3)
    begin = time.monotonic()
    assert not any(run_batch(pool, [f"c/slow/{i}" for i in range(8)]))
    pids = starting(pool)
    assert len(pids) == 1
    for num_segments in (1, 2, 8):
        assert not any(run_batch(pool, [f"c/{i}" for i in range(num_segments)], num_segments))
        edges, _, _ = pool.get_automata_for_batch(["a/2"] * num_segments)
        assert edges.shape == (4, 2 * num_segments)
        sprint = pool.get_free_instance()
        assert sprint is not None
        assert sprint.get_automaton("a/3")[:2] == (4, 3)
        assert starting(pool) == pids
    assert len(pool.instances) == 3
    assert len(list(tmp_path.iterdir())) == 1 + 3  # no Sprint was started twice
    pool.close()
    assert time.monotonic() - begin < START_TIMEOUT / 3  # nor was it asked to end
    assert resources() == before


def test_a_start_that_ends_between_batches_is_used(tmp_path: Path) -> None:
    pool = hanging_pool(tmp_path, "")
    script = tmp_path / "sprint.sh"
    script.write_text(
        f"#!/bin/sh\nmkdir {tmp_path}/1 2>/dev/null && read x < {tmp_path}/fifo\n"
        f'exec {sys.executable} -S -E {TINY} "$@"\n'
    )
    os.mkfifo(tmp_path / "fifo")
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    (pid,) = starting(pool)
    (tmp_path / "fifo").write_text("\n")
    while starting(pool):
        assert not any(run_batch(pool, ["c/1", "c/2"]))
    assert pid in [sprint.pid for sprint in pool.instances if sprint.is_ready]
    pool.close()


def test_a_late_start_is_reported_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = hanging_pool(tmp_path, "1", start_timeout=1.0)
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    (pid,) = starting(pool)
    seed = 0
    while pid in [sprint.pid for sprint in pool.instances] or len(pool.instances) < 2:
        assert not any(run_batch(pool, ["c/1", "c/2"], seed))
        seed += 1
    assert not Path(f"/proc/{pid}").exists()
    words = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(words) == 1
    assert "Sprint is not ready in time" in words[0]
    assert f"process {pid}" in words[0]
    while starting(pool):
        assert not any(run_batch(pool, ["c/1", "c/2"]))
    assert len(pool.instances) == 2
    pool.close()


def test_a_restart_that_hangs_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    pool = hanging_pool(tmp_path, "3", on_failure="skip", numInstances=2)
    begin = time.monotonic()
    assert not any(run_batch(pool, ["c/slow/1", "c/slow/2"]))
    tags = ["c/kill/1", *(f"c/slow/{i}" for i in range(6))]
    assert run_batch(pool, tags, 1) == [True] + [False] * 6  # the fourth start does them
    assert len(starting(pool)) == 1
    assert time.monotonic() - begin < START_TIMEOUT / 2
    pool.close()


def test_a_free_sprint_waits_for_segments_that_others_lose(tmp_path: Path) -> None:
    """The other Sprint has nothing left to do when the first one dies, and its restart hangs."""
    pool = hanging_pool(tmp_path, "3", sprintControlConfig={"once": tmp_path / "once"})
    begin = time.monotonic()
    assert not any(run_batch(pool, ["c/slow/1", "c/slow/2"]))
    assert not any(run_batch(pool, ["c/once/1", "c/2"]))
    assert len(starting(pool)) == 1
    assert time.monotonic() - begin < START_TIMEOUT / 2
    pool.close()


def test_a_hanging_start_of_the_only_sprint_fails_in_time(tmp_path: Path) -> None:
    before = resources()
    pool = hanging_pool(tmp_path, "1 2", numInstances=1, start_timeout=0.2)
    for _ in range(2):
        with pytest.raises(SprintTimeoutError, match="not ready in time") as caught:
            run_batch(pool, ["c/1", "c/2"])
        assert caught.value.request == "init"
        assert pool.instances == []
        assert resources() == before
    pool.sprint_opts["start_timeout"] = START_TIMEOUT
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    pool.close()


def test_a_dead_sprint_and_one_that_hangs(tmp_path: Path) -> None:
    """Neither is counted as one that can do the only segment of a batch."""
    pool = hanging_pool(tmp_path, "1")
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    begin = time.monotonic()
    (pid,) = starting(pool)
    ready = next(sprint for sprint in pool.instances if sprint.is_ready)
    assert ready.pid is not None
    os.kill(ready.pid, signal.SIGKILL)
    assert not any(run_batch(pool, ["c/1"]))
    assert starting(pool) == [pid]
    kill_sprints(pool)  # both
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    assert time.monotonic() - begin < START_TIMEOUT / 2
    pool.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InterruptionError, SprintDiedError])
def test_an_interrupt_ends_starts_that_hang(kind: type[BaseException], tmp_path: Path) -> None:
    before = resources()
    pool = hanging_pool(tmp_path, "1 4")
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    begin = time.monotonic()
    with pytest.raises(kind, match="of a signal handler"), alarm(0.1, kind):
        run_batch(pool, ["c/stop/1"] * 4)
    assert pool.instances == []
    assert resources() == before
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    assert len(starting(pool)) == 1
    pool.close()
    assert time.monotonic() - begin < START_TIMEOUT / 2
    assert resources() == before


def test_a_fork_leaves_starts_to_its_parent(tmp_path: Path) -> None:
    pool = hanging_pool(tmp_path, "1")
    assert not any(run_batch(pool, ["c/1", "c/2"]))
    pids = starting(pool)
    assert in_fork(lambda: (run_batch(pool, ["c/1", "c/2"]), pool.close())) == 0
    assert not any(run_batch(pool, ["c/1", "c/2"], 1))
    assert starting(pool) == pids
    pool.close()


@pytest.mark.parametrize("end", ["", "del pool", "pool.close()"])
def test_no_start_is_left_at_the_end_of_the_interpreter(end: str, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.sprint_ctl.test_starts import hanging_pool, run_batch, starting
pool = hanging_pool(Path({str(tmp_path)!r}), "1 2", numInstances=3)
run_batch(pool, ["c/1", "c/2", "c/3"])
print(*starting(pool))
{end}
"""
    begin = time.monotonic()
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=100
    )
    assert time.monotonic() - begin < START_TIMEOUT / 2
    assert len(done.stdout.split()) == 2
    assert [pid for pid in done.stdout.split() if Path(f"/proc/{pid}").exists()] == []


def is_alive(pid: str) -> bool:
    """Whether a process runs, or is not reaped by us."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("use", ["pool", "dataset"])
def test_a_start_that_hangs_ends_with_a_killed_trainer(use: str, tmp_path: Path) -> None:
    """With its group, and where nothing of ours runs in it yet."""
    pids_file = tmp_path / "pids"
    waiting = f"sleep 1000 & echo $! $$ > {pids_file}.part; mv {pids_file}.part {pids_file}; wait"
    code = f"""
import os, signal, threading, time
from pathlib import Path
from sprint_ctl.dataset import ExternSprintDataset
from tests.sprint_ctl.test_starts import hanging_pool, run_batch
folder = Path({str(tmp_path)!r})
pool = hanging_pool(folder, "1", hangs="sh -c {waiting!r}", numInstances=1)
if {use!r} == "pool":
    threading.Thread(target=run_batch, args=(pool, ["c/1"]), daemon=True).start()
else:
    dataset = ExternSprintDataset(str(folder / "sprint.sh"), "")
    dataset.init_seq_order(1)
while not (folder / "pids").exists():
    time.sleep(0.001)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=100
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = pids_file.read_text().split()
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.002)
