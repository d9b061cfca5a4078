"""What Sprint loads, replayed against the transcripts of real Sprint, a trainer at the pipe."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl import config as config_string
from sprint_ctl import control
from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl._sprint import log
from sprint_ctl.errors import PipeClosedError, SprintError
from tests import interpreters
from tests.paths import DATA

ROOT = Path(__file__).parents[2]
SEGMENTS = ("espeak/rec001/1", "espeak/rec015/1")
LENGTHS = (327, 100)
INIT = ("init", "SprintSubprocessInstance", 1)
TIMEOUT = 10.0


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


class Trainer:
    """The other end of the pipe: sends requests one by one, from a thread, and keeps answers."""

    def __init__(self, framing: str) -> None:
        self.framing = framing
        p2c_read, p2c_write = os.pipe()
        c2p_read, c2p_write = os.pipe()
        pairs: dict[str, Any] = {"c2p_fd": c2p_write, "p2c_fd": p2c_read}
        memories: list[ArrayMemory | None] = [None, None]
        if framing != "pickle":
            pairs["wire"] = 2
        if framing == "memory":
            made = [ArrayMemory.create("c2p"), ArrayMemory.create("p2c")]
            pairs["c2p_memory_fd"], pairs["p2c_memory_fd"] = (os.dup(m.fd) for m in made)
            memories = list(made)
        self.pairs = pairs
        self.wire = Wire(c2p_read, p2c_write, read_memory=memories[0], write_memory=memories[1])
        self.answers: list[Any] = []
        self.requests: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._talk, daemon=True)
        self.thread.start()

    @property
    def config(self) -> str:
        return config_string.format_config(self.pairs)

    def ask(self, *requests: tuple[Any, ...] | None) -> Trainer:
        for request in requests:
            self.requests.put(request)
        return self

    def _talk(self) -> None:
        number = 0
        while (request := self.requests.get()) is not None:
            number += 1
            deadline = time.monotonic() + TIMEOUT
            try:
                # where Sprint has failed before, its last words are in the pipe
                with contextlib.suppress(PipeClosedError):
                    self.wire.send(request, request_id=number, deadline=deadline)
                if request[0] == "exit":
                    return
                answer = self.wire.receive(deadline=deadline)
            except SprintError as error:
                self.answers.append(error)
                return
            if self.wire.received_id not in (None, number):
                answer = ("unasked", self.wire.received_id, *answer)
            self.answers.append(tuple(x.copy() if isinstance(x, np.ndarray) else x for x in answer))
            if request[0] == "init" and answer[3:] == (2,):
                self.wire.version = 2

    def finish(self) -> list[Any]:
        self.requests.put(None)
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self.answers


@pytest.fixture(params=["pickle", "json", "memory"])
def trainer(request: pytest.FixtureRequest) -> Iterator[Trainer]:
    control.PythonControl.instance = None
    made = Trainer(request.param)
    yield made
    if control.PythonControl.instance is not None:
        control.PythonControl.instance.close()
    control.PythonControl.instance = None
    made.finish()
    made.wire.close()


pickle_only = pytest.mark.parametrize("trainer", ["pickle"], indirect=True)
both_framings = pytest.mark.parametrize("trainer", ["pickle", "json"], indirect=True)


def transcript(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "transcripts" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def decoded(value: Any, arrays: dict[str, Any]) -> Any:
    """A recorded value; arrays that are not shipped are made up, of the recorded layout."""
    if isinstance(value, list):
        return [decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "ndarray" in value:
        if value["ndarray"] in arrays:
            return arrays[value["ndarray"]]
        order = "F" if value["order"] == "F" else "C"
        return np.ones(value["shape"], value["dtype"], order=order)  # type: ignore[call-overload]
    if "bytes" in value:
        return value["bytes"].encode()
    if "tuple" in value:
        return tuple(decoded(item, arrays) for item in value["tuple"])
    if "float" in value:
        return float(value["float"])
    if "object" in value:
        return object()
    return {key: decoded(item, arrays) for key, item in value.items()}


def replay(
    name: str,
    trainer: Trainer,
    *,
    callback: Callable[..., Any] | None = None,
    arrays: dict[str, Any] | None = None,
    before: Callable[[], None] = lambda: None,
) -> list[tuple[str, Any]]:
    """Makes the calls of a transcript; what they returned."""
    arrays = arrays or {}
    returned: list[tuple[str, Any]] = []
    objects: dict[str, Any] = {}
    names: Iterator[str] = iter(())
    current = None
    for line in transcript(name):
        call = line.get("call")
        if call is None:
            continue
        kwargs = decoded(line["kwargs"], arrays)
        if "config" in kwargs:
            kwargs["config"] = trainer.config
        if "callback" in kwargs:
            kwargs["callback"] = callback
        kwargs["of_a_later_version"] = True
        segment = kwargs.get("segment_name", kwargs.get("name"))
        if call in ("control.init_segment", "control.process_segment") and segment != current:
            current = next(names)
            assert type(current) is str
            assert current == segment
        if call == "control.exit" and "getSegmentList" in objects:
            assert next(names, None) is None
        if call == "layer.finalize":
            assert next(names, None) is None
        if call == "getSegmentList":
            names = control.getSegmentList(**kwargs)
            objects[call] = names
            before()
        elif call == "init":
            objects["control"] = control.init(**kwargs)
        elif call == "SprintNnPythonLayer":
            objects["layer"] = control.SprintNnPythonLayer(**kwargs)
        else:
            kind, _, method = call.partition(".")
            result = getattr(objects[kind], method)(**kwargs)
            # a view is good until the next request
            kept = result.copy() if isinstance(result, np.ndarray) else result
            returned.append((call, kept))
            expected = line.get("python_returns")
            if expected in (True, 0):
                assert type(result) is type(expected)
                assert result == expected
            elif expected is not None:
                check_arrays(result, expected)
    return returned


def check_arrays(result: Any, expected: Any) -> None:
    """As Sprint checks what Python returns: exact types, floats, shapes, well behaved."""
    if "tuple" in expected:
        assert type(result) is tuple
        assert len(result) == len(expected["tuple"])
        for item, other in zip(result, expected["tuple"], strict=True):
            check_arrays(item, other)
        return
    assert type(result) is np.ndarray
    assert list(result.shape) == expected["shape"]
    assert result.dtype == np.float32
    assert result.flags.behaved


def loss_request(name: str, length: int, posteriors: Any) -> tuple[Any, ...]:
    return ("get_loss_and_error_signal", name, length, posteriors)


def log_posteriors(length: int, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).normal(size=(length, 79)).astype(np.float32)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


# ---- segment order and Python layer ------------------------------------------------------------


@pytest.mark.parametrize("threaded", [False, True], ids=["plain", "thread"])
def test_layer(trainer: Trainer, threaded: bool) -> None:
    """The loss and error signal of the real Sprint reach the trainer, equal to the formula."""
    real = arrays_of(DATA / "transcripts" / "layer.npz")
    outputs = log_posteriors(327), real["a5"].T  # what the layer of the transcript returned
    arrays = {"a1": outputs[0].T, "a2": np.ones((79, 327), np.float32, order="F"), **real}
    trainer.ask(INIT, *map(loss_request, SEGMENTS, LENGTHS, outputs), ("exit",))
    calls: list[str] = []

    def callback(command: str, *_: Any) -> str:
        calls.append(command)
        return "a version"

    def before() -> None:
        if threaded:
            assert control.PythonControl.instance is not None
            control.PythonControl.instance.check_control_loop_running()

    returned = replay("layer", trainer, callback=callback, arrays=arrays, before=before)
    forwarded = [value for call, value in returned if call == "layer.forward"]
    assert all(np.array_equal(x, y.T) for x, y in zip(forwarded, outputs, strict=True))

    init, first, second = trainer.finish()
    assert init[:3] == ("ok", "SprintControl", 1)
    assert init[3:] == (() if trainer.framing == "pickle" else (2,))
    assert first[:2] == ("ok", 1614.884521484375)
    assert np.array_equal(first[2], np.ones((327, 79), np.float32))
    status, loss, error_signal = second
    assert status == "ok"
    assert error_signal.dtype == np.float32

    labeling = sprintcache.AllophoneLabeling(
        "[SILENCE]", str(DATA / "allophones"), state_tying_file=str(DATA / "state-tying/monophone")
    )
    with sprintcache.open_archive(DATA / "alignment.linear.cache") as archive:
        labels = archive.read_labels(SEGMENTS[1], labeling)
    scores = real["a5"].T.astype(np.float64)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    frames = np.arange(len(labels))
    assert loss == pytest.approx(-np.log(p[frames, labels]).sum(), rel=1e-6)
    p[frames, labels] -= 1
    np.testing.assert_allclose(error_signal, p, atol=1e-6)


def test_segments_that_sprint_leaves_out(trainer: Trainer) -> None:
    """Nothing, only a loss, only an error signal: infinite loss, no gradient where none came."""
    x = np.zeros((2, 3), np.float32)
    trainer.ask(INIT, *(loss_request(f"s{i}", 2, x) for i in range(4)), ("exit",))
    names = control.getSegmentList(corpusName="c", segmentList=[], config=trainer.config)
    layer = control.SprintNnPythonLayer(config=trainer.config)
    layer.setInputDimension(stream=0, size=4)
    layer.setInputDimension(stream=1, size=5)
    ones = np.ones((3, 2), np.float32, order="F")
    assert next(names) == "s0"
    assert next(names) == "s1"
    layer._control.notify_segment_loss(segment_name=None, loss=3.0)
    assert next(names) == "s2"
    gradients = layer.backpropagate(errorSignalIn=ones)
    assert [g.shape for g in gradients] == [(4, 2), (5, 2)]
    assert next(names) == "s3"
    layer.backpropagate(errorSignalIn=ones)  # before the loss
    layer._control.notify_segment_loss(segment_name="s3", loss=4)
    layer._control.notify_segment_loss(segment_name="s3", loss=5)  # answered already
    assert list(names) == []
    answers = trainer.finish()[1:]
    assert [a[1] for a in answers] == [np.inf, 3.0, np.inf, 4.0]
    assert [a[2].sum() for a in answers] == [0, 0, 6, 6]


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another segment": (lambda c: c.init_segment(segment_name="b"), "did not ask for"),
    "another length": (lambda c: c.get_current_seg_posteriors(3), "differs in length"),
    "another shape": (
        lambda c: c.set_current_seg_error_signal(2, np.ones((2, 4), np.float32)),
        "differ in shape",
    ),
    "another loss": (
        lambda c: c.notify_segment_loss(segment_name="b", loss=1.0),
        "did not ask for",
    ),
}


@both_framings
@pytest.mark.parametrize("name", WRONG)
def test_fatal_errors_reach_the_trainer_first(trainer: Trainer, name: str) -> None:
    """An exception in what Sprint calls is raised again, and its traceback is the answer."""
    call, texts = WRONG[name]
    trainer.ask(INIT, loss_request("a", 2, np.zeros((2, 3), np.float32)))
    names = control.getSegmentList("c", ["a", "b"], trainer.config)
    assert next(names) == "a"
    instance = control.PythonControl.instance
    assert instance is not None
    if name in ("another length", "another shape"):
        layer = control.SprintNnPythonLayer(trainer.config)
        call = layer.forward if name == "another length" else layer.backpropagate
        argument: Any = np.ones((4, 2), np.float32)
        if name == "another length":
            argument = [np.zeros((4, 3), np.float32)]
    else:
        argument = instance
    with pytest.raises(SprintError, match=texts):
        call(argument)
    answer = trainer.finish()[1]
    if trainer.framing != "pickle":
        assert answer[:2] == ("unasked", 0)  # it answers no request: Sprint will end
        answer = answer[2:]
    assert answer[0] == "exception"
    assert "Traceback" in answer[1]
    assert texts in answer[1]
    assert instance.is_closed
    assert list(names) == []


@pytest.mark.parametrize("threaded", [False, True], ids=["plain", "thread"])
def test_another_size_in_the_layer_leaves_sprint_alive(trainer: Trainer, threaded: bool) -> None:
    """Sprint continues; the trainer's request is answered with an error, the next one is not."""
    x = np.zeros((2, 3), np.float32)
    requests = [loss_request("a", 2, x), loss_request("b", 2, x[:, :2]), loss_request("c", 2, x)]
    trainer.ask(INIT, *requests, ("exit",))
    names = control.getSegmentList("c", ["a", "b", "c"], trainer.config)
    layer = control.SprintNnPythonLayer(config=trainer.config)
    layer.setOutputDimension(size=3)
    layer.setInputDimension(stream=0, size=4)
    if threaded:
        layer._control.check_control_loop_running()
    for name, length in zip(names, (5, 2, 2), strict=True):
        layer._control.init_segment(segment_name=name)
        forwarded = layer.forward(input=[np.zeros((4, length), np.float32)])
        assert forwarded.shape == (3, length)
        assert forwarded.dtype == np.float32
        layer._control.notify_segment_loss(segment_name=None, loss=1.5)
        gradients = layer.backpropagate(errorSignalIn=np.ones((3, length), np.float32))
        assert [g.shape for g in gradients] == [(4, length)]
    _, length, labels, sound = trainer.finish()
    assert length[0] == labels[0] == "exception"
    assert "'a' differs in length between Sprint and the trainer" in length[1]
    assert "2 labels, Sprint's layer has 3 (dimension-output)" in labels[1]
    assert sound[:2] == ("ok", 1.5)
    assert sound[2].sum() == 6


