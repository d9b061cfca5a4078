"""The doctor against the stand-in in order, and broken in the ways that users meet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sprint_ctl.__main__ import main
from sprint_ctl._trainer.advice import advice_for
from sprint_ctl.errors import SprintDiedError
from tests.sprint_ctl.test_error_signals import LAYER, TRIVIAL, environment

ROOT = Path(__file__).parents[2]
STAND_IN = f"{sys.executable} -m sprint_ctl.fake_sprint"
LOOP = TRIVIAL[:3]
CORPUS = TRIVIAL[:2]
CALLBACK = TRIVIAL[:-1]

__all__ = ["environment"]  # a fixture


class Report:
    """What the doctor said: (verdict, what, text with all that follows) of each finding."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        self.findings: list[tuple[str, str, str]] = []
        for line in text.splitlines():
            if not line.startswith(" "):
                what, _, rest = line[6:].partition(": ")
                self.findings.append((line[:6].strip(), what, rest))
            else:
                verdict, what, rest = self.findings[-1]
                self.findings[-1] = verdict, what, f"{rest} {line.strip()}"

    def of(self, what: str) -> tuple[str, str]:
        (finding,) = [(verdict, text) for verdict, name, text in self.findings if name == what]
        return finding


@pytest.fixture
def doctor(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*arguments: str, sprint: str = STAND_IN, options: tuple[str, ...] = ()) -> Report:
        status = main(["doctor", "--sprint", sprint, *options, "--", *arguments])
        return Report(status, capfd.readouterr().out)

    return run


def test_the_layer(doctor) -> None:  # type: ignore[no-untyped-def]
    """Loss of uniform posteriors: frames times log of the number of labels."""
    report = doctor(*LAYER)
    assert report.status == 0, report.text
    assert report.of("Python")[1].startswith(sys.version.split()[0])
    verdict, text = report.of("loss")
    assert verdict == "ok"
    assert text.startswith("812.7173 for 'espeak/rec000/1', 186 frames by 79 labels")
    assert report.of("mode") == ("ok", "Python layer, interface version 5")
    assert report.of("control loop, automaton")[0] == "ok"
    # no alignments are extracted, and no criterion works on orthographies
    verdict, text = report.of("criterion by callback, loss")
    assert verdict == "note"
    assert "extract-alignments" in text


def test_the_control_loop_and_the_criterion(doctor) -> None:  # type: ignore[no-untyped-def]
    report = doctor(*LOOP, "--*.fake.criterion=ctc", *CALLBACK[4:])
    assert report.status == 0, report.text
    assert report.of("mode") == ("ok", "control loop, interface version 5")
    assert "26 states, 50 edges for 'espeak/rec000/1'" in report.of("automaton")[1]
    verdict, text = report.of("criterion by callback, loss")
    assert verdict == "note"
    assert "--labels and --frames" in text
    sizes = ("--labels", "28", "--frames", "140", "--segment", "espeak/rec001/1")
    report = doctor(*CALLBACK, "--*.fake.criterion=ctc", options=sizes)
    assert report.status == 0, report.text
    assert report.of("mode") == ("ok", "criterion by callback, interface version 5")
    assert "'espeak/rec001/1', 140 frames by 28 labels" in report.of("loss")[1]
    assert "50 states" in report.of("control loop, automaton")[1]


def test_an_error_signal_that_is_none(doctor) -> None:  # type: ignore[no-untyped-def]
    report = doctor(*TRIVIAL, options=("--as-given", "--labels", "5", "--frames", "10"))
    assert report.status == 0
    assert report.of("error signal")[0] == "note"


def script(folder: Path, text: str) -> str:
    path = folder / "nn-trainer"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


