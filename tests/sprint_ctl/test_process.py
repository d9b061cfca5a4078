"""Start and end of a Sprint process: inherited resources, errors, leftovers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import sprint_ctl
import sprintcache
from sprint_ctl._trainer.process import SprintProcess
from sprint_ctl._trainer.process_output import describe_end, log_file, signal_name, tail_of
from sprint_ctl.command import find_executable, split_command
from sprint_ctl.errors import (
    SprintDiedError,
    SprintError,
    SprintProtocolError,
    SprintStartError,
    SprintTimeoutError,
)
from tests.resources import children, descriptors
from tests.sprint_ctl.sprint_data import NAMES

ROOT = Path(__file__).parents[2]

# in place of Sprint: argv is the configuration string and the folder of modules
PRELUDE = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from sprint_ctl.config import parse_config
from sprint_ctl._pipe.wire import Wire
pairs = parse_config(sys.argv[1])
wire = Wire(int(pairs["p2c_fd"]), int(pairs["c2p_fd"]))
"""
ANSWER = "wire.send(('ok',)); print(wire.receive(), file=sys.stderr)"


def start(code: str, *arguments: str, exit_timeout: float = 5.0, **more: Any) -> SprintProcess:
    return SprintProcess(
        [sys.executable, "-c", PRELUDE + code],
        lambda config, modules: [config, modules, *arguments],
        exit_timeout=exit_timeout,
        **more,
    )


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def ended(pid: int, timeout: float = 5) -> bool:
    deadline = soon(timeout)
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0]
        if status == "Z":
            return True
        time.sleep(0.01)
    return False


def resources() -> tuple[int, int, list[str]]:
    """Descriptors, threads and folders of this process."""
    folders = [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("sprint-")]
    return len(descriptors()), threading.active_count(), folders


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


# ---- inherited resources -------------------------------------------------------------------------


def test_inherited_resources() -> None:
    extra = os.open("/dev/null", os.O_RDONLY)  # close-on-exec, like all of Python's
    os.set_inheritable(extra, True)  # and one that was made inheritable
    process = start(
        """
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
fds = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")]  # not that of listdir
known = {int(value) for key, value in pairs.items() if key.endswith("_fd")}
ignored = int(open("/proc/self/status").read().split("SigIgn:")[1].split()[0], 16)
others = [os.readlink(f"/proc/self/fd/{fd}")[:5] for fd in set(fds) - known - {0, 1, 2}]
wire.send((others == ["pipe:"] and known < set(fds), os.readlink("/proc/self/fd/0"), os.getsid(0),
           bool(ignored & (1 << (signal.SIGPIPE - 1))), sorted(os.listdir(sys.argv[2]))))
"""
    )
    only, stdin, session, pipe_ignored, modules = process.receive(deadline=soon())
    assert only  # and the lifeline
    assert stdin == "/dev/null"
    assert session == process.pid
    assert pipe_ignored
    assert modules == ["sprint_ctl", "sprintcache"]
    process.close()
    os.close(extra)
    assert Path(sprint_ctl.__path__[0]).is_dir()
    assert Path(sprintcache.__path__[0], "errors.py").is_file()


def test_nothing_is_left() -> None:
    start("").close()  # imports, and what they leave
    before = resources()
    for code in (ANSWER, "", "sys.exit(3)", "os.kill(os.getpid(), 9)"):
        for _ in range(2):
            start(code).close()
    process = start(ANSWER)
    pid = process.pid
    del process
    assert ended(pid)
    assert resources() == before


@pytest.mark.parametrize("how", ["end", "exception", "exit from a thread"])
def test_nothing_is_left_at_interpreter_exit(how: str, tmp_path: Path) -> None:
    end = {
        "end": "",
        "exception": "raise ValueError('on purpose')",
        "exit from a thread": "import threading; threading.Thread(target=sys.exit).start()",
    }[how]
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.sprint_ctl.test_process import start, ANSWER, soon
process = start(ANSWER)
process.receive(deadline=soon())
process.is_ready = True
sys.stdout.write(str(process.pid))
{end}
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
    )
    assert "('exit',)" in done.stderr  # it was asked
    assert ("on purpose" in done.stderr) == (how == "exception")
    assert ended(int(done.stdout), 0.5)
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_trainer_lets_go() -> None:
    """The pipe ends of a fork are closed; its end is not the end of Sprint."""
    before = resources()
    process = start(ANSWER)
    assert process.receive(deadline=soon()) == ("ok",)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if resources()[0] > before[0]:
                os._exit(3)
            process.close()
            process.receive(deadline=soon())
        except SprintError as error:
            status = 0 if "belongs to process" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert process.poll() is None
    assert process.close() == 0