def test_a_criterion_that_fails_leaves_sprint_alive(trainer: Trainer) -> None:
    """Requests are refused on which Sprint would abort, or read out of bounds."""
    x = np.full((2, 3), -np.log(3), np.float32)
    requests = [loss_request(name, 2, x) for name in "abcdef"]
    requests.append(loss_request("g", 2, x * np.nan))
    trainer.ask(INIT, *requests, ("exit",))
    asked: list[str] = []

    def callback(command: str, *, segment_name: str, posteriors: Any, **_: Any) -> Any:
        asked.append(segment_name)
        if segment_name == "d":
            raise ValueError("what Sprint does not like")
        return 2.0, np.array(posteriors)

    instance = control.init(
        "Sprint.PythonControl", None, trainer.config, version_number=5, callback=callback
    )
    alignments = {"a": [0, 1, 2], "b": [0, 3], "d": [0, 1], "e": [], "f": [2, 2]}
    for name in control.getSegmentList("c", list("abcdefg"), trainer.config):
        labels = alignments.get(name)
        alignment = None if labels is None else np.array(labels, np.uint32)
        instance.process_segment(
            name=name,
            orthography=b"text" if name == "g" else None,
            features=None,
            alignment=alignment,
            soft_alignment=None,
        )
    assert asked == ["d", "f"]
    _, *refused, sound, no_numbers = trainer.finish()
    lengths = "differs in length"
    texts = (lengths, "class 3 in", "neither alignment", "does not like", lengths)
    for answer, text in zip(refused, texts, strict=True):
        assert answer[0] == "exception"
        assert text in answer[1]
    assert sound[:2] == ("ok", 2.0)
    assert no_numbers[0] == "exception"
    assert "not numbers" in no_numbers[1]


