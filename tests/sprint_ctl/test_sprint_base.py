"""SprintDatasetBase without Sprint: names, two threads, epochs, options; RETURNN as the peer."""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl._sequences.orthography import post_processor
from sprint_ctl._sequences.targets import SOFT_KEYS
from sprint_ctl.dataset import ExternSprintDataset, SprintDatasetBase
from sprint_ctl.errors import SprintError, SprintProtocolError, SprintTimeoutError
from sprintcache.vocabulary import vocabulary

DIM = 5
# name and parameters as the reference documents them; below, those of today's source
DOCUMENTED = """
setDimensions(inputDim, outputDim)
initSprintEpoch(epoch)
finalizeSprint()
init_seq_order(epoch=None, seq_list=None)
waitForCrnnEpoch(epoch)
is_cached(start, end)
load_seqs(start, end)
addNewData(features, targets=None, segmentName=None)
finishSprintEpoch()
useMultipleEpochs()
get_num_timesteps()
have_seqs()
is_less_than_num_seqs(n)
get_data_keys()
get_target_list()
set_complete_frac(frac)
get_complete_frac(sorted_seq_idx)
get_seq_length(sorted_seq_idx)
get_data(seq_idx, key)
get_input_data(sorted_seq_idx)
get_targets(target, sorted_seq_idx)
get_tag(sorted_seq_idx)
use_multiple_epochs()
set_dimensions(input_dim, output_dim)
init_sprint_epoch(epoch)
finalize_sprint()
wait_for_returnn_epoch(epoch)
add_new_data(features, targets=None, segment_name=None)
finish_sprint_epoch(seen_all=True)
"""
CONSTRUCTOR = "target_maps=None, str_add_final_zero=False, input_stddev=1.0, "
CONSTRUCTOR += "orth_post_process=None, bpe=None"
EXTERN = """
reader_thread_proc(child_pid, epoch)
init_epoch(epoch=None, seq_list=None)
init_seq_order(epoch=None, seq_list=None)
exit_handler()
"""


@pytest.mark.parametrize(
    ("kind", "line"),
    [(SprintDatasetBase, line) for line in DOCUMENTED.split("\n") if line]
    + [(ExternSprintDataset, line) for line in EXTERN.split("\n") if line],
)
def test_documented_methods_exist(kind: type, line: str) -> None:
    name, _, parameters = line.removesuffix(")").partition("(")
    actual = list(inspect.signature(getattr(kind, name)).parameters.values())[1:]
    check_parameters(actual, parameters)


def check_parameters(actual: list[inspect.Parameter], documented: str) -> None:
    """The documented ones come first, in their order, with their defaults; others are optional."""
    words = [word.strip().partition("=") for word in documented.split(",") if word]
    for parameter, (name, _, default) in zip(actual, words, strict=False):
        assert parameter.name == name
        expected = eval(default) if default else inspect.Parameter.empty
        assert parameter.default == expected
    assert len(actual) >= len(words)
    optional = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    for parameter in actual[len(words) :]:
        assert parameter.default is not inspect.Parameter.empty or parameter.kind in optional


def test_documented_constructors_and_constants() -> None:
    base = list(inspect.signature(SprintDatasetBase).parameters.values())
    check_parameters(base, CONSTRUCTOR)
    extern = list(inspect.signature(ExternSprintDataset).parameters.values())
    check_parameters(extern, "sprintTrainerExecPath, sprintConfigStr, partitionEpoch=1")
    assert (SprintDatasetBase.SprintCachedSeqsMax, SprintDatasetBase.SprintCachedSeqsMin) == (
        200,
        100,
    )
    assert isinstance(SprintDatasetBase.num_seqs, property)


# ---- two threads -------------------------------------------------------------------------------


def made(**options: Any) -> SprintDatasetBase:
    dataset = SprintDatasetBase(**{"data_timeout": 10, "consumer_timeout": 10, **options})
    dataset.setDimensions(DIM, 3)
    dataset.initSprintEpoch(None)
    return dataset


def matrix(frames: int, seed: int = 0) -> Any:
    """(dimension, time) in Fortran order, as Sprint passes it."""
    values = np.random.default_rng(seed).normal(size=(frames, DIM)).astype(np.float32)
    return values.T


def feed(dataset: SprintDatasetBase, count: int, first: int = 0) -> None:
    for index in range(first, first + count):
        number = dataset.addNewData(matrix(4, index), segmentName=f"s{index}")
        assert number == index