def test_no_file_is_made_for_a_process(tmp_path: Path) -> None:
    """So none is left, however the trainer and Sprint end."""
    process = start(ANSWER)
    assert process.receive(deadline=soon()) == ("ok",)
    assert os.listdir(tmp_path) == []
    process.close()


def test_a_folder_of_the_user_is_never_removed(tmp_path: Path) -> None:
    """Neither by a Sprint whose trainer was killed, whatever its name and wherever it is."""
    folder = tmp_path / "sprint-modules-mine"
    folder.mkdir()
    (folder / "layer.py").write_text("")
    code = """
import os, signal, sys
from tests.sprint_ctl.test_pool_faults import SMALL, small_pool
pool = small_pool()
pool.get_free_instance()
sys.stdout.write(str(pool.instances[0].pid)); sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
    )
    assert ended(int(done.stdout))
    assert [path.name for path in tmp_path.rglob("*")] == ["sprint-modules-mine", "layer.py"]


def test_with_closed_standard_descriptors(tmp_path: Path) -> None:
    """The pipes are not what Sprint writes its log or its errors to."""
    combinations = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.sprint_ctl.test_process import start, soon
for closed in {combinations}:
    if os.fork():
        os.wait()
        continue
    for fd in closed:
        os.close(fd)
    process = start(
        "print('log', flush=True); print('why', file=sys.stderr); wire.send(('ok',));"
        "wire.receive()"
    )
    answer = process.receive(deadline=soon())
    status = process.close()
    with open({str(tmp_path)!r} + "/" + str(closed), "w") as file:
        file.write(f"{{answer}} {{status}} {{process._child.stderr_tail()}}")
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], timeout=100, check=False, capture_output=True)
    answers = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert answers == {str(closed): "('ok',) 0 why\n" for closed in combinations}


def test_arrays_with_closed_standard_descriptors(tmp_path: Path) -> None:
    """Memory files and lists of segments keep away from the numbers that a child replaces."""
    code = f"""
import os, sys
import numpy as np
sys.path.insert(0, {str(ROOT)!r})
from sprint_ctl.dataset import ExternSprintDataset
from sprint_ctl.error_signals import SprintInstancePool
from tests.sprint_ctl.sprint_data import NAMES, SMALL, STAND_IN
for fd in range(3):
    os.close(fd)
file = open({str(tmp_path / "answer")!r}, "wb", buffering=0)  # no stdin of Sprint, fd 0
data = open({str(tmp_path / "data")!r}, "wb", buffering=0)  # no stdout of Sprint, fd 1
other = open({str(tmp_path / "other")!r}, "wb", buffering=0)  # no stderr of Sprint, fd 2
pool = SprintInstancePool(
    {{"sprintExecPath": STAND_IN, "numInstances": 2, "start_timeout": 30, "request_timeout": 30,
     "sprintConfigStr": [*SMALL, "--*.extract-features=false", "--*.fake.criterion=trivial",
                         "--*.fake.misbehave=segment-1:stderr:why"]}}
)
posteriors = np.full((3, 2, 2), -np.log(2), np.float32)
losses = pool.get_batch_loss_and_error_signal(posteriors, [3, 2], NAMES[:2])
pool.close()
dataset = ExternSprintDataset(STAND_IN, SMALL, start_timeout=30, data_timeout=30)
dataset.init_seq_order(1, [NAMES[5], NAMES[3]])
dataset.load_seqs(0, 2)
file.write(f"{{losses[0].tolist()}} {{dataset.get_tag(0)}} {{dataset.get_tag(1)}}".encode())
dataset.close()
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True)
    assert (tmp_path / "answer").read_text() == f"[3.0, 2.0] {NAMES[5]} {NAMES[3]}"
    assert (tmp_path / "data").read_bytes() == (tmp_path / "other").read_bytes() == b""


def test_a_start_without_descriptors_leaves_none() -> None:
    """Each of the calls that need one fails in turn."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fds, num_failed = descriptors(), 0
    free = os.dup(0)
    os.close(free)
    is_started = False
    while not is_started:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + num_failed, hard))
        try:
            start("pass").close(ask=False)
            is_started = True
        except SprintStartError:
            num_failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors() == fds
    assert num_failed > 6


def test_where_the_system_reaps_processes(tmp_path: Path) -> None:
    """SIGCHLD is ignored: no exit status is known, and none is made up."""
    code = f"""
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
sys.path.insert(0, {str(ROOT)!r})
from sprint_ctl.errors import SprintError
from tests.sprint_ctl.test_process import start, soon, ANSWER
process = start("wire.send(('ok',)); os.kill(os.getpid(), 9)")
process.receive(deadline=soon())
process.is_ready = True
try:
    process.receive(deadline=soon())
