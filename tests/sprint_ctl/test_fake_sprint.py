"""The stand-in as a program, against transcripts of the real Sprint: calls, values, strictness."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprint_ctl
import sprintcache
from sprint_ctl.fake_sprint.misbehavior import Misbehavior
from sprintcache.errors import ConfigurationError
from tests.paths import DATA, full_data

CHILD_PROGRAMS = Path(__file__).parents[1] / "child_programs"
TWO = ["espeak/rec001/1", "espeak/rec015/1"]

CORPUS = [
    f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
    f"--*.feat-cache={DATA}/features.bundle",
    f"--*.align-cache={DATA}/alignment.linear.cache",
    "--*.log.channel=nil",
]
SOFT = f"--*.align-cache={DATA}/alignment.bw.gz.cache"
MODEL = [
    f"--*.allophone-file={DATA}/allophones",
    f"--*.lexicon.file={DATA}/corpus/lexicon.xml.gz",
    f"--config={DATA}/corpus/am.config",
]
RECORDER = [
    f"--*.pymod-path={CHILD_PROGRAMS}",
    "--*.pymod-name=sprint_recorder",
    "--*.pymod-config=a:b,c:d",
]
ORDER = [
    "--*.python-segment-order=true",
    f"--*.python-segment-order-pymod-path={CHILD_PROGRAMS}",
    "--*.python-segment-order-pymod-name=sprint_recorder",
    "--*.python-segment-order-config=x:y",
]


def stand_in(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the stand-in until it exits."""
    of_config = {"LOGFILE": "/dev/null", "tying": "lookup"}
    of_config["tying-file"] = str(DATA / "state-tying" / "monophone")
    return subprocess.run(
        [sys.executable, "-m", "sprint_ctl.fake_sprint", *arguments],
        env={**os.environ, **of_config, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def transcript(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "transcripts" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Recording:
    """The record of one run of the stand-in."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        file = folder / "calls.jsonl"
        environment = {"SPRINT_RECORD": str(file), **environment}
        self.process = stand_in(*RECORDER, *arguments, cwd=DATA, **environment)
        assert self.process.returncode == 0, self.process.stderr
        self.calls = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        self.names = {line.get("call") for line in self.calls}
        self.arrays = dict(np.load(file.with_suffix(".npz")))

    def values(self, call: str, argument: str) -> list[Any]:
        values = (line["kwargs"][argument] for line in self.calls if line.get("call") == call)
        return [self.array(value) for value in values]

    def array(self, value: Any) -> Any:
        if isinstance(value, dict) and "ndarray" in value:
            return self.arrays[value["ndarray"]]
        if isinstance(value, dict) and "tuple" in value:
            return tuple(map(self.array, value["tuple"]))
        return [self.array(item) for item in value] if isinstance(value, list) else value


def comparable(value: Any) -> Any:
    """A recorded value without what may differ: names of arrays, the callback's type, floats."""
    if isinstance(value, dict):
        if value.get("object") in ("function", "builtin_function_or_method"):
            return "callable"
        return {key: comparable(item) for key, item in value.items() if key != "ndarray"}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return "a float" if isinstance(value, float) else value


def comparable_line(line: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in line.items() if key not in ("note", "python_returns")}
    if line.get("callback") in (["version"], ["help"]):
        kept["sprint_returns"] = type(kept["sprint_returns"]).__name__
    return comparable(kept)  # type: ignore[no-any-return]


MODES: dict[str, list[str]] = {
    "control-iterate-corpus": [
        "--*.action=python-control",
        "--*.python-control-loop-type=iterate-corpus",
        "--*.extract-alignments=true",
        "--*.python-segment-order-with-segment-info=true",
    ],
    "control-iterate-corpus-soft": [
        "--*.action=python-control",
        "--*.python-control-loop-type=iterate-corpus",
        "--*.extract-alignments=true",
        "--*.soft-alignments=true",
        SOFT,
    ],
    "control-iterate-corpus-no-features": [
        "--*.action=python-control",
        "--*.python-control-loop-type=iterate-corpus",
        "--*.extract-features=false",
    ],
    "control-loop": ["--*.action=python-control"],
    "layer": [
        "--*.action=supervised-training",
        "--*.trainer=feed-forward-trainer",
        "--*.neural-network.links=0->python-layer:0",
        "--*.python-layer.layer-type=python",
        "--*.python-layer.dimension-output=79",
        "--*.python-control-enabled=true",
        "--*.training-criterion=cross-entropy",
    ],
    "trainer-criterion-by-sprint": ["--*.training-criterion=cross-entropy"],
    "trainer-forward-only": [],
    "trainer-target-alignment": [],
    "trainer-target-generic": [],
    "trainer-unsupervised": [],
    "feature-scorer": [
        "--*.feature-scorer-type=python-feature-scorer",
        "--*.feature-dimension=16",
    ],
}


def arguments_of(mode: str) -> list[str]:
    arguments = [*CORPUS, *MODEL, "--*.buffer-type=utterance", "--*.shuffle=false"]
    if mode.startswith("trainer-"):
        target = mode.removeprefix("trainer-")
        action = "un" if target in ("unsupervised", "forward-only") else ""
        arguments += [
            f"--*.action={action}supervised-training",
            "--*.trainer=python-trainer",
            f"--*.target-mode={target}",
            "--*.trainer-output-dimension=79",
            "--*.natural-pairing-layer.layer-type=softmax",
        ]
    return arguments + MODES[mode]


def record(mode: str, folder: Path, **environment: str) -> Recording:
    real = transcript(mode)
    arguments = arguments_of(mode)
    names = TWO[1:] if mode == "feature-scorer" else TWO
    if any(line.get("call") == "getSegmentList" for line in real):
        arguments += ORDER
    else:
        (folder / "segments").write_text("\n".join(names), "utf-8")
        arguments.append(f"--*.corpus.segments.file={folder}/segments")
    commands = [(line["callback"], line["kwargs"]) for line in real if "callback" in line]
    environment["SPRINT_COMMANDS"] = json.dumps(commands)
    return Recording(folder, *arguments, SPRINT_SEGMENTS=json.dumps(names), **environment)


@pytest.mark.parametrize("mode", MODES)
def test_the_calls_are_those_of_the_real_sprint(mode: str, tmp_path: Path) -> None:
    """Same functions, order, keywords, types, shapes, dtypes and memory order; same features.

    And equal in every array and number, if all transcripts are available next to the checkout.
    """
    folder = full_data()
    npz = None if folder is None else folder / "transcripts" / f"{mode}.npz"
    recording = record(
        mode, tmp_path, **({} if npz is None else {"SPRINT_RETURNS": answers(mode, npz)})
    )
    real = transcript(mode)
    assert [comparable_line(line) for line in recording.calls] == [comparable_line(x) for x in real]
    check_features(recording)
    if npz is not None:
        check_values(recording, real, dict(np.load(npz)), 1e-6 if mode == "layer" else 0)


def answers(mode: str, npz: Path) -> str:
    """What Python returned to the real Sprint, for the recorder to return it again."""
    returned: dict[str, list[str]] = {}
    for line in transcript(mode):
        answer = line.get("python_returns")
        if isinstance(answer, dict) and "ndarray" in answer:
            returned.setdefault(line["call"].split(".")[-1], []).append(answer["ndarray"])
    return json.dumps({**returned, "npz": str(npz)})


def check_features(recording: Recording) -> None:
    archive = sprintcache.open_archive(DATA / "features.bundle")
    given: list[Any] = []
    for line in recording.calls:
        kwargs = line.get("kwargs", {})
        given += [
            recording.array(kwargs[name]) for name in ("features", "input") if kwargs.get(name)
        ]
    given = [value[0] if isinstance(value, list) else value for value in given]
    frames = (
        recording.values("scorer.add_feature", "feature")
        if "scorer.init" in recording.names
        else []
    )
    names = TWO[1:] if frames else TWO
    given = [np.stack(frames, axis=1)] if frames else given
    for value, name in zip(given, names, strict=False):
        np.testing.assert_array_equal(value.T, archive.read_features(name))


def check_values(
    recording: Recording,
    real: list[dict[str, Any]],
    arrays: dict[str, np.ndarray],
    tolerance: float,
) -> None:
    def same(ours: Any, theirs: Any) -> None:
        if isinstance(theirs, dict) and "ndarray" in theirs:
            ours, theirs = recording.arrays[ours["ndarray"]], arrays[theirs["ndarray"]]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        elif isinstance(theirs, dict):
            for key in theirs:
                same(ours[key], theirs[key])
        elif isinstance(theirs, list):
            for one, other in zip(ours, theirs, strict=True):
                same(one, other)
        elif isinstance(theirs, float):
            assert ours == pytest.approx(theirs, rel=1e-6)

    for ours, theirs in zip(recording.calls, real, strict=True):
        same(ours["kwargs"], theirs["kwargs"])
        if theirs.get("callback") not in (["version"], ["help"]):
            same(ours.get("sprint_returns"), theirs.get("sprint_returns"))


def test_labels_and_error_signals_follow_the_formula(tmp_path: Path) -> None:
    """loss = -sum log p[t, label[t]], p - onehot; p is the softmax of what forward returned."""
    labeling = sprintcache.AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )
    alignments = sprintcache.open_archive(DATA / "alignment.linear.cache")
    labels = [alignments.read_labels(name, labeling) for name in TWO]
    trained = record("trainer-target-alignment", tmp_path)
    for ours, theirs in zip(
        trained.values("feedInputAndTargetAlignment", "targetAlignment"), labels, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    layer = record("layer", tmp_path)
    losses = layer.values("control.notify_segment_loss", "loss")
    errors = layer.values("layer.backpropagate", "errorSignalIn")
    generator = [np.random.default_rng(7).standard_normal((79, len(label))) for label in labels]
    for value, label, loss, error in zip(generator, labels, losses, errors, strict=True):
        forwarded = np.exp(value) / np.exp(value).sum(axis=0)  # as the recorder returned it
        p = np.exp(forwarded) / np.exp(forwarded).sum(axis=0)
        frames = np.arange(len(label))
        assert loss == pytest.approx(-np.log(p[label, frames]).sum(), rel=1e-5)
        p[label, frames] -= 1
        np.testing.assert_allclose(error, p, atol=1e-6)


# ---- the order of segments


NAMES = [f"espeak/rec{number:03}/1" for number in range(24)]


def visited(folder: Path, *arguments: str, **environment: str) -> list[str]:
    recording = Recording(folder, *arguments_of("control-iterate-corpus-no-features"), *arguments,
                      **environment)  # fmt: skip
    return recording.values("control.process_segment", "name")


def test_which_segments_are_visited_and_when(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("# three\n" + "\n".join([*NAMES[5:7], NAMES[2]]) + "\n")
    (tmp_path / "order").write_text("\n".join(NAMES[10:4:-1]))
    keep = f"--*.corpus.segments.file={tmp_path}/keep"
    order = f"--*.corpus.segment-order={tmp_path}/order"
    partition = ["--*.corpus.partition=5", "--*.corpus.select-partition=1"]
    assert visited(tmp_path, keep) == [NAMES[2], *NAMES[5:7]]
    assert visited(tmp_path, order) == NAMES[10:4:-1]
    assert visited(tmp_path, order, keep) == [NAMES[6], NAMES[5]]
    assert visited(tmp_path, *partition) == NAMES[1::5]
    assert visited(tmp_path, *partition, order) == NAMES[9:4:-5]
    shuffled = visited(tmp_path, "--*.segment-order-shuffle=true", "--*.seed=3")
    assert shuffled != NAMES
    assert sorted(shuffled) == NAMES
    again = json.dumps([NAMES[3]] * 2)
    assert visited(tmp_path, *ORDER, SPRINT_SEGMENTS=again) == [NAMES[3]] * 2


def test_arguments_of_the_segment_order(tmp_path: Path) -> None:
    recording = Recording(
        tmp_path,
        *arguments_of("control-iterate-corpus-no-features"),
        *ORDER,
        "--*.python-segment-order-with-segment-info=true",
        "--*.use-data-source=true",
        "--*.segment-order-sort-by-time-length=true",
        SPRINT_SEGMENTS="[]",
    )
    archive = sprintcache.open_archive(DATA / "features.bundle")
    (info,) = recording.values("getSegmentList", "segmentsInfo")
    assert {name: value["nframes"] for name, value in info.items()} == {
        name: archive.num_frames(name) for name in NAMES
    }
    assert "control.process_segment" not in recording.names
    assert "control.init_processing" not in recording.names


def test_the_map_of_orthographies_is_made_in_the_order_of_python(tmp_path: Path) -> None:
    """RASR builds it by visiting the corpus, so a callback may call getSegmentList."""
    recording = Recording(
        tmp_path,
        *arguments_of("control-loop"),
        *ORDER,
        SPRINT_SEGMENTS=json.dumps(TWO),
        SPRINT_COMMANDS=json.dumps(
            [[["get_orthography_by_segment_name", name], {}] for name in (TWO[1], NAMES[2])]
        ),
    )
    calls = [line.get("call") or line["callback"][0] for line in recording.calls]
    command = "get_orthography_by_segment_name"
    expected = ["getSegmentList", command, command, "control.exit"]
    assert calls == ["init", "control.run_control_loop", *expected]
    assert recording.calls[3]["sprint_returns"] == "and ten with "
    assert recording.calls[4]["sprint_raises"][0] == "KeyError"


# ---- results of Python


def module(folder: Path, code: str) -> list[str]:
    """Arguments for a module of this code instead of the recorder."""
    prelude = "import sys, os, time, numpy as np\n"
    (folder / "embedded.py").write_text(prelude + code)
    return [f"--*.pymod-path={folder}", "--*.pymod-name=embedded",
            f"--*.python-segment-order-pymod-path={folder}",
            "--*.python-segment-order-pymod-name=embedded"]  # fmt: skip


CONTROL = """
class Control:
    def __init__(self, callback=None): self.callback = callback
    def init_processing(self, **_): pass
    def process_segment(self, **_): %s
    def run_control_loop(self, callback): %s
    def exit(self): sys.stderr.write("exit was called\\n")
def init(callback, **_): return Control(callback)
"""
LAYER = """
class SprintNnPythonLayer:
    def __init__(self, config): self.trainable = True
    def __getattr__(self, name): return lambda **_: None
    def isTrainable(self): return %(trainable)s
    def getNumberOfFreeParameters(self): return 0
    def forward(self, input): return %(forward)s
    def backpropagate(self, errorSignalIn): return %(backpropagate)s
"""
SOUND_LAYER = {
    "trainable": "True",
    "forward": "np.zeros((79, input[0].shape[1]), np.float32)",
    "backpropagate": "(errorSignalIn,)",
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, ""),
        ({"forward": "np.zeros((79, input[0].shape[1]))[::1, ::-1]"}, ""),  # float64, any strides
        ({"trainable": "np.bool_(True)"}, "did not return a bool"),
        ({"trainable": "1"}, "did not return a bool"),
        ({"forward": "np.zeros((79, 3), np.int32)"}, "2 dimensions of int32"),
        ({"forward": "np.zeros((79, 3), '>f4')"}, "2 dimensions of &gt;f4"),
        ({"forward": "np.zeros(79, np.float32)"}, "1 dimensions of float32"),
        ({"forward": "[[0.0]]"}, "found list"),
        ({"forward": "None"}, "found NoneType"),
        ({"forward": "1 / 0"}, "ZeroDivisionError"),
        ({"backpropagate": "[errorSignalIn]"}, "did not return a tuple"),
    ],
    ids=str,
)
def test_results_of_a_layer_are_checked(
    wrong: dict[str, str], message: str, tmp_path: Path
) -> None:
    arguments = [*arguments_of("layer"), "--*.python-control-enabled=false"]
    code = LAYER % {**SOUND_LAYER, **wrong}
    done = stand_in(*arguments, "--*.corpus.partition=24", *module(tmp_path, code))
    assert done.returncode == (1 if message else 0), done.stderr
    assert message in done.stderr
    assert ("exiting..." in done.stderr) == bool(message)


@pytest.mark.parametrize(
    ("names", "status", "message"),
    [
        ("['espeak/rec001/1']", 0, ""),
        ("(name for name in ())", 0, ""),
        ("None", 1, "did not return an iterable object"),
        ("[b'espeak/rec001/1']", 1, "segment-name is not a string but a bytes"),
        ("['no/such/segment']", 1, "segment 'no/such/segment' not found"),
        ("np.array(['espeak/rec001/1'])", -signal.SIGSEGV, "exit"),
        ("map(int, 'x')", 1, "failed to get next segment-name"),
    ],
)
def test_segment_names_must_be_exact_strings(
    names: str, status: int, message: str, tmp_path: Path
) -> None:
    code = CONTROL % ("pass", "pass") + f"\ndef getSegmentList(**_): return {names}\n"
    arguments = [*arguments_of("control-iterate-corpus-no-features"), *ORDER]
    done = stand_in(*arguments, *module(tmp_path, code))
    assert done.returncode == status, done.stderr
    assert status < 0 or message in done.stderr


@pytest.mark.parametrize(
    ("code", "status", "messages"),
    [
        ("raise SystemExit(3)", 3, []),
        ("raise SystemExit", 0, []),
        ("sys.exit('why')", 1, ["why"]),
        ("raise KeyError('seg')", 1, ["Traceback", "KeyError: 'seg'", "exiting..."]),
        ("callback()", 1, ["TypeError", "requires at least one arg"]),
        ("callback(command='version')", 1, ["TypeError"]),
        ("return 5", 0, ["exit was called"]),
    ],
)
def test_how_a_control_loop_ends(
    code: str, status: int, messages: list[str], tmp_path: Path
) -> None:
    arguments = module(tmp_path, CONTROL % ("pass", code))
    done = stand_in("--*.action=python-control", *arguments)
    assert done.returncode == status, done.stderr
    assert all(message in done.stderr for message in messages), done.stderr
    assert ("exit was called" in done.stderr) == (code == "return 5")


ANSWERS = [
    # command, what Sprint raises or returns
    ("'calculate_criterion'", "TypeError: callback() missing required argument 'posteriors'"),
    ("'calculate_criterion', p, orthography=None", "TypeError: callback() argument 3 must be str"),
    ("'calculate_criterion', p, orthography=b'a'", "TypeError: callback() argument 3 must be str"),
    ("'calculate_criterion', p, output_error_type='x'", "ValueError: PythonControl callback()"),
    ("'calculate_criterion', p, 'a', f", "ValueError: PythonControl callback()"),
    ("'calculate_criterion', p, unknown=1", "TypeError: callback() got an unexpected keyword"),
    ("'get_alignment_from_cache', 'a', 'b', 1", "TypeError: callback() takes at most 3 arguments"),
    ("'get_alignment_from_cache', 'missing', 'b'", "ValueError: PythonControl: cannot open"),
    ("'get_orthography_by_segment_name', 'x'", "KeyError"),
    ("'analyze_alignment_from_cache', 'a', silence_allophone_state_idx='0'", "TypeError"),
    ("'calculate_criterion', -p, orthography='ab'", "(None, None)"),  # two frames, no path
]


def test_callback_arguments_are_checked_as_in_c(tmp_path: Path) -> None:
    code = f"""
        p = np.full((3, 1), 1 / 3, np.float32)
        f = np.zeros(1, np.float32)
        for command in {[command for command, _ in ANSWERS]!r}:
            try:
                print(eval('callback(' + command + ')'))
            except Exception as error:
                print(type(error).__name__ + ': ' + str(error))
"""
    done = stand_in(
        "--*.action=python-control",
        "--*.training-criterion=ctc",
        "--*.fake.characters=ab",
        "--*.log.channel=nil",
        f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
        *module(tmp_path, CONTROL % ("pass", code)),
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == len(ANSWERS)
    for line, (command, expected) in zip(lines, ANSWERS, strict=True):
        assert line.startswith(expected), command


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("'calculate_criterion', [1.0]", "posteriors: expected a NumPy array"),
        ("'calculate_criterion', p, alignment=np.zeros(1, np.uint32)", "1 dimensions of uint32"),
        ("'calculate_criterion', p, alignment=f, output_error_type='error-signal'", "not implem"),
        ("'calculate_criterion', p, orthography='a'", "needs an alignment"),
    ],
)
def test_errors_inside_sprint_end_it_at_once(command: str, message: str, tmp_path: Path) -> None:
    code = f"""
        p, f = np.full((3, 1), 1 / 3, np.float32), np.zeros(1, np.float32)
        try:
            callback({command})
        except BaseException:
            sys.stderr.write("the module went on")
"""
    arguments = module(tmp_path, CONTROL % ("pass", code))
    done = stand_in("--*.action=python-control", "--*.training-criterion=cross-entropy", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "the module went on" not in done.stderr


def test_the_orthography_is_bytes_and_the_callback_wants_str(tmp_path: Path) -> None:
    """What breaks RETURNN; and a loss by the callback inside process_segment."""
    code = """
        text = _["orthography"].decode()
        scores = np.full((28, 300), -np.log(28), np.float32)
        command, kind = "calculate_criterion", "error-signal"
        loss, error = self.callback(command, scores, text, output_error_type=kind)
        flags = error.flags
        print(loss, error.shape, error.dtype, flags.f_contiguous, flags.owndata)
        self.callback(command, scores, orthography=_["orthography"])
"""
    arguments = arguments_of("control-iterate-corpus-no-features")
    arguments += ["--*.training-criterion=ctc", "--*.corpus.partition=24"]
    done = stand_in(*arguments, *module(tmp_path, CONTROL % (code, "pass")))
    assert done.returncode == 1
    assert done.stdout.split(" ", 1)[1] == "(28, 300) float32 True True\n"
    assert "TypeError: callback() argument 3 must be str, not bytes" in done.stderr


def test_criteria_of_the_stand_in_alone(tmp_path: Path) -> None:
    """trivial returns its input; full-sum sums over the automaton of allophone states."""
    code = """
        scores = np.asfortranarray(np.log(np.full((79, 300), 1 / 79, np.float32)))
        begin = time.monotonic()
        answer = callback("calculate_criterion", scores, orthography="and ten with ",
                          output_error_type="error-signal")
        loss, error = answer
        given_back = np.array_equal(error, scores) and error is not scores
        late = time.monotonic() - begin >= 0.1
        print(loss == 300, given_back, abs(error.sum(axis=0)).max() < 1e-5, late)
"""
    arguments = ["--*.action=python-control", *CORPUS, *MODEL]
    arguments += module(tmp_path, CONTROL % ("pass", code))
    slow = "--*.fake.seconds-per-frame=0.0004"
    for criterion, printed in (
        ("trivial", "True True False True"),
        ("full-sum", "False False True True"),
    ):
        done = stand_in(*arguments, f"--*.fake.criterion={criterion}", slow)
        assert done.stdout.strip() == printed, done.stderr


# ---- misbehavior


LOOP = CONTROL % (
    "print('segment', _['name'], flush=True)",
    "[callback('calculate_criterion', np.zeros((2, 3), np.float32)) and print(n, flush=True)"
    " or time.sleep(%s) for n in range(4)]",
)


@pytest.mark.parametrize(
    ("rules", "status", "printed", "said"),
    [
        ("start:signal:KILL", -9, 0, ""),
        ("import:code:7", 7, 0, ""),
        ("init:error:out of memory", 1, 0, "out of memory"),
        ("request-2:signal:SEGV", -11, 1, ""),
        ("request-3:abort", -6, 2, ""),
        ("request-1:stderr:one;request-2:stdout:two", 0, 5, "one"),
        ("request-*:sleep:0.01;exit:abort", -6, 4, "exit was called"),
        ("start:noise:200", 0, 3154, "noise noise"),
        ("start:signal:TERM@0.0001;request-1:hang", -15, 0, ""),
    ],
)
def test_misbehavior_in_a_control_loop(
    rules: str, status: int, printed: int, said: str, tmp_path: Path
) -> None:
    done = stand_in(
        "--*.action=python-control",
        "--*.log.channel=nil",
        "--*.fake.criterion=trivial",
        f"--*.fake.misbehave={rules}",
        *module(tmp_path, LOOP % "0"),
    )
    assert done.returncode == status, done.stderr
    assert len(done.stdout.splitlines()) == printed
    assert said in done.stderr


def test_misbehavior_between_segments(tmp_path: Path) -> None:
    arguments = arguments_of("control-iterate-corpus-no-features")
    for rules, printed in (("segment-3:signal:KILL", 2), ("done-3:signal:KILL", 3)):
        done = stand_in(*arguments, *module(tmp_path, LOOP % "0"), f"--*.fake.misbehave={rules}")
        assert done.returncode == -9
        assert len(done.stdout.splitlines()) == printed


def test_dying_between_requests(tmp_path: Path) -> None:
    """The answer is out, the next request is not yet there."""
    rules = "--*.fake.misbehave=request-2:signal:KILL@0.2"
    arguments = ["--*.action=python-control", "--*.fake.criterion=trivial", "--*.log.channel=nil"]
    done = stand_in(*arguments, rules, *module(tmp_path, LOOP % "0 if n < 1 else 30"))
    assert done.returncode == -9
    assert done.stdout.split() == ["0", "1"]


@pytest.mark.parametrize(
    ("rule", "status", "expected"),
    [
        ("init:garbage:1000;init:code:0", 0, lambda data: len(data) == 1000),
        ("init:half", -9, lambda data: data == (1000).to_bytes(4, "little") + b"0123456789"),
        ("init:close;init:hang", -9, lambda data: data == b""),
    ],
)
def test_lying_on_the_pipe(
    rule: str, status: int, expected: Callable[[bytes], bool], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "sprint_ctl.fake_sprint", "--*.action=python-control",
         f"--*.fake.misbehave={rule}", *module(tmp_path, LOOP % "0"),
         f"--*.pymod-config=p2c_fd:{reading},c2p_fd:{writing},x:y"],
        pass_fds=(reading, writing),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read(14) if rule == "init:half" else pipe.read()
    if status == -9:
        time.sleep(0.05)
        assert process.poll() is None
        process.kill()
    assert process.wait(30) == status
    assert expected(data)


@pytest.mark.parametrize(
    "rule",
    ["x", "start", "nowhere:hang", "start:dance", "segment-x:hang", "start:hang:1", "start:code:x"],
)
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="misbehave"):
        Misbehavior(rule, "")


# ---- the whole program


def test_the_stand_in_stands_alone() -> None:
    """It plays Sprint: it knows nothing of the other end, and nothing of that knows it."""
    package = Path(sprint_ctl.__file__).parent
    for path in package.rglob("*.py"):
        inside = path.parent.name == "fake_sprint"
        for line in path.read_text("utf-8").splitlines():
            words = line.split()
            if words[:1] not in (["from"], ["import"]) or len(words) < 2:
                continue
            assert ("fake_sprint" in line) <= inside, f"{path}: {line}"
            assert not (inside and words[1].startswith(("..", "sprint_ctl"))), f"{path}: {line}"


def test_help_lists_the_options() -> None:
    done = stand_in("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("misbehave", "target-mode", "segments.file"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Action not given"),
        (["--*.action=train"], "'train' is not one of python-control, supervised-training"),
        (["--*.action=python-control"], "need Python module name"),
        (["--*.action=python-control", "--*.pymod-name=no_such_module"], "cannot import module"),
        (["--*.action=python-control", "--*.python-control-loop-type=x"], "not one of"),
        (["--*.action=supervised-training", *CORPUS], "labels need state-tying.file"),
        (["--*.action=supervised-training", "--*.corpus.file=x", "--*.feat-cache=x"], "corpus: "),
        (["--*.action=supervised-training", *CORPUS, SOFT], "maybe Baum-Welch alignment?"),
        (["--*.action=python-control", "--*.fake.misbehave=x"], "misbehave"),
    ],
)
def test_a_wrong_configuration_ends_with_status_1(arguments: list[str], message: str) -> None:
    done = stand_in(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.endswith("exiting...\n")


def test_the_log_file_has_the_error_too(tmp_path: Path) -> None:
    log = tmp_path / "sprint.log"
    done = stand_in("--*.log.channel=file", f"--*.file.file={log}", "--*.action=python-control")
    assert "need Python module name" in done.stderr
    assert "need Python module name" in log.read_text()


def test_features_by_a_flow_network(tmp_path: Path) -> None:
    """Traced from the port to the cache; alignments too, through an aligner."""
    arguments = [
        *arguments_of("control-iterate-corpus")[4:],
        f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
        "--*.log.channel=nil",
        f"--*.feature-extraction.file={DATA}/corpus/linear.flow",
        f"--*.feature-extraction.fcache.path={DATA}/features.bundle",
        f"--*.acache.path={DATA}/alignment.linear.cache",
        "--*.corpus.partition=24",
    ]
    recording = Recording(tmp_path, *arguments)
    (features,) = recording.values("control.process_segment", "features")
    real = sprintcache.open_archive(DATA / "features.bundle").read_features(NAMES[0])
    np.testing.assert_array_equal(features.T, real)


def test_minibatches_of_several_segments(tmp_path: Path) -> None:
    """buffer-type=mini-batch: frames of all segments, in pieces, without a name."""
    arguments = [*CORPUS, *MODEL, "--*.action=unsupervised-training", "--*.trainer=python-trainer",
                 "--*.target-mode=unsupervised", "--*.buffer-size=300", "--*.batch-size=200",
                 "--*.shuffle=false", "--*.corpus.partition=12", "--*.window-size=3"]  # fmt: skip
    recording = Recording(tmp_path, *arguments)
    batches = recording.values("feedInputUnsupervised", "features")
    archive = sprintcache.open_archive(DATA / "features.bundle")
    segments = [archive.read_features(name) for name in NAMES[::12]]
    frames = np.concatenate(segments)
    lengths = [batch.shape[1] for batch in batches]
    assert lengths == [200, 100, len(frames) - 300]
    assert set(recording.values("feedInputUnsupervised", "segmentName")) == {None}
    joined = np.concatenate(batches, axis=1).T
    np.testing.assert_array_equal(joined[:, 16:32], frames)
    np.testing.assert_array_equal(joined[1:, :16][: len(segments[0]) - 1], segments[0][:-1])
    np.testing.assert_array_equal(joined[0, :16], frames[0])


def test_minibatches_in_the_layer(tmp_path: Path) -> None:
    """Frames of several segments; a last minibatch that is not full is left out."""
    arguments = [*arguments_of("layer"), "--*.action=unsupervised-training",
                 "--*.fake.criterion=trivial", "--*.buffer-type=mini-batch", "--*.buffer-size=300",
                 "--*.batch-size=100", "--*.corpus.partition=12"]  # fmt: skip
    layer = Recording(tmp_path, *arguments)
    archive = sprintcache.open_archive(DATA / "features.bundle")
    frames = np.concatenate([archive.read_features(name) for name in NAMES[::12]])
    batches = np.concatenate([value[0] for value in layer.values("layer.forward", "input")], axis=1)
    num_batches = len(frames) // 100
    assert len(frames) > 100 * num_batches > 300
    np.testing.assert_array_equal(batches.T, frames[: 100 * num_batches])
    assert layer.values("control.init_segment", "segment_name") == [None] * num_batches
    assert layer.values("control.notify_segment_loss", "loss") == [100.0] * num_batches


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", "<&- 2>&-", "| true"])
@pytest.mark.parametrize("arguments", ["--help", "--*.action=train", "--*.log.channel=stdout"])
def test_closed_standard_streams(closed: str, arguments: str) -> None:
    """As in C++: what cannot be written is lost, and nothing else happens."""
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f'"$@" {closed}',
            "bash",
            *(sys.executable, "-m", "sprint_ctl.fake_sprint", arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (0 if arguments == "--help" else 1)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