def test_requests_that_fail_leave_sprint_alive(trainer: Trainer) -> None:
    x = np.zeros((2, 3), np.float32)
    trainer.ask(
        ("init", "x", 2),
        INIT,
        loss_request("unknown", 2, x),
        loss_request("a", 3, x),
        loss_request("a", 0, x[:0]),
        ("get_loss_and_error_signal", "a"),
        ("export_allophone_state_fsa_by_segment_name", "a"),
        ("no such request",),
        loss_request("a", 2, x),
        ("exit",),
    )
    names = control.getSegmentList("c", ["a"], trainer.config)
    assert list(names) == ["a"]
    *failed, last = trainer.finish()
    texts = ["version 2", None, "not in Sprint's corpus", "3 frames", "0 frames"]
    texts += ["seg_len", "--action=python-control", "unknown request"]
    for answer, text in zip(failed, texts, strict=True):
        if text is not None:
            assert answer[0] == "exception"
            assert text in answer[1]
    assert last[:2] == ("ok", np.inf)


@pickle_only
def test_names_as_bytes_and_as_strings_of_numpy(trainer: Trainer) -> None:
    x = np.zeros((1, 3), np.float32)
    requests = (loss_request(n, 1, x) for n in (b"\xc3\xa4", "b"))  # type: ignore[arg-type]
    trainer.ask(INIT, *requests, ("exit",))
    names = control.getSegmentList("c", list(np.array(["ä", "b"])), trainer.config)
    requested = list(names)
    assert requested == ["ä", "b"]
    assert all(type(name) is str for name in requested)