except SprintError as error:
    print(type(error).__name__, error.returncode, error.signal, error.has_ended)
    print(error)
process = start(ANSWER)
process.receive(deadline=soon())
print(process.is_running, process.close(), process.is_running)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "SprintDiedError None None True"
    assert "SIGCHLD is ignored" in lines[1]
    assert "ended with an unknown exit status" in lines[2]
    assert lines[-1] == "True None False"


# ---- what does not start -----------------------------------------------------------------------


@pytest.mark.parametrize("thread", ["first", "second"])
def test_a_start_without_threads_leaves_nothing(
    thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without the thread that starts Sprint, nor without the one that reads its stderr."""
    start(ANSWER).close()
    before = resources(), children()  # other tests may leave one

    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        if thread == "second":
            patch.setattr(threading.Thread, "start", fails)
        else:
            threading.stack_size(1 << 46)
        try:
            for _ in range(5):
                with pytest.raises(SprintStartError, match="start new thread"):
                    start("time.sleep(60)")
        finally:
            threading.stack_size(0)
    assert (resources(), children()) == before


def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    garbage = tmp_path / "garbage"
    garbage.write_text("no program")
    garbage.chmod(0o755)
    before = resources()
    for path in ("/no/such/program", str(plain), str(garbage), "", "no-such-program-on-path"):
        with pytest.raises(SprintStartError, match="cannot be started"):
            SprintProcess(path, lambda *_: [])
    with pytest.raises(ValueError, match="cannot be part of a configuration"):
        start("", config={"a": "b,c"})
    with pytest.raises(ZeroDivisionError):
        SprintProcess(sys.executable, lambda *_: [str(1 // 0)])
    assert resources() == before


# ---- how it dies -------------------------------------------------------------------------------

DEATHS: dict[str, tuple[str, int, str | None]] = {
    "SIGKILL": ("os.kill(os.getpid(), 9)", -9, "SIGKILL"),
    "SIGSEGV": (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        " os.kill(os.getpid(), signal.SIGSEGV)",
        -11,
        "SIGSEGV",
    ),
    "status": ("sys.exit(7)", 7, None),
    "traceback": ("import no_such_module_anywhere", 1, None),
}


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("name", DEATHS)
def test_deaths(name: str, ready: bool, tmp_path: Path) -> None:
    code, returncode, signal_of = DEATHS[name]
    log = tmp_path / "sprint.log"
    log.write_text("<log>the last line of the log</log>\n")
    process = start(
        f"sys.stderr.write('noise\\n' * 100 + 'the last words\\n'); sys.stderr.flush(); {code}",
        f"--*.log-channel.file={log}",
    )
    process.is_ready = ready
    kind = SprintDiedError if ready else SprintStartError
    with pytest.raises(kind) as caught:
        process.receive(deadline=soon(), request="the request", segment="a/b")
    error = caught.value
    assert (error.returncode, error.signal, error.pid) == (returncode, signal_of, process.pid)
    text = str(error)
    expected = ["the last words", "the last line of the log", "during the request", "'a/b'"]
    expected += [sys.executable, str(process.pid), signal_of or f"exit status {returncode}"]
    expected += ["no_such_module_anywhere"] * (name == "traceback")
    for words in expected:
        assert words in text
    assert ("before it was ready" in text) == (not ready)
    assert process.is_closed
    with pytest.raises(SprintDiedError, match="ended before"):
        process.send(("again",), deadline=soon())


def test_last_words_are_part_of_the_report() -> None:
    """Sprint reports an exception during a send that it never reads."""
    process = start("wire.send(('exception', 'Traceback: why')); sys.exit(1)")
    process.is_ready = True
    with pytest.raises(SprintDiedError, match="Traceback: why") as caught:
        process.send(("x", b"x" * 10_000_000), deadline=soon(), segment="a")
    assert caught.value.remote == "Traceback: why"
    assert caught.value.returncode == 1


FAULTS: dict[str, tuple[str, type[SprintError], str]] = {
    "hang": ("time.sleep(60)", SprintTimeoutError, "in time"),
    "garbage": (
        "os.write(int(pairs['c2p_fd']), b'<log>' * 9)",
        SprintProtocolError,
        "not a message",
    ),
    "closed": (
        "os.close(int(pairs['c2p_fd'])); time.sleep(60)",
        SprintProtocolError,
        "closed its pipe but still runs",
    ),
    "half, then dead": (
        "os.write(int(pairs['c2p_fd']), b'\\x99\\x00\\x00\\x00\\x80\\x04')",
        SprintDiedError,
        "exit status 0: expected 153 bytes, found 2",
    ),
    "half, then nothing": (
        "os.write(int(pairs['c2p_fd']), b'\\x99\\x00\\x00\\x00\\x80\\x04'); time.sleep(60)",
        SprintTimeoutError,
        "expected 153 bytes, found 2",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_the_process(name: str) -> None:
    code, kind, words = FAULTS[name]
    process = start("wire.send(('ok',)); " + code)
    assert process.receive(deadline=soon()) == ("ok",)
    process.is_ready = True
    with pytest.raises(kind, match=words):
        process.receive(deadline=soon(0.3))
    assert process.poll() is not None


def test_without_a_descriptor_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.3: the same by asking now and then."""

    def missing(*_: Any) -> int:
        raise OSError("no such call")

    monkeypatch.setattr(os, "pidfd_open", missing)
    process = start("time.sleep(0.2); os.kill(os.getpid(), 9)")
    process.is_ready = True
    with pytest.raises(SprintDiedError, match="SIGKILL"):
        process.receive(deadline=soon())
    assert start(ANSWER).close() == 0


# ---- how it is ended ---------------------------------------------------------------------------


def stubborn(process: SprintProcess) -> SprintProcess:
    assert process.receive(deadline=soon()) == ("ok",)
    return process


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ANSWER, 0),
        ("wire.send(('ok',)); wire.receive(); os.abort()", -signal.SIGABRT),
        ("wire.send(('ok',)); time.sleep(60)", -signal.SIGTERM),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); wire.send(('ok',)); time.sleep(60)",
            -signal.SIGKILL,
        ),
    ],
    ids=["asked", "aborts", "terminated", "killed"],
)
def test_ask_terminate_kill(code: str, expected: int) -> None:
    process = stubborn(start(code, exit_timeout=0.3 if "sleep" in code else 5))
    assert process.close() == expected
    assert process.close() == expected


