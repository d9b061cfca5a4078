"""The modules for data and for engines: transcripts of the real Sprint, then the stand-in."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from sprint_ctl import extern_interface, interface
from sprint_ctl._pipe.wire import Wire
from sprint_ctl._sprint.feature_scorer import PythonFeatureScorer, read_log_priors
from sprint_ctl._sprint.segment_calls import deliver_to, sink
from sprint_ctl.errors import SprintError, SprintTimeoutError
from sprintcache import FormatError
from tests import interpreters
from tests.paths import DATA, full_data
from tests.sprint_ctl.sprint_data import CONTROL, CORPUS, ENVIRONMENT, NAMES, STAND_IN

ROOT = Path(__file__).parents[2]
SEGMENTS = ["espeak/rec001/1", "espeak/rec015/1"]
CONTROLS = [
    "control-iterate-corpus",
    "control-iterate-corpus-soft",
    "control-iterate-corpus-no-features",
]
DATA_MODES = ["trainer-target-alignment", "trainer-target-generic", "trainer-unsupervised"]
DELIVERING = {
    "control.process_segment",
    "feedInputAndTarget",
    "feedInputAndTargetAlignment",
    "feedInputUnsupervised",
}
POSTERIOR_MODES = ["trainer-criterion-by-sprint", "trainer-forward-only"]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    deliver_to(None)


def transcript(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "transcripts" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if "call" in line]


def arrays_of(name: str) -> dict[str, Any]:
    folder = full_data()
    path = None if folder is None else folder / "transcripts" / f"{name}.npz"
    return {} if path is None else dict(np.load(path))


def decoded(value: Any, arrays: dict[str, Any]) -> Any:
    """A recorded value; arrays that are not there are made up, of the recorded layout."""
    if isinstance(value, list):
        return [decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "ndarray" in value:
        if value["ndarray"] not in arrays:
            size = int(np.prod(value["shape"]))
            made = np.arange(size).astype(value["dtype"])
            order = "F" if value["order"] == "F" else "C"
            arrays[value["ndarray"]] = made.reshape(value["shape"], order=order)  # type: ignore[call-overload]
        return arrays[value["ndarray"]]
    if "bytes" in value:
        return value["bytes"].encode()
    if "tuple" in value:
        return tuple(decoded(item, arrays) for item in value["tuple"])
    if "float" in value:
        return float(value["float"])
    if "object" in value:
        return object()
    return {key: decoded(item, arrays) for key, item in value.items()}


def replay(module: Any, name: str, config: str) -> list[tuple[str, dict[str, Any], Any]]:
    """Makes the calls of a transcript as Sprint does; call, arguments and what was returned."""
    arrays = arrays_of(name)
    made: list[tuple[str, dict[str, Any], Any]] = []
    names: Iterator[str] | None = None
    objects: dict[str, Any] = {}
    for line in transcript(name):
        call, kwargs = line["call"], decoded(line["kwargs"], arrays)
        if "config" in kwargs:
            kwargs["config"] = config
        if call not in ("exit", "control.exit"):
            kwargs["of_a_later_version"] = None
        if call == "getSegmentList":
            names = module.getSegmentList(**kwargs)
            continue
        if call == "control.process_segment":
            assert names is not None
            for name in names:  # Sprint skips segments that are not in its lists
                assert type(name) is str
                if name == kwargs["name"]:
                    break
        if call == "control.exit" and names is not None:
            list(names)
        kind, _, method = call.partition(".")
        function = getattr(objects[kind], method) if method else getattr(module, call)
        result = function(**kwargs)
        if call == "init":
            objects = {"control": result, "scorer": result}
        expected = line.get("python_returns")
        if isinstance(expected, dict) and "ndarray" in expected:
            # exactly the type that Sprint accepts
            assert type(result) is np.ndarray
            assert list(result.shape) == expected["shape"]
            assert result.dtype == np.float32
            assert result.flags.behaved
        made.append((call, kwargs, result))
    return made


# ---- to a trainer ------------------------------------------------------------------------------


class Receiver:
    """The trainer's end of the pipe."""

    def __init__(self, framing: int) -> None:
        p2c_read, p2c_write = os.pipe()
        c2p_read, c2p_write = os.pipe()
        self.wire = Wire(c2p_read, p2c_write)
        self.config = f"c2p_fd:{c2p_write},p2c_fd:{p2c_read}"
        if framing == 2:
            self.config += ",wire:2"
        self.messages: list[Any] = []
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self) -> None:
        deadline = time.monotonic() + 20
        with contextlib.suppress(SprintError):
            while not self.messages or self.messages[-1][0] not in ("exit", "exception"):
                self.messages.append(self.wire.receive(deadline=deadline))

    def finish(self) -> list[Any]:
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.wire.close()
        return self.messages