# ---- iteration over the corpus, with Sprint's criterion ----------------------------------------


class Criterion:
    """Sprint's callback, as strict as the real one (sprint-interface.md, section 2)."""

    def __init__(self, discard: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self.discard = discard

    def __call__(self, command: str, **kwargs: Any) -> Any:
        assert command == "calculate_criterion"
        posteriors = kwargs["posteriors"]
        self.asked.append({**kwargs, "posteriors": posteriors.copy()})
        assert posteriors.dtype == np.float32
        assert posteriors.flags.behaved
        assert ("orthography" in kwargs) != ("alignment" in kwargs)
        for key in ("orthography", "segment_name", "output_error_type"):
            assert key not in kwargs or type(kwargs[key]) is str
        if self.discard:
            return None, None
        return float(len(self.asked)), np.asfortranarray(posteriors * 2)


@pytest.mark.parametrize(
    "name",
    [
        "control-iterate-corpus",
        "control-iterate-corpus-soft",
        "control-iterate-corpus-no-features",
    ],
)
def test_iterate_corpus(trainer: Trainer, name: str) -> None:
    outputs = [log_posteriors(length, length) for length in LENGTHS]
    trainer.ask(INIT, *map(loss_request, SEGMENTS, LENGTHS, outputs), ("exit",))
    criterion = Criterion()
    replay(name, trainer, callback=criterion)
    answers = trainer.finish()[1:]
    assert [asked["segment_name"] for asked in criterion.asked] == list(SEGMENTS)
    with_alignment = name == "control-iterate-corpus"
    for asked, x in zip(criterion.asked, outputs, strict=True):
        if with_alignment:
            assert asked["output_error_type"] == "error-signal-before-softmax"
            assert asked["alignment"].dtype == np.float32
            assert np.array_equal(asked["posteriors"], np.exp(x).T)
        else:
            assert asked["output_error_type"] == "error-signal"
            assert asked["orthography"].endswith(" ")
            assert np.array_equal(asked["posteriors"], x.T)
    for number, (answer, x) in enumerate(zip(answers, outputs, strict=True), 1):
        assert answer[:2] == ("ok", number)
        assert answer[2].dtype == np.float32
        assert np.array_equal(answer[2], 2 * (np.exp(x) if with_alignment else x))


@pickle_only
@pytest.mark.parametrize("key", ["ctc", "cross-entropy", "unknown"])
def test_the_criterion_of_the_configuration(trainer: Trainer, key: str) -> None:
    trainer.pairs["criterion"] = key
    trainer.ask(INIT, *map(loss_request, SEGMENTS, LENGTHS, map(log_posteriors, LENGTHS)))
    trainer.ask(("exit",))
    criterion = Criterion(discard=True)
    if key == "unknown":
        with pytest.raises(ValueError, match="criterion:unknown"):
            replay("control-iterate-corpus", trainer, callback=criterion)
        return
    replay("control-iterate-corpus", trainer, callback=criterion)
    assert {"orthography" in asked for asked in criterion.asked} == {key == "ctc"}
    for answer in trainer.finish()[1:]:  # Sprint has discarded them
        assert answer[1] == np.inf
        assert not answer[2].any()


@pickle_only
def test_without_segment_order_the_trainer_must_follow(trainer: Trainer) -> None:
    x = np.zeros((1, 3), np.float32)
    trainer.ask(INIT, loss_request("a", 1, x), loss_request("c", 1, x))
    instance = control.init(
        name="Sprint.PythonControl",
        reference=None,
        config=trainer.config,
        version_number=5,
        callback=Criterion(),
    )
    instance.init_processing(input_dim=-1, output_dim=-1)
    instance.process_segment(name="a", orthography="x", speaker_name=None)
    with pytest.raises(SprintError, match="expected 'c', found 'b'"):
        instance.process_segment(name="b", orthography="x", speaker_name=None)
    trainer.finish()


@pytest.mark.parametrize(("output_dim", "labels"), [(3, 3), (-1, 5), (0, 5), (None, 5)])
def test_a_probe_has_the_sizes_of_sprint_where_known(
    trainer: Trainer, output_dim: int | None, labels: int
) -> None:
    """The length of the alignment, and the output dimension if Sprint has one."""

    def callback(command: str, **kwargs: Any) -> Any:
        return "a version" if command == "version" else Criterion()(command, **kwargs)

    trainer.ask(INIT, ("probe", "a", 7, 5), ("describe",), ("exit",))
    instance = control.init("Sprint.PythonControl", None, trainer.config, callback=callback)
    names = control.getSegmentList("c", ["a"], trainer.config)
    assert next(names) == "a"
    instance.init_processing(input_dim=4, output_dim=output_dim)
    alignment = np.array([0, 1, 2, 2], np.uint32)
    instance.process_segment(name="a", orthography=None, features=None, alignment=alignment)
    assert list(names) == []
    _, (status, loss, error_signal), (_, described) = trainer.finish()
    assert (status, loss) == ("ok", 1.0)
    np.testing.assert_allclose(error_signal, np.full((4, labels), 2 / labels), rtol=1e-6)
    assert described["sprint"] == "a version"
    assert described["control_loop"] is False


# ---- control loop ------------------------------------------------------------------------------


def recorded_callback() -> Callable[..., Any]:
    arrays = arrays_of(DATA / "transcripts" / "control-loop.npz")
    table = {
        json.dumps(line["callback"]): line
        for line in transcript("control-loop")
        if "callback" in line
    }

    def callback(command: str, *args: Any) -> Any:
        line = table[json.dumps([command, *args])]
        if "sprint_raises" in line:
            kind = {"KeyError": KeyError, "ValueError": ValueError}[line["sprint_raises"][0]]
            raise kind(line["sprint_raises"][1])
        return decoded(line["sprint_returns"], arrays)

    return callback


@pickle_only
def test_sprint_reads_its_corpus_within_a_request(trainer: Trainer) -> None:
    """With python-segment-order Sprint asks for the order of its whole corpus then, too."""
    corpus = list(np.array(["a", "b"]))
    seen: list[str] = []

    def callback(command: str, *_: Any) -> Any:
        if command == "version":
            return "a version"
        seen.extend(control.getSegmentList("c", corpus, trainer.config))
        return 2, 1, np.array([0, 1, 0], np.uint32), np.zeros(1, np.float32)

    trainer.ask(INIT, ("export_allophone_state_fsa_by_segment_name", "a"), ("exit",))
    instance = control.init("Sprint.PythonControl", None, trainer.config, callback=callback)
    instance.run_control_loop(callback=callback)
    assert trainer.finish()[1][:3] == ("ok", 2, 1)
    assert seen == ["a", "b"]
    assert {type(name) for name in seen} == {str}


def test_control_loop(trainer: Trainer) -> None:
    automaton = "export_allophone_state_fsa_by_segment_name"
    trainer.ask(INIT, *((automaton, name) for name in SEGMENTS), (automaton, "no/such/segment"))
    trainer.ask((automaton, SEGMENTS[1].encode()), ("describe",), ("exit",))
    replay("control-loop", trainer, callback=recorded_callback())
    _, first, second, unknown, again, described = trainer.finish()
    real = arrays_of(DATA / "transcripts" / "control-loop.npz")
    for answer, edges, weights in ((first, "a0", "a1"), (second, "a3", "a4"), (again, "a3", "a4")):
        assert answer[0] == "ok"
        assert answer[3].dtype == np.uint32
        assert np.array_equal(answer[3], real[edges])
        assert np.array_equal(answer[4], real[weights])
    assert (first[1:3], second[1:3]) == ((179, 373), (48, 101))
    assert unknown[0] == "exception"
    assert "KeyError" in unknown[1]
    assert "no/such/segment" in unknown[1]
    assert described[1]["interface_version"] == 5
    assert described[1]["units"] == ["NnTrainer.pythonControl"]
    assert "RWTH ASR" in described[1]["sprint"]


@pickle_only
def test_a_loss_in_the_control_loop(trainer: Trainer) -> None:
    criterion = Criterion()

    def callback(command: str, *args: Any, **kwargs: Any) -> Any:
        if command == "version":
            return "a version"
        if command == "get_orthography_by_segment_name":
            assert args == ("a",)
            return "some words "
        return criterion(command, **kwargs)

    trainer.ask(INIT, loss_request("a", 1, np.zeros((1, 3), np.float32)), ("exit",))
    instance = control.init("Sprint.PythonControl", None, trainer.config, callback=callback)
    instance.run_control_loop(callback=callback)
    assert trainer.finish()[1][:2] == ("ok", 1.0)
    assert criterion.asked[0]["orthography"] == "some words "


def test_the_threaded_control_loop(trainer: Trainer) -> None:
    """It serves losses, and automata if Sprint has passed a callback."""
    automaton = ("export_allophone_state_fsa_by_segment_name", SEGMENTS[0])
    trainer.ask(INIT, automaton)
    instance = control.init("sprint", None, trainer.config)
    instance.run_threaded_control_loop()
    assert "own_threaded" not in instance.own_threaded_callback("version")
    while len(trainer.answers) < 2:
        time.sleep(0.001)
    assert "--action=python-control" in trainer.answers[1][1]
    control.init(
        "Sprint.PythonControl", None, trainer.config, callback=recorded_callback(), version_number=5
    )
    trainer.ask(automaton, loss_request("a", 1, np.zeros((1, 3), np.float32)), ("exit",))
    names = instance.segment_list_iterator()
    assert next(names) == "a"
    assert list(names) == []  # skipped, then the end
    answers = trainer.finish()
    assert answers[2][:2] == ("ok", 179)
    assert answers[3][:2] == ("ok", np.inf)


# ---- configuration -----------------------------------------------------------------------------


def test_units_share_one_instance(trainer: Trainer) -> None:
    instance = control.init("Sprint.PythonControl", object(), trainer.config, sprint_unit="A")
    again = control.init("Sprint.PythonControl", object(), trainer.config, sprint_unit="B", x=1)
    assert again is instance is control.PythonControl.instance
    assert instance.state.units == ["A", "B"]


@pickle_only
def test_refused_configurations_name_the_reason(trainer: Trainer) -> None:
    trainer.pairs["EnableAutoNumpySharedMemPickling"] = "True"
    trainer.ask(INIT)
    with pytest.raises(SprintError, match="EnableAutoNumpySharedMemPickling"):
        control.init("Sprint.PythonControl", None, trainer.config)
    (answer,) = trainer.finish()
    assert answer[0] == "exception"
    assert "not supported" in answer[1]


@both_framings
def test_an_old_sprint_is_refused(trainer: Trainer) -> None:
    trainer.pairs["minPythonControlVersion"] = 6
    trainer.ask(INIT)
    with pytest.raises(SprintError, match="too old: expected interface version 6"):
        control.init("Sprint.PythonControl", None, trainer.config, version_number=5)
    assert "too old" in trainer.finish()[0][1]


def test_without_a_trainer() -> None:
    with pytest.raises(ValueError, match="no c2p_fd"):
        control.init("Sprint.PythonControl", None, "a:b,c:d")


def test_a_python_trainer_learns_which_module_to_take() -> None:
    with pytest.raises(SprintError, match=r"sprint_ctl\.extern_interface .* sprint_ctl\.interface"):
        control.init(config="a:b", inputDim=3, outputDim=4, targetMode="unsupervised", more=1)


def test_a_trainer_learns_of_a_python_trainer(trainer: Trainer) -> None:
    trainer.ask(INIT)
    with pytest.raises(SprintError, match="without a name"):
        control.init(inputDim=1, outputDim=2, config=trainer.config, targetMode="unsupervised")
    (answer,) = trainer.finish()
    assert answer[-2] == "exception"
    assert "--*.trainer=python-trainer" in answer[-1]


def test_log_lines(trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> None:
    control.print("silent")
    assert capfd.readouterr() == ("", "")
    log.configure_log({"quiet": "no"})
    try:
        control.print("one", 2, file=None)
    finally:
        log.configure_log({"quiet": "yes"})
    assert capfd.readouterr() == ("", f"sprint_ctl[pid {os.getpid()}] one 2\n")


class BrokenStream:
    def write(self, text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    flush = None


@pytest.mark.parametrize("stream", [None, BrokenStream()], ids=["closed", "broken"])
def test_log_lines_without_a_stderr(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(log, "_level", 1)
    control.print("silent")


# ---- RETURNN's trainer, byte by byte ------------------------------------------------


def test_messages_have_the_bytes_of_returnn() -> None:
    """Length and pickle, plain numpy, no id and no JSON framing: only the bytes are compared."""
    control.PythonControl.instance = None
    p2c_read, p2c_write = os.pipe()
    c2p_read, c2p_write = os.pipe()
    config = f"c2p_fd:{c2p_write},p2c_fd:{p2c_read},minPythonControlVersion:2"

    def send(message: Any) -> None:
        body = pickle.dumps(message, 5)
        os.write(p2c_write, struct.pack("<i", len(body)) + body)

    def read() -> Any:
        (size,) = struct.unpack("<i", os.read(c2p_read, 4))
        return pickle.loads(os.read(c2p_read, size))

    names = control.getSegmentList("c", ["a"], config)
    send(("init", "SprintSubprocessInstance", 1))
    x = np.zeros((2, 3), np.float32)
    send(("get_loss_and_error_signal", "a", np.int32(2), x))
    assert next(names) == "a"
    assert read() == ("ok", "SprintControl", 1)
    instance = control.PythonControl.instance
    assert instance is not None
    instance.set_current_seg_loss(None, 1.5)
    instance.set_current_seg_error_signal(2, x + 1)
    status, loss, error_signal = read()
    assert (status, loss) == ("ok", 1.5)
    assert np.array_equal(error_signal, x + 1)
    send(("exit",))
    assert next(names, None) is None
    for fd in (c2p_read, p2c_write):
        os.close(fd)
    control.PythonControl.instance = None


# ---- the process of Sprint ---------------------------------------------------------------------

CHILD = """
import sys
from sprint_ctl import control
names = control.getSegmentList("c", [], sys.argv[1])
for name in names:
    {body}
"""


def child(body: str, wrapped: bool = False) -> tuple[subprocess.Popen[str], int, int]:
    p2c_read, p2c_write = os.pipe()
    c2p_read, c2p_write = os.pipe()
    config = f"c2p_fd:{c2p_write},p2c_fd:{p2c_read},parent_pid:{os.getpid()}"
    command = [sys.executable, "-W", "error", "-c", CHILD.format(body=body), config]
    if wrapped:
        command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    process = subprocess.Popen(
        command,
        pass_fds=(p2c_read, c2p_write),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        restore_signals=False,
    )
    os.close(p2c_read)
    os.close(c2p_write)
    return process, p2c_write, c2p_read


def send_first_segment(write: int, read: int) -> None:
    """Requests a segment, and waits until Sprint has answered to ``init``."""
    for message in (INIT, loss_request("a", 1, np.zeros((1, 2), np.float32))):
        packed = pickle.dumps(message)
        os.write(write, struct.pack("<i", len(packed)) + packed)
    assert os.read(read, 4)


@pytest.mark.parametrize(
    ("body", "status"), [("pass", 0), ("import time; time.sleep(60)", 3)], ids=["between", "within"]
)
def test_the_end_of_the_trainer_ends_sprint(body: str, status: int) -> None:
    process, write, read = child(body)
    send_first_segment(write, read)
    time.sleep(0.3 if status else 0.1)
    os.close(write)
    os.close(read)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == status
    assert stderr == ""


KILLED_TRAINER = """
import ctypes, sys, time
sys.path.insert(0, {root!r})
from tests.sprint_ctl.test_control import child, send_first_segment
process, write, read = child({body!r}, {wrapped})
send_first_segment(write, read)
libc = ctypes.CDLL(None)
fork = libc.fork() if {forks} else -1  # Python does not know of it
if not fork:
    while True:
        libc.pause()
print(process.pid, fork, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("body", ["pass", "import time; time.sleep(60)"], ids=["between", "within"])
@pytest.mark.parametrize("kept", ["", "fork", "fork, wrapped"])
def test_a_killed_trainer_ends_sprint(body: str, kept: str) -> None:
    """The trainer closes nothing, and a fork of it may keep the pipes open."""
    code = KILLED_TRAINER.format(
        root=str(ROOT), body=body, forks="fork" in kept, wrapped="wrapped" in kept
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert trainer.stdout is not None
    pid, fork = map(int, trainer.stdout.readline().split())
    pidfd = os.pidfd_open(pid)
    try:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait(10)
        assert select.select([pidfd], [], [], 10)[0]
    finally:
        os.close(pidfd)
        if fork > 0:
            os.kill(fork, signal.SIGKILL)
        trainer.stdout.close()


# ---- the interpreter that Sprint embeds --------------------------------------------------------


@pytest.mark.parametrize("python", interpreters.others())
def test_other_interpreters(python: str) -> None:
    """Imported and used there: a segment through the layer, both framings."""
    interpreters.need_numpy(python)
    done = subprocess.run(
        [python, "-W", "error", "-B", str(ROOT / "tests" / "child_programs" / "sprint_inside.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine", "")


def test_importing_is_quiet_and_needs_no_compiled_module() -> None:
    code = "import sys; sys.modules['sprintcache._reader'] = None; import sprint_ctl.control"
    check = (
        "; assert not [m for m in sys.modules if m.startswith('sprintcache') and sys.modules[m]]"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + check],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
