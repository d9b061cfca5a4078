"""ExternSprintDataset on the stand-in: data, epochs, order, faults, and leaked resources."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import sprintcache
from sprint_ctl._sequences.targets import SOFT_KEYS
from sprint_ctl._trainer import epoch_reader
from sprint_ctl._trainer.segment_receiver import SegmentStream
from sprint_ctl.dataset import ExternSprintDataset
from sprint_ctl.errors import (
    SprintDiedError,
    SprintError,
    SprintProtocolError,
    SprintStartError,
    SprintTimeoutError,
)
from sprintcache._interrupts import NoThreadError
from sprintcache.bliss import Corpus
from tests.paths import DATA
from tests.sprint_ctl.sprint_data import (
    CONTROL,
    ENVIRONMENT,
    NAMES,
    SMALL,
    SOFT,
    STAND_IN,
    TRAINER,
    resources,
)

ROOT = Path(__file__).parents[2]
Make = Callable[..., ExternSprintDataset]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)


def open_dataset(arguments: list[str], *more: str, **options: Any) -> ExternSprintDataset:
    timeouts = {"start_timeout": 60, "data_timeout": 60, **options}
    return ExternSprintDataset(
        timeouts.pop("executable", STAND_IN), [*arguments, *more], **timeouts
    )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Opens datasets; afterwards nothing of them may be left."""
    resource_tracker.ensure_running()  # of multiprocessing, which never ends it
    before = resources(tmp_path / "tmp")
    made: list[ExternSprintDataset] = []

    def make_(*arguments: Any, **options: Any) -> ExternSprintDataset:
        made.append(open_dataset(*arguments, **options))
        return made[-1]

    yield make_
    for dataset in made:
        dataset.close()
    wait_until(lambda: resources(tmp_path / "tmp") == before)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tags(dataset: ExternSprintDataset, epoch: int = 1, **options: Any) -> list[str]:
    dataset.init_seq_order(epoch, **options)
    return [seq.seq_tag for seq in dataset.iter_seqs()]


# ---- the data ----------------------------------------------------------------------------------


def cache_dataset(**classes: Any) -> sprintcache.SprintCacheDataset:
    labeling = {
        "silence_phone": "[SILENCE]",
        "allophone_file": str(DATA / "allophones"),
        "state_tying_file": str(DATA / "state-tying" / "monophone"),
    }
    data = {
        "data": {"filename": str(DATA / "features.bundle")},
        "classes": {"allophone_labeling": labeling, **classes},
    }
    return sprintcache.SprintCacheDataset(data)


@pytest.mark.parametrize("mode", [CONTROL, TRAINER], ids=["control", "trainer"])
def test_sequences_equal_the_archives(mode: list[str], make: Make) -> None:
    """Features, labels, orthography and speaker, read by other means."""
    dataset = make(mode)
    peer = cache_dataset(filename=str(DATA / "alignment.linear.cache"))
    corpus = {segment.name: segment for segment in Corpus(str(DATA / "corpus/corpus.xml.gz"))}
    dataset.init_seq_order(epoch=1)
    index = 0
    for index, seq in enumerate(dataset.iter_seqs()):
        assert seq.seq_idx == index
        assert seq.seq_tag == NAMES[index]
        same = peer.get_dataset_seq_for_name(seq.seq_tag).features
        assert seq.features.keys() == {"data", "classes", "orth", "speaker_name"}
        for key in ("data", "classes"):
            assert np.array_equal(seq.features[key], same[key])
            assert seq.features[key].dtype == same[key].dtype
            assert seq.features[key].flags.c_contiguous
        segment = corpus[seq.seq_tag]
        assert seq.features["orth"].tobytes().decode() == (segment.orthography or "").strip()
        assert seq.features["speaker_name"].tobytes().decode() == segment.speaker
    assert index == 23
    assert dataset.num_seqs == 24
    assert dataset.num_inputs == peer.num_inputs
    for key in ("data", "classes"):
        assert dataset.num_outputs[key] == peer.num_outputs[key]
        assert dataset.get_data_dtype(key) == peer.get_data_dtype(key)