MISBEHAVE = "--*.fake.misbehave="
SIZES = ("--labels", "5", "--frames", "10")
BROKEN = {
    "no action": (CORPUS, (), "start", "--*.action="),
    "no corpus": (["--*.corpus.file=/no/such", *LOOP[1:]], (), "automaton", "corpus.file"),
    "no criterion": (CALLBACK, SIZES, "loss", "training-criterion is none"),
    "an unknown criterion": (
        [*CALLBACK, "--*.training-criterion=smbr"],
        SIZES,
        "loss",
        "cross-entropy",
    ),
    "no alignment": (
        [*CALLBACK, "--*.training-criterion=cross-entropy"],
        SIZES,
        "loss",
        "extract-alignments=true",
    ),
    "a discarded segment": (
        [*CALLBACK, "--*.fake.criterion=ctc"],
        ("--labels", "28", "--frames", "10"),
        "loss",
        "discards",
    ),
    "no features": (
        [*LAYER[:-5], "--*.feat-cache=/no/such"],
        (),
        "loss",
        "an archive cannot be read",
    ),
    "segments mixed": ([*LAYER, "--*.buffer-type=mini-batch"], (), "loss", "buffer-type=utterance"),
    "another segment": (CALLBACK, ("--segment", "x/y"), "loss", "choose another with --segment"),
    "another module": ([*LOOP, "--*.pymod-name=mine"], (), "start", "leave these to us"),
    "without our folder": (
        [*LOOP, "--*.pymod-name=sprint_ctl.nowhere"],
        (),
        "start",
        "does not find sprint_ctl.nowhere",
    ),
    "an old Sprint": ([*LOOP, "--*.fake.version-number=1"], (), "start", "newer Sprint"),
    "a hang": ([*LOOP, f"{MISBEHAVE}init:hang"], ("--timeout", "0.7"), "start", "--timeout"),
    "a slow criterion": (
        [*TRIVIAL, f"{MISBEHAVE}request-1:sleep:9"],
        ("--timeout", "3", *SIZES),
        "loss",
        "the criterion is slow",
    ),
    "a segmentation fault": (
        [*LOOP, f"{MISBEHAVE}import:signal:SEGV"],
        (),
        "start",
        "built for another Python",
    ),
    "no memory": (
        [*TRIVIAL, f"{MISBEHAVE}request-1:signal:KILL"],
        SIZES,
        "loss",
        "out of memory",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_sprint_is_explained(case: str, doctor) -> None:  # type: ignore[no-untyped-def]
    arguments, options, where, advice = BROKEN[case]
    report = doctor(*arguments, options=("--as-given", *options))
    assert report.status == 1, report.text
    verdict, text = report.of(where)
    assert verdict == "FAIL"
    assert advice in text.partition("-->")[2], report.text


def test_a_sprint_that_ends_after_its_start(doctor) -> None:  # type: ignore[no-untyped-def]
    """This one has no answer to "describe"."""
    tiny = ROOT / "tests" / "child_programs" / "sprint_tiny.py"
    report = doctor(sprint=f"{sys.executable} -S -E {tiny}", options=("--as-given",))
    assert report.status == 1, report.text
    assert report.of("start")[0] == "ok"
    verdict, text = report.of("describe")
    assert verdict == "FAIL"
    assert "exit status 1" in text


def test_what_cannot_be_started(tmp_path: Path, doctor) -> None:  # type: ignore[no-untyped-def]
    def advice_of(sprint: str, where: str = "start") -> str:
        report = doctor(*LOOP, sprint=sprint, options=("--as-given", "--timeout", "20"))
        assert report.status == 1
        verdict, text = report.of(where)
        assert verdict == "FAIL"
        return text.partition("-->")[2]

    assert "PATH" in advice_of("/no/such/nn-trainer", "executable")
    assert "without loading our module" in advice_of("true")
    # a Python without site-packages: what Sprint says where its Python has no numpy
    assert "no numpy" in advice_of(f"{sys.executable} -S -E -c 'import numpy'")
    assert "this machine cannot run the file" in advice_of(script(tmp_path, "\x7fELF garbage"))
    assert "did not find the program" in advice_of(script(tmp_path, "#!/bin/sh\nno-such-thing\n"))
    missing = "nn-trainer: error while loading shared libraries: libfoo.so.3: cannot open shared"
    text = advice_of(script(tmp_path, f"#!/bin/sh\necho '{missing} object file' >&2\nexit 127\n"))
    assert "libfoo.so.3" in text
    assert "LD_LIBRARY_PATH" in text


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("SyntaxError: future feature annotations is not defined", "3.8 or newer"),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by", "GLIBC_2.38"),
        ("ModuleNotFoundError: No module named 'encodings'", "python-home"),
        ("initNumpy: `import numpy.core.multiarray` failed.", "no numpy"),
        (
            "precondition acousticModel_->nEmissions() == nnOutput.nRows() violated",
            "differ in the number of labels",
        ),
        ("failed assertion: !Math::isnan(stateLogPosteriors_.at(0, 0))", "input-in-log-space=true"),
    ],
)
def test_what_the_real_sprint_writes(words: str, advice: str) -> None:
    error = SprintDiedError("Sprint ended with exit status 1")
    error.stderr_tail = f"some line\n{words}\nexiting...\n"
    assert advice in advice_for(error)[0]