@pytest.fixture(params=[1, 2])
def receiver(request: pytest.FixtureRequest) -> Receiver:
    return Receiver(request.param)


def expected_targets(kwargs: dict[str, Any]) -> dict[str, Any]:
    names = {
        "orthography": "orth",
        "targetSegmentOrth": "orth",
        "alignment": "classes",
        "targetAlignment": "classes",
        "speaker_name": "speaker_name",
    }
    targets = {names[key]: x for key, x in kwargs.items() if key in names and x is not None}
    for index, array in enumerate(kwargs.get("soft_alignment") or ()):
        targets[f"classes[sparse:coo:2:{index}]"] = array
    return targets


@pytest.mark.parametrize("name", [*CONTROLS, *DATA_MODES])
def test_segments_of_the_transcripts_reach_the_trainer(name: str, receiver: Receiver) -> None:
    calls = replay(extern_interface, name, receiver.config)
    first, *data, last = receiver.finish()
    dims = [16, 79] if name != "control-iterate-corpus-no-features" else [-1, -1]
    assert first[0] == "init"
    assert list(first[1]) == [*dims, 24 if name in CONTROLS else None]
    assert list(last) == ["exit", None]
    segments = [kwargs for call, kwargs, _ in calls if call in DELIVERING]
    assert len(segments) == 2
    for (kind, (tag, features, targets)), kwargs in zip(data, segments, strict=True):
        assert kind == "data"
        assert tag == kwargs.get("segmentName", kwargs.get("name")) in SEGMENTS
        if kwargs["features"] is None:
            assert features is None
        else:
            assert np.array_equal(features, kwargs["features"])
            assert features.flags.f_contiguous
        expected = expected_targets(kwargs)
        assert targets.keys() == expected.keys()
        for key, value in expected.items():
            assert np.array_equal(targets[key], value)


@pytest.mark.parametrize("name", POSTERIOR_MODES)
def test_modes_that_want_posteriors_are_refused(name: str, receiver: Receiver) -> None:
    with pytest.raises(SprintError, match="asks for the output of a network"):
        replay(extern_interface, name, receiver.config)
    assert receiver.finish()[-1][0] == "exception"


def test_a_trainer_that_wants_no_more(receiver: Receiver) -> None:
    names = extern_interface.getSegmentList(
        corpusName="c", segmentList=["a", "b"], config=receiver.config, segmentsInfo=None
    )
    assert next(names) == "a"
    receiver.wire.send(("exit",))
    assert list(names) == []
    with pytest.raises(SystemExit) as caught:
        extern_interface.feedInputUnsupervised(features=np.zeros((2, 3), np.float32))
    assert caught.value.code == 0
    assert receiver.finish() == []


def test_a_trainer_that_reads_no_more() -> None:
    """Sprint ends with the segment that it cannot send, though it may still receive."""
    p2c_read, p2c_write = os.pipe()
    c2p_read, c2p_write = os.pipe()
    extern_interface.init(
        inputDim=2,
        outputDim=3,
        config=f"c2p_fd:{c2p_write},p2c_fd:{p2c_read}",
        targetMode="unsupervised",
    )
    features = np.zeros((2, 3), np.float32)
    extern_interface.feedInputUnsupervised(features=features)
    os.close(c2p_read)
    with pytest.raises(SystemExit) as caught:
        extern_interface.feedInputUnsupervised(features=features)
    assert caught.value.code == 0
    os.close(p2c_write)