@pytest.mark.parametrize("seq_ordering", ["default", "reverse"])
def test_epochs_repeat_their_sequences(seq_ordering: str, make: Make) -> None:
    dataset = make(CONTROL, repeat_epoch=2, seq_ordering=seq_ordering, estimated_num_seqs=50)
    dataset.init_seq_order(epoch=1)
    assert dataset.estimated_num_seqs == 50
    order = NAMES[::-1] if seq_ordering == "reverse" else NAMES
    assert [seq.seq_tag for seq in dataset.iter_seqs()] == [*order, *order]
    dataset.init_seq_order(epoch=2)
    assert dataset.estimated_num_seqs == 48  # of the last epoch
    with pytest.raises(ValueError, match="exclude each other"):
        open_dataset(CONTROL, repeat_epoch=2, partitionEpoch=2)


def test_soft_alignments_are_those_of_the_archive(make: Make) -> None:
    dataset = make(SOFT)
    peer = cache_dataset(filename=str(DATA / "alignment.bw.gz.cache"), soft="sparse")
    dataset.init_seq_order(epoch=1)
    for seq in dataset.iter_seqs():
        same = peer.get_dataset_seq_for_name(seq.seq_tag).features
        for key in SOFT_KEYS:
            assert np.array_equal(seq.features[key], same[key])
            assert dataset.is_data_sparse(key) == peer.is_data_sparse(key)


@pytest.mark.parametrize(
    ("more", "keys"),
    [
        (["--*.target-mode=target-alignment"], {"data", "classes"}),
        (["--*.action=unsupervised-training", "--*.target-mode=unsupervised"], {"data"}),
        (
            [
                "--*.action=supervised-segmentwise-training",
                "--*.target-mode=target-segment-orth",
                "--*.fake.fixed-segmentwise-trainer=true",
            ],
            {"data", "orth"},
        ),
    ],
    ids=["alignment", "unsupervised", "orth"],
)
def test_target_modes(more: list[str], keys: set[str], make: Make) -> None:
    dataset = make(TRAINER, *more)
    dataset.init_seq_order(epoch=1)
    assert dataset.get_data_keys() == sorted(keys)
    assert dataset.get_target_list() == sorted(keys - {"data"})
    assert len(list(dataset.iter_seqs())) == 24


def test_batches_of_frames_are_sequences_without_a_name(make: Make) -> None:
    dataset = make(TRAINER, "--*.buffer-type=mini-batch", "--*.buffer-size=1000")
    dataset.init_seq_order(epoch=1)
    whole = cache_dataset(filename=str(DATA / "alignment.linear.cache"))
    names = iter(NAMES)
    features = np.zeros((0, 16), np.float32)
    frames = 0
    for index, seq in enumerate(dataset.iter_seqs()):
        assert seq.seq_tag == f"seq-{index}"
        data = seq.features["data"]
        frames += len(data)
        while len(features) < len(data):
            more = whole.get_dataset_seq_for_name(next(names)).features["data"]
            features = np.concatenate([features, more])
        assert np.array_equal(data, features[: len(data)])
        assert len(seq.features["classes"]) == len(data)
        features = features[len(data) :]
    assert frames == 7465


def test_without_features(make: Make) -> None:
    dataset = make(SMALL, "--*.extract-features=false")
    assert dataset.num_inputs == 0
    dataset.init_seq_order(epoch=1)
    assert dataset.get_data_keys() == ["orth", "speaker_name"]
    assert dataset.get_tag(23) == NAMES[23]


# ---- RETURNN's scenarios -----------------------------------------------------------------