@pytest.fixture(scope="module", autouse=True)
def threads_before() -> set[threading.Thread]:
    return set(threading.enumerate())


def in_thread(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def stays(future: Future[Any]) -> None:
    time.sleep(0.05)
    assert not future.done()


def test_sequences_in_order_with_all_metadata() -> None:
    dataset = made()
    adding = in_thread(lambda: (feed(dataset, 30), dataset.finishSprintEpoch()))
    dataset.init_seq_order(epoch=1)
    with pytest.raises(NotImplementedError):
        SprintDatasetBase().num_seqs  # noqa: B018
    assert dataset.have_seqs()
    assert dataset.get_data_keys() == ["data"]
    index = 0
    while dataset.is_less_than_num_seqs(index):
        dataset.load_seqs(index, index + 2)
        assert dataset.is_cached(index, index + 1)
        assert np.array_equal(dataset.get_data(index, "data"), matrix(4, index).T)
        assert dataset.get_input_data(index) is dataset.get_data(index, "data")
        assert dataset.get_data(index, "data").flags.c_contiguous
        assert dataset.get_tag(index) == f"s{index}"
        assert dataset.get_seq_length(index) == {"data": 4}
        assert 0 < dataset.get_complete_frac(index) <= 1
        index += 1
    adding.result()
    assert dataset.is_less_than_num_seqs(30) is False
    assert index == dataset.num_seqs == 30
    assert dataset.get_num_timesteps() == {"data": 120}
    assert dataset.get_complete_frac(29) == 1
    assert not dataset.is_cached(3, 4)
    with pytest.raises(IndexError, match="was dropped"):
        dataset.get_data(3, "data")
    with pytest.raises(ValueError, match="dropped"):
        dataset.load_seqs(3, 4)
    with pytest.raises(IndexError, match="30 of 30"):
        dataset.get_tag(30)
    with pytest.raises(SprintError, match="after the end"):
        feed(dataset, 1, 30)


def test_the_cache_fills_to_the_maximum_and_goes_on_at_the_minimum() -> None:
    dataset = made()
    dataset.SprintCachedSeqsMax = 20
    dataset.SprintCachedSeqsMin = 10
    adding = in_thread(feed, dataset, 100)
    wait_until(lambda: dataset._cache.num_added == 21)
    stays(adding)
    assert dataset._cache.num_added == 21
    dataset.load_seqs(0, 10)  # 11 ahead
    stays(adding)
    assert dataset._cache.num_added == 21
    dataset.load_seqs(1, 11)
    wait_until(lambda: dataset._cache.num_added == 32)
    dataset.load_seqs(40, 100)  # more than fits at once
    adding.result(10)
    assert dataset.is_cached(40, 100)


def test_the_cache_is_limited_in_bytes() -> None:
    size = matrix(4).nbytes
    dataset = made(max_cached_bytes=10 * size)
    adding = in_thread(feed, dataset, 40)
    wait_until(lambda: dataset._cache.num_added == 11)
    stays(adding)
    dataset.load_seqs(0, 5)
    stays(adding)
    dataset.load_seqs(0, 6)
    wait_until(lambda: dataset._cache.num_added == 17)
    dataset.load_seqs(0, 40)
    adding.result(10)
    assert dataset._cache._bytes_ahead == 0


def test_requests_before_the_epoch_fit_the_cache() -> None:
    dataset = made(data_timeout=5)
    dataset.useMultipleEpochs()
    dataset.SprintCachedSeqsMax = 2
    dataset.init_seq_order(1)
    loading = in_thread(dataset.load_seqs, 0, 10)
    stays(loading)
    dataset.initSprintEpoch(1)
    adding = in_thread(feed, dataset, 10)
    loading.result(10)
    adding.result(10)
    assert dataset.is_cached(0, 10)
    dataset.finishSprintEpoch()
    dataset.load_seqs(1, sys.maxsize)
    assert dataset.num_seqs == 10


def test_an_error_of_the_adding_side_is_raised_where_something_is_missing() -> None:
    dataset = made()
    feed(dataset, 2)
    cause = ZeroDivisionError("of the producer")
    dataset.fail(cause)
    assert dataset.get_tag(1) == "s1"
    with pytest.raises(SprintError, match="of the producer") as caught:
        dataset.is_less_than_num_seqs(2)
    assert caught.value.__cause__ is cause
    dataset.fail(SprintTimeoutError("named"))
    with pytest.raises(SprintTimeoutError, match="named"):
        dataset.load_seqs(0, 3)


def test_no_wait_without_deadline() -> None:
    dataset = made(data_timeout=0.05, consumer_timeout=0.05, max_cached_bytes=1)
    with pytest.raises(SprintTimeoutError, match="no sequence arrived"):
        dataset.load_seqs(0, 1)
    with pytest.raises(SprintTimeoutError, match="not consumed"):
        feed(dataset, 2)
    dataset.useMultipleEpochs()
    with pytest.raises(SprintTimeoutError, match="begin the next epoch"):
        dataset.waitForCrnnEpoch(2)


def test_a_thread_does_not_wait_for_itself() -> None:
    dataset = made()
    feed(dataset, 1)
    with pytest.raises(SprintError, match="the thread that adds"):
        dataset.load_seqs(1, 2)


def test_a_training_that_stops_lets_sprint_go_on() -> None:
    dataset = made(max_cached_bytes=1)
    adding = in_thread(feed, dataset, 1)
    stays(adding)
    dataset.stop()
    adding.result(10)
    dataset.add_new_data(matrix(3))
    assert dataset._cache.num_added == 1


# ---- epochs ------------------------------------------------------------------------------------


def test_epochs_are_kept_in_step() -> None:
    dataset = made()
    dataset.use_multiple_epochs()
    seen: list[tuple[int, list[str]]] = []
    moves: list[int] = []

    def sprint() -> None:
        for epoch in (1, 2, 3):
            if epoch > 1 and not dataset.wait_for_returnn_epoch(epoch):
                return
            moves.append(epoch)
            dataset.init_sprint_epoch(epoch)
            for index in range(3):
                dataset.add_new_data(matrix(2), segment_name=f"e{epoch}-{index}")
            dataset.finish_sprint_epoch()
        dataset.finalize_sprint()

    adding = in_thread(sprint)
    for epoch in dataset.iter_epochs():
        seen.append((epoch, [seq.seq_tag for seq in dataset.iter_seqs()]))
        if epoch == 1:
            stays(adding)
            assert moves == [1]
    adding.result(10)
    assert seen == [(e, [f"e{e}-{i}" for i in range(3)]) for e in (1, 2, 3)]


def test_epochs_that_cannot_meet_are_named() -> None:
    dataset = made()
    dataset.useMultipleEpochs()
    dataset.init_seq_order(epoch=1)
    dataset.initSprintEpoch(2)
    with pytest.raises(SprintError, match=r"different epochs.*expected epoch 1, found epoch 2"):
        dataset.have_seqs()
    dataset.init_seq_order(epoch=3)
    with pytest.raises(SprintError, match="ahead of Sprint"):
        dataset.waitForCrnnEpoch(2)
    dataset.finalizeSprint()
    with pytest.raises(SprintError, match="the last one"):
        dataset.have_seqs()


def test_nothing_of_another_epoch_is_seen() -> None:
    dataset = made()
    dataset.useMultipleEpochs()
    dataset.initSprintEpoch(1)
    feed(dataset, 2)
    dataset.init_seq_order(epoch=2)
    asking = in_thread(dataset.get_tag, 0)
    stays(asking)
    dataset.initSprintEpoch(2)
    feed(dataset, 1)
    assert asking.result(10) == "s0"


def test_a_predefined_list_is_enforced() -> None:
    order = ["s0", "s1", "s2"]
    dataset = made()
    dataset.init_seq_order(epoch=1, seq_list=order)
    assert dataset.num_seqs == 3
    assert dataset.is_less_than_num_seqs(2)
    feed(dataset, 1)
    with pytest.raises(SprintProtocolError, match="found 's2', at 2 of the list"):
        dataset.addNewData(matrix(2), segmentName="s2")
    with pytest.raises(SprintProtocolError, match="found 'x', not in the list"):
        dataset.addNewData(matrix(2), segmentName="x")
    with pytest.raises(SprintProtocolError, match=r"fewer.*expected 3, the next one 's1', found 1"):
        dataset.finishSprintEpoch()
    feed(dataset, 2, 1)
    with pytest.raises(SprintProtocolError, match="expected 3 in all"):
        feed(dataset, 1, 3)
    dataset.finishSprintEpoch()


# ---- what becomes of a segment -----------------------------------------------------------------


def one(targets: Any = None, features: Any = None, **options: Any) -> Any:
    """The arrays of a sequence."""
    dataset = made(**options)
    dataset.addNewData(matrix(6) if features is None else features, targets, "corpus/a/1")
    return dataset._cache.get(0).features


def test_texts_are_bytes_from_str_and_bytes() -> None:
    for text in ("zwölf Boxkämpfer ", "zwölf Boxkämpfer ".encode()):
        arrays = one({"orth": text, "speaker_name": "spk0"}, str_add_final_zero=True)
        assert arrays["orth"].tobytes().decode() == "zwölf Boxkämpfer"
        assert arrays["orth"].dtype == np.uint8
        assert arrays["orth0"].tobytes().endswith("kämpfer\0".encode())
        assert arrays["speaker_name0"].tobytes() == b"spk0\0"
    dataset = made(str_add_final_zero=True, target_maps={"speaker_name": {"a": 0}})
    keys = "data", "classes", "orth", "orth0", "speaker_name"
    types = [dataset.get_data_dtype(key) for key in keys]
    assert types == ["float32", "int32", "uint8", "uint8", "int32"]
    assert [dataset.is_data_sparse(key) for key in keys] == [False, True, True, True, True]


def test_target_maps(tmp_path: Path) -> None:
    (tmp_path / "speakers").write_text("spk0\nspk1\n")
    for target_map in (str(tmp_path / "speakers"), {"spk0": 0, "spk1": 1}):
        arrays = one({"speaker_name": "spk1"}, target_maps={"speaker_name": target_map})
        assert arrays["speaker_name"].tolist() == [1] * 6
        assert arrays["speaker_name"].dtype == np.int32
    vector = np.array([0.5, 0.25])
    arrays = one({"speaker_name": "a"}, target_maps={"speaker_name": {"a": vector}})
    assert np.array_equal(arrays["speaker_name"], vector)
    with pytest.raises(sprintcache.LabelError, match="no speaker_name 'spk2'"):
        one({"speaker_name": "spk2"}, target_maps={"speaker_name": {"spk1": 1}})
    with pytest.raises(SprintProtocolError, match="needs 'speaker_name'"):
        one({}, target_maps={"speaker_name": {}})


def test_features_are_taken_as_they_are_or_changed_as_options_say() -> None:
    features = matrix(6)
    assert np.shares_memory(one(features=features)["data"], features)
    assert np.array_equal(one(features=np.ascontiguousarray(features))["data"], features.T)
    assert one(features=features.astype(np.float64))["data"].dtype == np.float32
    np.testing.assert_allclose(one(input_stddev=2.0)["data"], features.T / 2)
    assert np.array_equal(features, matrix(6))
    windowed = one(window=3)["data"]
    padded = np.pad(features.T, ((1, 1), (0, 0)))
    assert np.array_equal(windowed, np.hstack([padded[i : i + 6] for i in range(3)]))
    assert made(window=3).num_outputs["data"] == (3 * DIM, 2)
    with pytest.raises(SprintProtocolError, match=r"expected \(5, time\), found \(4, 6\)"):
        one(features=features[:4])
    dataset = SprintDatasetBase()
    dataset.setDimensions(-1, -1)
    dataset.initSprintEpoch(None)
    dataset.addNewData(None, {"orth": "a b"}, "x")
    assert dataset.get_data_keys() == ["orth"]
    assert "data" not in dataset.num_outputs


@pytest.mark.parametrize(("frames", "factor"), [(6, 1), (6, 4), (7, 4), (8, 4)])
def test_targets_may_be_fewer_by_a_factor(frames: int, factor: int) -> None:
    classes = np.arange(-(-frames // factor), dtype=np.uint32)
    options: dict[str, Any] = {"features": matrix(frames), "reduce_target_factor": factor}
    arrays = one(classes, **options)
    assert np.array_equal(arrays["classes"], classes)
    assert arrays["classes"].dtype == np.int32
    for wrong in (classes[:-1], np.append(classes, classes[:1])):
        with pytest.raises(SprintProtocolError, match=f"expected {len(classes)} classes for"):
            one(wrong, **options)
    if len(classes) > 1:
        arrays = one(classes[:-1], length_mismatch="trim", **options)
        assert len(arrays["data"]) == factor * (len(classes) - 1)
    assert len(one(np.append(classes, 0), length_mismatch="trim", **options)["classes"]) == len(
        classes
    )


def test_trimming_has_a_tolerance() -> None:
    options: dict[str, Any] = {"features": matrix(40), "length_mismatch": "trim"}
    assert len(one(np.zeros(30, np.uint32), **options)["data"]) == 30
    for count in (29, 51, 10):
        with pytest.raises(SprintProtocolError, match=r"'trim' accepts 10 frames.*expected 40"):
            one(np.zeros(count, np.uint32), **options)
    assert len(one(np.zeros(10, np.uint32), trim_tolerance=None, **options)["data"]) == 10
    assert len(one(np.zeros(9, np.uint32), reduce_target_factor=4, **options)["data"]) == 36
    with pytest.raises(SprintProtocolError):
        one(np.zeros(7, np.uint32), reduce_target_factor=4, **options)
    for tolerance, is_trimmed in ((4, True), (3, False)):
        trim = {**options, "trim_tolerance": tolerance, "reduce_target_factor": 4}
        if is_trimmed:
            assert len(one(np.zeros(9, np.uint32), **trim)["data"]) == 36
        else:
            with pytest.raises(SprintProtocolError, match="accepts 3 frames"):
                one(np.zeros(9, np.uint32), **trim)
    with pytest.raises(ValueError, match="trim_tolerance must be 0 or more: -1"):
        one(trim_tolerance=-1)


def test_soft_alignments_and_invalid_targets() -> None:
    soft = np.array([0, 0], np.uint32), np.array([1, 2], np.uint32), np.ones(2, np.float32)
    arrays = one(dict(zip(SOFT_KEYS, soft, strict=True)))
    assert all(np.array_equal(arrays[key], x) for key, x in zip(SOFT_KEYS, soft, strict=True))
    dataset = made()
    assert [dataset.is_data_sparse(key) for key in SOFT_KEYS] == [True, True, False]
    with pytest.raises(SprintProtocolError, match="'x' is neither array nor text"):
        one({"x": 3})


# ---- orthography -------------------------------------------------------------------------------

TEXTS = [
    "Hello,  World/ and [NOISE] <s> Foo",
    " it costs $3.50, £1,000 or $1; on the 21st of May 1984 Dr. Smith had 2.75 left",
    "in 2000 and 2005, 1900 and 1905, 007 and 747; 12,345 and 42",
    "Mrs. Jones vs. st. Ives, Capt. Cook ltd.",
    "naïve café № 5",
]
PROCESSORS: list[Any] = [
    "lowercase",
    "lowercase_keep_special",
    "collapse_whitespace",
    "basic_cleaners",
    "get_remove_chars(',/')",
    "get_remove_chars([',', '/'])",
    "get_replace('o', '0')",
    ["lowercase", "get_replace('hello', 'bye')", str.title],
    "transliteration_cleaners",
    "english_cleaners",
    "english_cleaners_keep_special",
]


@pytest.mark.parametrize("what", PROCESSORS, ids=str)
def test_post_processing_equals_that_of_returnn(what: Any) -> None:
    name = str(what)
    if "english" in name or "translit" in name:
        for library in ("unidecode", "inflect"):
            pytest.importorskip(library, reason=f"{library} is not installed")
    if importlib.util.find_spec("returnn") is None:
        pytest.skip("returnn is not installed")
    from returnn.datasets.lm import get_post_processor_function

    ours, theirs = post_processor(what), get_post_processor_function(what)
    assert ours is not None
    for text in TEXTS:
        assert ours(text) == theirs(text)


def test_post_processing_is_applied() -> None:
    assert one({"orth": b" A  b"}, orth_post_process="basic_cleaners")["orth"].tobytes() == b"a b"
    assert post_processor("os.path:basename")("a/b") == "b"  # type: ignore[misc]
    assert post_processor(None) is None
    assert post_processor([]) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("get_remove_chars(',.-')", "a b c d"),
        ("get_remove_chars([',', '. d'])", "a b c"),
        ("get_replace('b', 'xy')", "a,xy c. d"),
    ],
)
def test_functions_with_arguments(name: str, text: str) -> None:
    process = post_processor(name)
    assert process is not None
    assert process("a,b c. d") == text


@pytest.mark.parametrize(
    "name",
    ["__import__('os').system('x')", "get_replace(open('x'))", "lower case", "get_replace('a')"],
)
def test_nothing_is_evaluated(name: str) -> None:
    with pytest.raises(ValueError, match="orth_post_process"):
        post_processor(name)
    with pytest.raises(TypeError, match="a list of them, not 3"):
        post_processor(3)  # type: ignore[arg-type]


CODES = "#version: 0.2\nt h\nth e</w>\na n\nan d</w>\nl o\nlo w</w>\n"
LABELS = ["<s>", "</s>", "UNK", "the", "and", "low", "lo@@", "a@@", "n@@", "e", "s", "th@@", "t@@"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # theirs
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_byte_pairs_equal_those_of_returnn(tmp_path: Path) -> None:
    pytest.importorskip("subword_nmt", reason="subword-nmt is not installed")
    (tmp_path / "codes").write_text(CODES)
    (tmp_path / "vocab").write_text(repr({label: i for i, label in enumerate(LABELS)}))
    options = {"bpe_file": str(tmp_path / "codes"), "vocab_file": str(tmp_path / "vocab")}
    options_ = {**options, "seq_postfix": [1]}
    arrays = one({"orth": "the slow and the"}, bpe=options_)
    assert arrays["bpe"].dtype == np.int32
    assert made(bpe=options_).num_outputs["bpe"] == (len(LABELS), 1)
    if importlib.util.find_spec("returnn") is None:
        pytest.skip("returnn is not installed")
    from returnn.datasets.util.vocabulary import BytePairEncoding

    peer = BytePairEncoding(**options_)
    assert arrays["bpe"].tolist() == peer.get_seq("the slow and the")
    for text in ("", "lowest thens", "x"):
        assert vocabulary(options_).get_seq(text) == peer.get_seq(text)


def test_vocabularies(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a\nb\nUNK\n")
    words = {"vocab_file": str(tmp_path / "words")}
    assert one({"orth": b"b c a"}, orth_vocab=words)["orth_classes"].tolist() == [1, 2, 0]
    assert made(orth_vocab=words).num_outputs["orth_classes"] == (3, 1)
    characters = {"class": "CharacterTargets", "labels": ["a", "b", " "], "seq_postfix": [0]}
    assert vocabulary(characters).get_seq("ab ") == [0, 1, 2, 0]
    with pytest.raises(sprintcache.LabelError, match="'c' is not in the vocabulary"):
        vocabulary(characters).get_seq("c")
    assert vocabulary({"class": "Utf8ByteTargets"}).get_seq("ä") == [0xC3, 0xA4]
    (tmp_path / "picture").write_bytes(b"\x89PNG")
    for options in (
        {"orth_vocab": {"vocab_file": str(tmp_path / "picture")}},
        {"target_maps": {"speaker_name": str(tmp_path / "picture")}},
    ):
        with pytest.raises(sprintcache.FormatError, match=r"picture: not a .*found 'utf-8' codec"):
            made(**options)
    with pytest.raises(ValueError, match="input_stddev must be above 0: 0"):
        made(input_stddev=0)
    own = vocabulary(words)
    assert vocabulary(own) is own
    with pytest.raises(ValueError, match="'os'"):
        vocabulary({"class": "os"})
    (tmp_path / "gaps").write_text("{'a': 0, 'b': 2}")
    with pytest.raises(sprintcache.FormatError, match="gaps"):
        vocabulary({"vocab_file": str(tmp_path / "gaps")})
    (tmp_path / "code").write_text("{'a': __import__('os').getpid()}")
    with pytest.raises(sprintcache.FormatError, match="expected a dict"):
        vocabulary({"vocab_file": str(tmp_path / "code")})


def test_a_missing_library_names_its_extra() -> None:
    code = """
    import sys
    sys.modules["subword_nmt"] = sys.modules["unidecode"] = None
    from sprint_ctl._sequences.orthography import post_processor
    from sprintcache.vocabulary import vocabulary
    for make in (
        lambda: vocabulary({"bpe_file": "x", "labels": ["a"]}),
        lambda: post_processor("transliteration_cleaners"),
    ):
        try:
            make()
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
        env={**os.environ},
    )
    first, second = done.stdout.splitlines()
    assert "sprintcache[bpe]" in first
    assert "sprintcache[cleaners]" in second


@pytest.mark.parametrize("name", ["max_cached_bytes", "data_timeout", "consumer_timeout"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_options_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 0 or more( seconds)?, not {value}"):
        SprintDatasetBase(**{name: value})


def test_threads_end(threads_before: set[threading.Thread]) -> None:
    wait_until(lambda: set(threading.enumerate()) <= threads_before)