def test_without_a_config_the_order_is_sprints() -> None:
    """What RETURNN's trainer leaves out."""
    ordered = extern_interface.getSegmentList(
        corpusName="c", segmentList=["b", "a"], segmentsInfo=None, config=""
    )
    assert list(ordered) == ["b", "a"]
    assert sink() is None
    extern_interface.exit()
    with pytest.raises(ValueError, match="no c2p_fd"):
        extern_interface.init(config="a:b", name="Sprint.PythonControl")
    with pytest.raises(SprintError, match="before it has called init"):
        extern_interface.feedInput(features=None)


# ---- to an engine ------------------------------------------------------------------------------


class Engine:
    """Records what comes; posteriors are those that `outputs` holds, or uniform."""

    dataset_options: ClassVar = {"str_add_final_zero": True}
    instances: ClassVar[list[Engine]] = []
    outputs: ClassVar[list[Any]] = []
    fails: ClassVar[bool] = False

    def __init__(self, config: dict[str, str]) -> None:
        self.config = config
        self.seqs: list[Any] = []
        self.calls: list[Any] = []
        Engine.instances.append(self)

    def init(self, input_dim: int, output_dim: int) -> None:
        self.dims = input_dim, output_dim

    def train(self, dataset: Any) -> None:
        for epoch in dataset.iter_epochs(int(self.config.get("epoch", 1))):
            for seq in dataset.iter_seqs():
                if Engine.fails:
                    raise ZeroDivisionError("in the engine")
                self.seqs.append((epoch, seq))
                if self.config.get("leave") == str(len(self.seqs)):
                    return

    def forward(self, features: Any, segment_name: str | None) -> Any:
        self.calls.append((features, segment_name))
        if Engine.outputs:
            return Engine.outputs.pop(0)
        return np.full((len(features), 79), -np.log(79), np.float32)

    def backward(self, loss: float, error_signal: Any, natural_pairing_type: str | None) -> None:
        self.calls.append((loss, error_signal, natural_pairing_type))

    def discard(self) -> None:
        self.calls.append("discard")

    def exit(self) -> None:
        self.calls.append("exit")


@pytest.fixture
def engines() -> list[Engine]:
    Engine.instances[:] = []
    Engine.outputs[:] = []
    Engine.fails = False
    return Engine.instances


CONFIG = f"engine:{__name__}:Engine"


@pytest.mark.parametrize("name", [*CONTROLS, *DATA_MODES])
def test_segments_of_the_transcripts_reach_an_engine(name: str, engines: list[Engine]) -> None:
    calls = replay(interface, name, CONFIG)
    (engine,) = engines
    segments = [kwargs for call, kwargs, _ in calls if call in DELIVERING]
    assert len(engine.seqs) == len(segments) == 2
    for (epoch, seq), kwargs in zip(engine.seqs, segments, strict=True):
        assert epoch == 1
        assert seq.seq_tag == kwargs.get("segmentName", kwargs.get("name"))
        if kwargs["features"] is not None:
            assert np.array_equal(seq.features["data"], kwargs["features"].T)
        for key, value in expected_targets(kwargs).items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(seq.features[key], value)
            else:
                text = value if isinstance(value, bytes) else value.encode()
                assert seq.features[key].tobytes() == text.strip()
                assert seq.features[f"{key}0"].tobytes() == text.strip() + b"\0"
    assert engine.calls == ["exit"]
    assert not [t for t in threading.enumerate() if t.name == "engine"]


@pytest.mark.parametrize("name", POSTERIOR_MODES)
def test_posteriors_and_error_signals(name: str, engines: list[Engine]) -> None:
    arrays = arrays_of(name)
    feeds = [line for line in transcript(name) if line["call"].startswith("feed")]
    returned = [decoded(line["python_returns"], arrays) for line in feeds]
    if full_data() is not None:
        Engine.outputs += [np.log(x).T for x in returned]
    calls = replay(interface, name, CONFIG)
    (engine,) = engines
    assert engine.dims == (16, 79)
    assert engine.calls.pop() == "exit"
    fed = [(kwargs, result) for call, kwargs, result in calls if call.startswith("feed")]
    for (kwargs, result), expected in zip(fed, returned, strict=True):
        features, segment_name = engine.calls.pop(0)
        assert np.array_equal(features, kwargs["features"].T)
        assert features.flags.c_contiguous
        assert segment_name == kwargs["segmentName"]
        np.testing.assert_allclose(result.sum(0), 1, rtol=1e-4)
        if full_data() is not None:
            np.testing.assert_allclose(result, expected, rtol=1e-4)
        if name == "trainer-criterion-by-sprint":
            loss, error_signal, pairing = engine.calls.pop(0)
            finish = next(
                kw for call, kw, _ in calls if call == "finishError" and kw["error"] == loss
            )
            assert np.array_equal(error_signal, finish["errorSignal"].T)
            assert pairing == "softmax"
    assert engine.calls == []