def test_batches_with_a_window(make: Make) -> None:
    """What a training does: ask for ranges, read ahead a little, never look back."""
    dataset = make(CONTROL, window=3, input_stddev=2.0)
    peer = cache_dataset(filename=str(DATA / "alignment.linear.cache"))
    assert dataset.num_outputs["data"] == (48, 2)
    for epoch in (1, 2):
        dataset.init_seq_order(epoch=epoch)
        start, frames = 0, 0
        while dataset.is_less_than_num_seqs(start):
            end = start + 5
            dataset.load_seqs(start, end)
            for index in range(start, end):
                if not dataset.is_less_than_num_seqs(index):
                    break
                data = dataset.get_data(index, "data")
                same = peer.get_dataset_seq_for_name(dataset.get_tag(index)).features["data"]
                np.testing.assert_allclose(data[:, 16:32], same / 2)
                assert len(dataset.get_targets("classes", index)) == len(data)
                frames += len(data)
            start = end
        assert dataset.get_num_timesteps()["data"] == frames == 7465


def test_dimensions_and_first_epoch_come_from_one_start(make: Make, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    wrapper = tmp_path / "sprint"
    wrapper.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"with open({str(starts)!r}, 'a') as file: print(os.getpid(), file=file)\n"
        f"os.chdir({str(ROOT)!r})\n"
        f"os.execv({STAND_IN[0]!r}, {STAND_IN!r} + sys.argv[1:])\n"
    )
    wrapper.chmod(0o755)
    dataset = make(SMALL, executable=str(wrapper))
    assert not starts.exists()
    assert dataset.num_outputs["data"] == (4, 2)
    assert not dataset.init_seq_order(epoch=1)
    assert not dataset.init_seq_order(epoch=1)
    assert len(list(dataset.iter_seqs())) == 24
    assert len(starts.read_text().split()) == 1
    assert dataset.init_seq_order(epoch=1)  # it was taken from: again
    assert dataset.get_tag(0) == NAMES[0]
    assert len(starts.read_text().split()) == 2


# ---- epochs and order --------------------------------------------------------------------------


def test_sequence_lists_are_delivered_exactly(make: Make, tmp_path: Path) -> None:
    dataset = make(SMALL, partition_epoch=2)
    expected = [NAMES[i] for i in (5, 3, 20)]
    assert tags(dataset, 2, seq_list=expected) == expected
    assert dataset.num_seqs == 3
    assert tags(dataset, 2, seq_list=[]) == []
    assert dataset.num_seqs == 0
    wait_until(lambda: os.listdir(tmp_path / "tmp") == [])
    assert tags(dataset, 2) == NAMES[1::2]


def test_filter_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{NAMES[7]}\n{NAMES[2]}\n")
    dataset = make(SMALL, seq_list_filter_file=str(tmp_path / "list"))
    assert tags(dataset) == [NAMES[2], NAMES[7]]


def test_parts_and_shards_are_disjoint_and_complete(make: Make) -> None:
    delivered: list[str] = []
    for shard in (0, 1):
        dataset = make(SMALL, partitionEpoch=3, num_shards=2, shard_index=shard)
        for epoch in (1, 2, 3):
            part = tags(dataset, epoch)
            assert len(part) == 4
            delivered += part
    assert sorted(delivered) == NAMES


def test_seeds_are_those_of_the_full_epoch(make: Make) -> None:
    dataset = make(SMALL, "--*.corpus.segment-order-shuffle=true", partition_epoch=2)
    epochs = [tags(dataset, epoch) for epoch in (1, 2, 3)]
    assert sorted(epochs[0] + epochs[1]) == NAMES
    assert sorted(epochs[0]) != sorted(epochs[2])