def test_a_wrapper_ends_with_what_it_started(tmp_path: Path) -> None:
    script = tmp_path / "sprint.sh"
    code = PRELUDE + "wire.send((os.getpid(),)); time.sleep(60)"
    (tmp_path / "code.py").write_text(code)
    script.write_text(f'#!/bin/sh\n{sys.executable} {tmp_path}/code.py "$@"\nexit 0\n')
    script.chmod(0o755)
    process = SprintProcess(str(script), lambda *both: list(both), exit_timeout=0.1)
    (inner,) = process.receive(deadline=soon())
    assert inner != process.pid
    process.close()
    assert ended(inner)


def test_what_a_wrapper_has_left_running_ends(tmp_path: Path) -> None:
    script = tmp_path / "sprint.sh"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/pid\n")
    script.chmod(0o755)
    process = SprintProcess(str(script), lambda *both: list(both), exit_timeout=0.1)
    with pytest.raises(SprintStartError, match="exit status 0 before it was ready"):
        process.receive(deadline=soon())
    assert ended(int((tmp_path / "pid").read_text()))


def test_a_stopped_process_ends(tmp_path: Path) -> None:
    process = stubborn(start("wire.send(('ok',)); os.kill(os.getpid(), signal.SIGSTOP)"))
    assert process.close(ask=False) == -signal.SIGTERM


def test_stderr_passes_through_and_its_end_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    process = start(
        "sys.stderr.write('begin' + 'x' * 200_000 + 'end\\n'); sys.stderr.flush(); " + ANSWER
    )
    stubborn(process)
    process.close()
    error = SprintError("why")
    process.explain(error)
    assert len(error.stderr_tail) == 65536
    assert error.stderr_tail.endswith("end\n('exit',)\n")
    passed = capfd.readouterr().err
    assert passed.startswith("begin")
    assert passed.endswith("end\n('exit',)\n")
    assert len(passed) > 200_000


# ---- command lines and reports -----------------------------------------------------------------