def test_discarded_segments(engines: list[Engine]) -> None:
    interface.init(inputDim=2, outputDim=79, config=CONFIG, targetMode="criterion-by-sprint")
    interface.feedInput(features=np.zeros((2, 3), np.float32), weights=None, segmentName=None)
    interface.finishDiscard()
    assert engines[0].calls[1] == "discard"
    for wrong in (np.zeros((4, 79)), np.zeros((3, 78)), np.zeros(3)):
        Engine.outputs.append(wrong)
        with pytest.raises(SprintError, match=r"expected \(3, 79\)"):
            interface.feedInput(features=np.zeros((2, 3), np.float32))
    deliver_to(None)
    interface.init(
        inputDim=2, outputDim=79, config=CONFIG, targetMode="forward-only", allowDownsampling=1
    )
    Engine.outputs.append(np.zeros((2, 79)))
    assert interface.feedInputForwarding(features=np.zeros((2, 3), np.float32)).shape == (79, 2)


def test_scores_of_the_transcript(engines: list[Engine], tmp_path: Path) -> None:
    """One forward for a segment; -log p, priors subtracted as they are scaled."""
    arrays = arrays_of("feature-scorer")
    lines = transcript("feature-scorer")
    scores = {
        line["kwargs"]["time"]: decoded(line["python_returns"], arrays)
        for line in lines
        if line["call"] == "scorer.get_scores"
    }
    log_priors = np.log(np.arange(1, 80) / 3160).astype(np.float32)
    numbers = " ".join(map(str, log_priors))
    (tmp_path / "priors").write_text(f'<vector-f32 size="79">\n{numbers}\n</vector-f32>\n')
    np.save(tmp_path / "priors.npy", log_priors)
    for name in ("priors", "priors.npy"):
        assert np.array_equal(read_log_priors(str(tmp_path / name)), log_priors)
    deliver_to(None)
    for more, offset in (("", 0), (f",prior_file:{tmp_path}/priors,prior_scale:0.5", 0.5)):
        Engine.outputs.append(-np.array([scores[time] for time in sorted(scores)]))
        calls = replay(interface, "feature-scorer", CONFIG + more)
        assert len([x for x in engines[-1].calls if x != "exit"]) == 1
        features, _ = engines[-1].calls[0]
        added = [kwargs["feature"] for call, kwargs, _ in calls if call == "scorer.add_feature"]
        assert np.array_equal(features, added)
        got = [(kw["time"], result) for call, kw, result in calls if call == "scorer.get_scores"]
        assert len(got) > len(scores)
        for time_, result in got:
            expected = scores[time_] + offset * log_priors
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
        deliver_to(None)