def test_orders_of_ours_in_sprint(make: Make) -> None:
    dataset = make(SMALL, seq_ordering="random")
    for epoch in (1, 2):
        order = dataset.ordering.order(epoch, 24)
        assert tags(dataset, epoch) == [NAMES[i] for i in order]
    dataset = make(SMALL)
    assert dataset.num_inputs == 4  # the first epoch is under way
    dataset.ordering = dataclasses.replace(dataset.ordering, seq_ordering="reverse")
    assert tags(dataset) == NAMES[::-1]
    dataset = make(SMALL, seq_ordering="sorted")
    with pytest.raises(SprintStartError, match=r"needs lengths.*24 segments"):
        tags(dataset)


def test_the_next_epoch_is_started_ahead(make: Make) -> None:
    dataset = make(SMALL, prefetch_epochs=1)
    assert len(tags(dataset, 1)) == 24
    wait_until(lambda: bool(dataset._running._ahead))
    ((_, stream),) = dataset._running._ahead.items()
    dataset.init_seq_order(2)
    assert dataset._running.stream is stream
    assert stream.epoch == 2
    dataset.reader_thread_proc(stream.pid, 2)
    assert dataset.is_cached(0, 24)
    assert len(list(dataset.iter_seqs())) == 24
    ((_, other),) = dataset._running._ahead.items()
    pid = other.pid
    assert tags(dataset, 7, seq_list=NAMES[:2]) == NAMES[:2]  # another one than expected
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert len(tags(dataset, 3)) == 24
    wait_until(lambda: bool(dataset._running._ahead))
    ((_, dead),) = dataset._running._ahead.items()
    os.kill(dead.pid, signal.SIGKILL)
    with pytest.raises(SprintError, match="SIGKILL"):
        tags(dataset, 4)
    assert len(tags(dataset, 4)) == 24


def test_an_epoch_left_early_ends_in_order(make: Make) -> None:
    """Sprint is asked, and exits with its own status; nothing of it reaches the next epoch."""
    rules = "segment-*:sleep:0.05;exit:stderr:the end in order"
    dataset = make(SMALL, f"--*.fake.misbehave={rules}")
    for epoch in (1, 2):
        dataset.init_seq_order(epoch)
        dataset.load_seqs(0, 2)
        stream = dataset._running.stream
        assert stream is not None
        dataset.finish_epoch()
        assert stream._process.poll() == 0
        stream.explain(error := SprintError(""))
        assert "the end in order" in error.stderr_tail
    assert len(tags(dataset, 3)) == 24


def stand_in_with(path: Path, python: str = sys.executable, **options: str) -> str:
    """The stand-in, with some options of its command line overridden."""
    path.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        import os, sys
        options = {{
            name.replace("__", ".").replace("_", "-"): value
            for name, value in {options!r}.items()
        }}
        arguments = []
        for argument in sys.argv[1:]:
            name, _, value = argument.partition("=")
            for option, other in options.items():
                value = other if name.endswith(option) else value
            arguments.append(f"{{name}}={{value}}")
        environment = {{**os.environ, "PYTHONPATH": {str(ROOT)!r}}}
        command = [{python!r}, "-m", "sprint_ctl.fake_sprint", *arguments]
        os.execve({python!r}, command, environment)
        """)
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "expected"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, SprintStartError)]
)
def test_an_epoch_whose_start_fails_can_be_begun_again(
    kind: type[BaseException],
    expected: type[BaseException],
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise it would be waited for until the timeout."""
    dataset = make(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Mock(side_effect=kind("at the start")))
        for _ in range(2):
            with pytest.raises(expected, match="at the start"):
                dataset.init_seq_order(1)
    for error, raised in ((NoThreadError, SprintStartError), (KeyboardInterrupt,) * 2):
        with monkeypatch.context() as patch:
            patch.setattr(epoch_reader, "start_threads", Mock(side_effect=error("no thread")))
            with pytest.raises(raised, match="no thread"):
                dataset.init_seq_order(1)
    assert len(tags(dataset, 1)) == 24