def test_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINT_ARGS", "--a=1 '--b=2 3'")
    monkeypatch.setenv("SPRINT_DIR", "/data")
    table: list[tuple[Any, list[str]]] = [
        ("--x='a b' --y", ["--x=a b", "--y"]),
        ("$SPRINT_ARGS --c", ["--a=1", "--b=2 3", "--c"]),
        ("${SPRINT_DIR}/file $SPRINT_DIR/other", ["/data/file", "/data/other"]),
        (["--x=a b", lambda: "--y=$x"], ["--x=a b", "--y=$x"]),
        (lambda: ["$SPRINT_ARGS", "z"], ["--a=1", "--b=2 3", "z"]),
        (lambda: "one two", ["one", "two"]),
        ([Path("/opt/nn-trainer"), lambda: Path("$x")], ["/opt/nn-trainer", "$x"]),
        ("", []),
    ]
    for line, words in table:
        assert split_command(line) == words
    with pytest.raises(ValueError, match="NO_SUCH_VARIABLE"):
        split_command("$NO_SUCH_VARIABLE")
    for wrong in (3, [3], None):
        with pytest.raises(TypeError):
            split_command(wrong)  # type: ignore[arg-type]


def test_an_environment_for_sprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINT_TEST", "trainer")
    monkeypatch.setenv("SPRINT_KEPT", "kept")
    process = start(
        "wire.send((os.environ['SPRINT_TEST'], os.environ['SPRINT_KEPT']))",
        environment={"SPRINT_TEST": "sprint"},
    )
    assert process.receive(deadline=soon()) == ("sprint", "kept")
    process.close()


def test_the_command_of_an_error_can_be_pasted() -> None:
    command = ["/opt/nn trainer", "--*.name=it's", "--*.long=" + "x" * 300, "$HOME", "--a", "b"]
    error = SprintDiedError("why")
    error.command = command
    lines = str(error).splitlines()
    pasted = "\n".join(lines[1:]).partition("command: ")[2]
    script = f"printf '%s\\n' {pasted}"
    assert subprocess.check_output(["sh", "-c", script], text=True).splitlines() == command
    assert [line.endswith(" \\") for line in lines] == [False, True, True, False]


def test_executables(tmp_path: Path) -> None:
    blank = tmp_path / "with blank"
    blank.write_text("#!/bin/sh\n")
    blank.chmod(0o755)
    assert find_executable(str(blank)) == [str(blank)]
    assert find_executable(f"{sys.executable} -c pass") == [sys.executable, "-c", "pass"]
    assert find_executable([Path(sys.executable), "-c"]) == [sys.executable, "-c"]
    assert find_executable("sh")[0].endswith("/sh")


def test_reports(tmp_path: Path) -> None:
    assert describe_end(-11) == "ended by SIGSEGV"
    assert describe_end(1) == "ended with exit status 1"
    assert "SIGSEGV" in describe_end(139)
    assert signal_name(-signal.SIGRTMIN - 1) == f"signal {signal.SIGRTMIN + 1}"
    assert signal_name(0) is None
    options: list[tuple[list[str], str | None]] = [
        (["--*.log-channel.file=a.log"], "a.log"),
        (["--*.LOGFILE=b.log", "--*.TASK=1"], "b.log"),
        (["--nn-trainer.error-channel.file=c=d.log"], "c=d.log"),
        (["--*.log.channel=nil", "--*.corpus.file=x"], None),
    ]
    for arguments, path in options:
        assert log_file(arguments) == path
    file = tmp_path / "log"
    assert tail_of(str(file)) == ""
    assert tail_of(None) == ""
    file.write_text("x" * 9000 + "end\n")
    assert tail_of(str(file)).endswith("xend\n")
    assert len(tail_of(str(file))) == 4096
    file.write_bytes(b"\x1f\x8bcompressed")
    assert tail_of(str(file)) == ""


def test_the_line_with_the_reason_is_in_the_message() -> None:
    """Addresses and names of modules after it do not displace it."""
    frames = [
        f"#{i}  /opt/rasr/nn-trainer(_ZN2Nn13PythonControl+0x{i:x}) [0x55d0{i:x}]"
        for i in range(2, 80)
    ]
    modules = [f" 'encodings.m{i}': <module 'encodings.m{i}' (built-in)>," for i in range(90)]
    error = SprintDiedError("Sprint ended by SIGABRT")
    error.stderr_tail = "\n".join(
        [
            "ModuleNotFoundError: No module named 'numpy'",
            "sys.modules = {'__main__': <module '__main__' (built-in)>,",
            *modules,
            "PROGRAM DEFECTIVE:",
            "precondition acousticModel_->nEmissions() == nnOutput.nRows() violated",
            "Creating stack trace (innermost first):",
            *frames,
            "",
            "exiting...",
        ]
    )
    assert str(error).splitlines()[2:] == [
        "    ModuleNotFoundError: No module named 'numpy'",
        "    ...",
        "    PROGRAM DEFECTIVE:",
        "    precondition acousticModel_->nEmissions() == nnOutput.nRows() violated",
        "    Creating stack trace (innermost first):",
        "    ...",
        "    ",
        "    exiting...",
    ]