def test_errors_of_the_scorer_name_the_cause(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine({})
    (tmp_path / "priors").write_text("0.5 x")
    scorer = PythonFeatureScorer(engine, {"prior_file": str(tmp_path / "priors")})
    with pytest.raises(FormatError, match="expected numbers"):
        scorer.init(input_dim=2, output_dim=79)
    (tmp_path / "priors").write_bytes(b"\x93NUMPY\1\0")
    with pytest.raises(FormatError, match="not priors"):
        scorer.init(input_dim=2, output_dim=79)
    (tmp_path / "priors").write_text("-0.5 -2")
    with pytest.raises(FormatError, match="expected 79, found 2"):
        scorer.init(input_dim=2, output_dim=79)
    scorer = PythonFeatureScorer(engine, {"buffer_size": "7"})
    assert scorer.get_feature_buffer_size() == 7
    scorer.init(input_dim=2, output_dim=79)
    with pytest.raises(SprintError, match=r"expected \(2,\) at time 0, found \(3,\) at 0"):
        scorer.add_feature(feature=np.zeros(3, np.float32), time=0)
    with pytest.raises(SprintError, match="at least one"):
        scorer.get_scores(time=0)
    scorer.add_feature(feature=np.zeros(2, np.float32), time=0)
    with pytest.raises(SprintError, match="the number of frames differs"):
        scorer.compute(num_frames=2)
    assert scorer.get_scores(time=0).shape == (79,)
    with pytest.raises(SprintError, match="no such frame"):
        scorer.get_scores(time=1)
    scorer.reset(num_frames=0)
    scorer.reset(num_frames=0)


def feed(names: Iterator[str]) -> list[str]:
    """What Sprint does with names, in target-mode unsupervised."""
    visited = []
    for name in names:
        if not visited:
            interface.init(inputDim=2, outputDim=0, config=CONFIG, targetMode="unsupervised")
        interface.feedInputUnsupervised(features=np.zeros((2, 3), np.float32), segmentName=name)
        visited.append(name)
    return visited


def test_epochs_orders_and_engines_that_leave(engines: list[Engine]) -> None:
    names = ["a", "b", "c", "d"]
    order = {"corpusName": "c", "segmentList": names, "segmentsInfo": None}
    config = f"{CONFIG},epochs:2,epoch:3,seq_ordering:random,partition_epoch:2"
    visited = feed(interface.getSegmentList(**order, config=config))
    interface.exit()
    assert [epoch for epoch, _ in engines[0].seqs] == [3, 3, 4, 4]
    assert [seq.seq_tag for _, seq in engines[0].seqs] == visited
    assert sorted(visited) == names
    deliver_to(None)
    visited = feed(interface.getSegmentList(**order, config=f"{CONFIG},epochs:9,leave:6"))
    interface.exit()
    assert len(engines[1].seqs) == 6
    assert 6 <= len(visited) <= 8


def test_an_engine_gets_the_options_of_both_configuration_strings(engines: list[Engine]) -> None:
    names = interface.getSegmentList(
        corpusName="c", segmentList=["a", "b"], segmentsInfo=None, config="epochs:2,epoch:3"
    )
    facts = {"inputDim": 2, "outputDim": 0, "targetMode": "unsupervised"}
    for name in names:
        if not engines:  # Sprint has its first segment before it makes the trainer
            interface.init(**facts, config=f"{CONFIG},rate:0.1")
        interface.feedInputUnsupervised(features=np.zeros((2, 3), np.float32), segmentName=name)
    interface.exit()
    (engine,) = engines
    assert {"rate", "epochs", "epoch"} < set(engine.config)
    assert [(e, seq.seq_tag) for e, seq in engine.seqs] == [(3, "a"), (3, "b"), (4, "a"), (4, "b")]


def test_a_failing_engine_ends_sprint(engines: list[Engine]) -> None:
    Engine.fails = True
    names = interface.getSegmentList(
        corpusName="c", segmentList=["a"] * 400, segmentsInfo=None, config=f"{CONFIG},epochs:9"
    )
    with pytest.raises(SprintError, match="in the engine") as caught:
        feed(names)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(SprintError, match="in the engine"):
        interface.exit()


def test_missing_engines(engines: list[Engine]) -> None:
    with pytest.raises(ValueError, match=r"expected engine:package\.module:Class"):
        interface.init(config="a:b", name="Sprint.PythonControl", sprint_unit="PythonFeatureScorer")
    deliver_to(None)
    with pytest.raises(ModuleNotFoundError):
        interface.init(
            config="engine:not.there:Engine", inputDim=1, outputDim=1, targetMode="forward-only"
        )
    deliver_to(None)
    with pytest.raises(SprintError, match="str has no train"):
        interface.init(
            config="engine:builtins:str", inputDim=1, outputDim=1, targetMode="unsupervised"
        )
    interface.exit()


def test_sprint_waits_for_its_engine_with_a_deadline(engines: list[Engine]) -> None:
    config = f"{CONFIG},finish_timeout:0.05"
    interface.init(inputDim=2, outputDim=0, config=config, targetMode="unsupervised")
    hanging = threading.Event()
    engines[0].seqs = type("", (list,), {"append": lambda *_: hanging.wait(10)})()
    interface.feedInputUnsupervised(features=np.zeros((2, 3), np.float32), segmentName="a")
    with pytest.raises(SprintTimeoutError, match="still trains after"):
        interface.exit()
    hanging.set()


# ---- the examples in the stand-in --------------------------------------------------------------

TRAINED = [
    "--*.trainer=python-trainer",
    "--*.trainer-output-dimension=79",
    "--*.buffer-type=utterance",
    "--*.shuffle=false",
]


def run(engine: str, model: Path, epochs: int, *arguments: str) -> str:
    config = f"engine:{engine}:Engine,epochs:{epochs},model:{model}"
    done = subprocess.run(
        [
            *STAND_IN,
            *CORPUS,
            *arguments,
            "--*.pymod-name=sprint_ctl.interface",
            f"--*.pymod-config={config}",
            "--*.python-segment-order=true",
            "--*.python-segment-order-pymod-name=sprint_ctl.interface",
            f"--*.python-segment-order-config={config}",
        ],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}/examples:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses_of(output: str) -> list[float]:
    return [float(line.split()[-1]) for line in output.splitlines() if "loss" in line]


def test_numpy_engine_in_every_mode(tmp_path: Path) -> None:
    model = tmp_path / "model.npz"
    losses = losses_of(run("numpy_engine", model, 3, *CONTROL[len(CORPUS) :]))
    train = "--*.action=supervised-training", "--*.target-mode=target-alignment"
    losses += losses_of(run("numpy_engine", model, 2, *TRAINED, *train))
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < np.log(79) * 1.01
    assert losses[-1] < losses[0] - 0.1
    forward = "--*.action=unsupervised-training", "--*.target-mode=forward-only"
    run("numpy_engine", model, 1, *TRAINED, *forward)
    scorer = "--*.feature-scorer-type=python-feature-scorer", "--*.feature-dimension=16"
    (tmp_path / "one").write_text(NAMES[15])
    run("numpy_engine", model, 1, *scorer, f"--*.corpus.segments.file={tmp_path}/one")


def test_torch_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    model = tmp_path / "model.pt"
    losses = losses_of(run("torch_engine", model, 3, *CONTROL[len(CORPUS) :]))
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)
    monkeypatch.syspath_prepend(ROOT / "examples")
    engine = importlib.import_module("torch_engine").Engine({"model": str(model)})
    posteriors = engine.forward(np.zeros((5, 16), np.float32), None)
    assert posteriors.shape == (5, 79)
    np.testing.assert_allclose(np.exp(posteriors).sum(1), 1, rtol=1e-5)


def test_example_engine_with_sprints_criterion(tmp_path: Path) -> None:
    model = tmp_path / "model.npz"
    run(
        "numpy_engine",
        model,
        2,
        *TRAINED,
        "--*.action=supervised-training",
        "--*.target-mode=criterion-by-sprint",
        "--*.training-criterion=cross-entropy",
        "--*.natural-pairing-layer.layer-type=softmax",
    )
    losses = np.load(model)["losses"]
    assert len(losses) == 48
    assert losses[0] == pytest.approx(np.log(79), rel=1e-5)
    assert losses[24:].mean() < losses[:24].mean() - 0.02


# ---- elsewhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [sys.executable, *interpreters.others()])
def test_other_interpreters(python: str) -> None:
    interpreters.need_numpy(python)
    done = subprocess.run(
        [
            python,
            "-W",
            "error",
            "-B",
            str(ROOT / "tests" / "child_programs" / "segments_inside.py"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine", "")


@pytest.mark.parametrize("module", ["extern_interface", "interface"])
def test_importing_is_quiet_and_needs_no_compiled_module(module: str) -> None:
    code = f"import sys; sys.modules['sprintcache._reader'] = None; import sprint_ctl.{module}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