def test_a_list_of_sequences_is_not_that_of_a_sprint_started_ahead(make: Make) -> None:
    dataset = make(SMALL, prefetch_epochs=1)
    assert tags(dataset, 1) == NAMES
    wait_until(lambda: bool(dataset._running._ahead))
    assert tags(dataset, 2, seq_list=NAMES[3:5]) == NAMES[3:5]
    assert tags(dataset, 3) == NAMES


@pytest.mark.parametrize(
    "content",
    [("a", None), ("a", None, {}, 1), None, (1, None, {}), ("a", [1.0], {}), ("a", None, None)],
)
def test_segments_of_another_form_are_refused(content: Any) -> None:
    stream = Mock(SegmentStream, _fail=Mock(side_effect=SprintProtocolError("form")))
    with pytest.raises(SprintProtocolError, match="form"):
        SegmentStream._segment(stream, "data", content)
    with pytest.raises(SprintProtocolError, match="form"):
        SegmentStream._segment(stream, "other", ("a", None, {}))


# ---- faults ------------------------------------------------------------------------------------


def fault(rules: str, *more: str, **options: Any) -> tuple[int, SprintError, ExternSprintDataset]:
    """How many sequences come before which error."""
    dataset = open_dataset(SMALL, f"--*.fake.misbehave={rules}", *more, **options)
    count = 0
    try:
        dataset.init_seq_order(epoch=1)
        with pytest.raises(SprintError) as caught:  # noqa: PT012
            for _ in dataset.iter_seqs():
                count += 1
        with pytest.raises(type(caught.value)):
            dataset.load_seqs(count, count + 1)
        return count, caught.value, dataset
    finally:
        dataset.close()


def test_sprint_dies_in_the_middle() -> None:
    count, error, _ = fault("segment-5:stderr:last words;segment-5:signal:KILL")
    assert isinstance(error, SprintDiedError)
    assert (count, error.signal, error.returncode) == (4, "SIGKILL", -9)
    assert "last words" in error.stderr_tail
    assert error.request == f"epoch 1, after 4 segments, the last one {NAMES[3]!r}"
    assert error.command is not None
    assert "fake_sprint" in " ".join(error.command)


def test_sprint_ends_with_an_error_or_without_a_word() -> None:
    count, error, _ = fault("done-3:error:no such file")
    assert isinstance(error, SprintDiedError)
    assert (count, error.returncode) == (3, 1)
    assert "no such file" in str(error)
    count, error, _ = fault("done-3:code:0")
    assert isinstance(error, SprintDiedError)
    assert (count, error.returncode) == (3, 0)


def test_sprint_hangs() -> None:
    count, error, _ = fault("segment-3:hang", data_timeout=0.5)
    assert isinstance(error, SprintTimeoutError)
    assert count == 2
    assert "epoch 1, after 2 segments" in str(error)
    _, error, _ = fault("start:ignore:TERM;segment-1:hang", start_timeout=2)
    assert isinstance(error, SprintTimeoutError)


def test_sprint_does_not_start() -> None:
    with pytest.raises(SprintStartError, match="no such program"):
        ExternSprintDataset("/does/not/exist", "")
    count, error, _ = fault("start:error:bad configuration")
    assert isinstance(error, SprintStartError)
    assert (count, error.returncode) == (0, 1)
    assert "bad configuration" in str(error)
    dataset = open_dataset(SMALL, "--*.fake.misbehave=start:code:7")
    with pytest.raises(SprintStartError, match="exit status 7"):
        dataset.num_outputs  # noqa: B018
    dataset.close()


def test_sprint_violates_the_protocol() -> None:
    for rule in ("segment-3:garbage:1000", "segment-3:half"):
        count, error, _ = fault(rule, data_timeout=1)
        assert count == 2
        assert isinstance(error, SprintProtocolError | SprintTimeoutError)
        assert error.pid is not None