def test_a_large_buffer_is_noted(doctor, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The real Sprint clears all of it at every segment."""
    config = tmp_path / "training.config"
    config.write_text("include other.config\n[*]\n")
    (tmp_path / "other.config").write_text("[*.python-layer]\nbuffer-size = 1000000 # frames\n")
    small = doctor(*LAYER, "--*.buffer-size=1000000", "--*.buffer-size=10000",
                   options=("--as-given",))  # fmt: skip
    assert "buffer-size" not in small.text
    for arguments in (["--*.buffer-size=1000000"], ["--buffer-size", "1000000"],
                      [f"--config={config}"]):  # fmt: skip
        report = doctor(*LAYER, *arguments, options=("--as-given",))
        verdict, text = report.of("buffer-size")
        assert verdict == "note"
        assert text.startswith("1000000 frames")
        assert "such as 10000" in text


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon"])
def test_timeouts_that_are_no_time(seconds: str) -> None:
    command = [
        sys.executable,
        "-m",
        "sprint_ctl",
        "doctor",
        "--sprint",
        "x",
        f"--timeout={seconds}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"'{seconds}' is not a number of seconds from 0 on" in done.stderr


def test_no_segment_of_ours_in_the_report(doctor) -> None:  # type: ignore[no-untyped-def]
    report = doctor(*LOOP, f"{MISBEHAVE}request-1:signal:SEGV", options=("--as-given",))
    assert report.status == 1
    assert "SIGSEGV" in report.of("automaton")[1]
    assert "sprint_ctl doctor" not in report.text


def test_a_pipe_that_is_closed_ends_the_report() -> None:
    command = [sys.executable, "-m", "sprint_ctl", "doctor", "--sprint", "no-such-program", "--"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_advice_needs_no_stderr() -> None:
    """The log file of Sprint is read as well; where nothing is known, it is named."""
    error = SprintDiedError("Sprint ended with exit status 1")
    error.returncode = 1
    assert "log-channel" in advice_for(error)[0]
    error.log_tail = "<error>Generic CrossEntropyCriterion::getErrorSignal not implemented</error>"
    assert "cross-entropy" in advice_for(error)[0]


def test_the_command(tmp_path: Path) -> None:
    """What Sprint writes to its stdout stays out of the report; wrong usage is exit status 2."""
    loud = [*LOOP, f"{MISBEHAVE}init:stdout:LOUD", "--*.log.channel=stdout"]
    command = [sys.executable, "-m", "sprint_ctl", "doctor", "--sprint", STAND_IN, "--as-given"]
    done = subprocess.run(
        [*command, "--", *loud], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert "LOUD" not in done.stdout
    assert "LOUD" in done.stderr
    assert done.stdout.count("\nok ") == 6
    wrong = subprocess.run(
        [*command[:4]], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert wrong.returncode == 2
    assert "--sprint" in wrong.stderr