def test_an_exception_in_our_module_reaches_the_trainer() -> None:
    _, error, _ = fault("start:stderr:x", "--*.target-mode=forward-only", "--*.action=x")
    assert isinstance(error, SprintStartError)
    dataset = open_dataset(
        TRAINER,
        "--*.action=unsupervised-training",
        "--*.target-mode=forward-only",
    )
    with pytest.raises(SprintStartError, match="asks for the output of a network") as caught:
        tags(dataset)
    assert caught.value.remote is not None
    dataset.close()
    dataset = open_dataset(
        TRAINER,
        "--*.action=supervised-segmentwise-training",
        "--*.target-mode=target-segment-orth",
    )
    with pytest.raises(SprintError, match="iterate-corpus instead"):
        tags(dataset)
    dataset.close()
    dataset = open_dataset(SMALL, "--*.python-control-loop-type=python-control-loop")
    with pytest.raises(SprintStartError, match="delivers no segments in this mode"):
        tags(dataset)
    dataset.close()


def test_another_order_than_the_list_and_fewer_than_it(make: Make, tmp_path: Path) -> None:
    expected = NAMES[:3]
    (tmp_path / "other").write_text("\n".join([NAMES[0], NAMES[2], NAMES[1]]))
    other = stand_in_with(tmp_path / "sprint", corpus__segment_order=f"{tmp_path}/other")
    dataset = make(SMALL, executable=other)
    dataset.init_seq_order(1, seq_list=expected)
    assert dataset.get_tag(0) == expected[0]
    with pytest.raises(SprintProtocolError, match=f"expected '{NAMES[1]}' at 1"):
        dataset.get_tag(1)
    dataset = make(SMALL, f"--*.corpus.segments-to-skip={NAMES[1]}")
    dataset.init_seq_order(1, seq_list=NAMES[:2])
    assert dataset.get_tag(0) == NAMES[0]
    with pytest.raises(SprintProtocolError, match=r"fewer sequences.*'espeak/rec001/1'") as caught:
        dataset.load_seqs(1, 2)
    assert caught.value.pid is not None
    assert tags(dataset, 2) == [NAMES[0], *NAMES[2:]]


@pytest.mark.parametrize("rule", ["exit:abort", "exit:hang"])
def test_a_failing_exit_is_no_error(rule: str, make: Make) -> None:
    dataset = make(SMALL, f"--*.fake.misbehave={rule}", exit_timeout=1)
    for epoch in (1, 2):
        assert len(tags(dataset, epoch)) == 24


def test_an_epoch_without_any_segment(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "list").write_text("no such segment\n")
    dataset = make(SMALL, seq_list_filter_file=str(tmp_path / "list"))
    assert tags(dataset) == []
    assert dataset.num_seqs == 0
    assert "epoch 1>: Sprint has visited no segment" in caplog.text
    with pytest.raises(SprintError, match="has visited no segment"):
        dataset.num_outputs  # noqa: B018
    dataset.finish_epoch()
    with pytest.raises(SprintError, match="was left"):
        dataset.have_seqs()


def test_an_error_in_an_option_is_raised_in_the_training(make: Make) -> None:
    dataset = make(SMALL, target_maps={"speaker_name": {"spk0": 0}})
    with pytest.raises(sprintcache.LabelError, match="no speaker_name") as caught:
        tags(dataset)
    assert caught.value.entry in NAMES
    dataset = make(SMALL, orth_post_process=lambda text: text[100000])
    with pytest.raises(SprintError, match="IndexError") as other:
        tags(dataset)
    assert isinstance(other.value.__cause__, IndexError)


@pytest.mark.parametrize(
    "option",
    ["--*.fake.misbehave=segment-3:hang", "--*.fake.features=400x2000"],
    ids=["computes", "sends"],
)
def test_a_trainer_that_is_killed_takes_its_sprint_with_it(option: str, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.sprint_ctl.test_sprint_dataset import SMALL, open_dataset
dataset = open_dataset(SMALL, {option!r}, max_cached_bytes=1 << 22)
dataset.init_seq_order(1, {NAMES[:12]})
dataset.load_seqs(0, 2)
sys.stdout.write(str(dataset._running.stream.pid)); sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: not Path(f"/proc/{int(done.stdout)}/cmdline").exists())
    assert os.listdir(tmp_path / "tmp") == []


# ---- leaked resources --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, float("inf"), 1e7])
def test_timeouts_of_any_length(value: float | None, make: Make) -> None:
    names = ("start_timeout", "data_timeout", "consumer_timeout", "exit_timeout")
    assert len(tags(make(SMALL, **dict.fromkeys(names, value)))) == len(NAMES)
    for name in names:
        with pytest.raises(ValueError, match=name):
            make(SMALL, **{name: -1.0})
        with pytest.raises(TypeError, match=name):
            make(SMALL, **{name: "1"})


@pytest.mark.parametrize("longest", ["data_timeout", "exit_timeout"])
def test_the_training_waits_for_all_that_sprint_may_take(longest: str, make: Make) -> None:
    """The longest of the timeouts is more than the others together."""
    timeouts = {"start_timeout": 20, "data_timeout": 20, "exit_timeout": 20, longest: 60}
    assert tags(make(SMALL, **timeouts)) == NAMES


@pytest.mark.parametrize("rule", ["segment-5:hang", "segment-999:hang"])
def test_close_ends_the_wait_of_another_thread(rule: str, make: Make) -> None:
    """For a Sprint that hangs as well as between two sequences."""
    dataset = make(SMALL, f"--*.fake.misbehave={rule}", exit_timeout=0.2)
    dataset.init_seq_order(1)
    errors: list[BaseException] = []
    second = threading.Event()

    def consume() -> None:
        try:
            for index, _ in enumerate(dataset.iter_seqs()):
                if index == 1:
                    second.set()
                    closed.wait(5 if rule == "segment-999:hang" else 0)
        except SprintError as error:
            errors.append(error)

    closed = threading.Event()
    thread = threading.Thread(target=consume)
    thread.start()
    assert second.wait(60)
    dataset.close()
    closed.set()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed" in str(errors[0])


def test_a_dropped_dataset_ends_its_sprint(tmp_path: Path) -> None:
    before = resources(tmp_path / "tmp")
    dataset = open_dataset(SMALL, "--*.fake.misbehave=segment-9:hang", prefetch_epochs=1)
    dataset.init_seq_order(1)
    dataset.load_seqs(0, 2)
    del dataset
    gc.collect()
    wait_until(lambda: resources(tmp_path / "tmp") == before)
    full_cache_dropped()
    gc.collect()
    wait_until(lambda: resources(tmp_path / "tmp") == before)


def full_cache_dropped() -> None:
    """The reader is held up when the last reference to the dataset goes."""
    dataset = open_dataset(SMALL)
    dataset.SprintCachedSeqsMax = 2
    dataset.init_seq_order(1)
    dataset.load_seqs(0, 1)
    wait_until(lambda: dataset._cache.num_added > 2)


def test_many_epochs_leave_nothing(tmp_path: Path) -> None:
    dataset = open_dataset(SMALL, prefetch_epochs=1)
    dataset.SprintCachedSeqsMax = 4
    before = None
    for epoch in range(1, 13):
        dataset.init_seq_order(epoch)
        if epoch % 3 == 0:
            dataset.load_seqs(0, 3)  # and leaves
        else:
            assert len(list(dataset.iter_seqs())) == 24
        if epoch % 10 == 2:
            wait_until(lambda: len(threading.enumerate()) <= 4)
            dataset.close()
            current = resources(tmp_path / "tmp")
            before = before or current
            assert current == before
    dataset.close()


# ---- other processes ---------------------------------------------------------------------------


def in_worker(dataset: ExternSprintDataset, results: Any) -> None:
    try:
        results.put((tags(dataset, 1), dataset.num_inputs))
    finally:
        dataset.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads
def test_a_copy_in_another_process_starts_its_own_sprint(make: Make, method: str) -> None:
    dataset = make(SMALL, window=3)
    dataset.init_seq_order(1)
    dataset.load_seqs(0, 2)
    context: Any = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    worker = context.Process(target=in_worker, args=(dataset, results))
    worker.start()
    assert results.get() == (NAMES, 4)
    worker.join()
    assert worker.exitcode == 0
    assert [seq.seq_tag for seq in dataset.iter_seqs()] == NAMES
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.num_outputs == dataset.num_outputs
    assert copy._running.stream is None
    copy.close()


# ---- RETURNN at the other end ------------------------------------------------------------


def incumbent() -> str:
    """An interpreter with RETURNN and NumPy below 2.3, whose pipe works."""
    python = os.environ.get("SPRINTCACHE_RETURNN_PYTHON")
    if not python:
        pytest.skip("SPRINTCACHE_RETURNN_PYTHON names no interpreter with RETURNN, NumPy < 2.3")
    return python


def test_our_dataset_reads_from_returnns_child(make: Make, tmp_path: Path) -> None:
    python = incumbent()
    where = "import os, returnn; print(os.path.dirname(os.path.dirname(returnn.__file__)))"
    root = subprocess.check_output([python, "-c", where], text=True).strip()
    theirs = stand_in_with(
        tmp_path / "sprint",
        python,
        pymod_name="returnn.sprint.extern_interface",
        pymod_path=root,
    )
    peer = make(CONTROL, executable=theirs)
    ours = make(CONTROL)
    peer.init_seq_order(1)
    ours.init_seq_order(1)
    stream = peer._running.stream
    count = 0
    for seq, same in zip(ours.iter_seqs(), peer.iter_seqs(), strict=True):
        assert seq.seq_tag == same.seq_tag
        assert seq.features.keys() == same.features.keys()
        assert all(np.array_equal(seq.features[key], same.features[key]) for key in seq.features)
        count += 1
    assert count == 24
    assert stream is not None
    assert stream._process.wire.received_id is None  # the pickle framing


def test_our_child_feeds_returnns_dataset(make: Make, tmp_path: Path) -> None:
    python = incumbent()
    executable = stand_in_with(
        tmp_path / "sprint", pymod_name="sprint_ctl.extern_interface", pymod_path=str(ROOT)
    )
    code = f"""
    import json
    import numpy as np
    from returnn.datasets.sprint import ExternSprintDataset
    if __name__ == "__main__":
        arguments = json.loads({json.dumps(json.dumps(CONTROL))})
        dataset = ExternSprintDataset({executable!r}, arguments)
        dataset.init_seq_order(epoch=1)
        arrays = {{}}
        index = 0
        while dataset.is_less_than_num_seqs(index):
            dataset.load_seqs(index, index + 1)
            tag = dataset.get_tag(index)
            for key in dataset.get_data_keys():
                arrays[tag + " " + key] = dataset.get_data(index, key)
            index += 1
        np.savez("arrays.npz", **{{key.replace("/", ":"): x for key, x in arrays.items()}})
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
    arrays = np.load(tmp_path / "arrays.npz")
    dataset = make(CONTROL)
    dataset.init_seq_order(1)
    for seq in dataset.iter_seqs():
        for key, array in seq.features.items():
            assert np.array_equal(arrays[f"{seq.seq_tag} {key}".replace("/", ":")], array)
    assert len(arrays.files) == 24 * 4


def test_returnns_shared_memory_is_refused() -> None:
    dataset = open_dataset(
        SMALL, sprintControlConfig={"EnableAutoNumpySharedMemPickling": True}, exit_timeout=1
    )
    with pytest.raises(SprintStartError, match="not supported: switch it off"):
        tags(dataset)
    with contextlib.closing(dataset):
        pass
