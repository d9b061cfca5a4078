"""The class for RETURNN configs: RETURNN's own code on top of sequences from the stand-in."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl.dataset import ExternSprintDataset as PlainDataset
from tests.paths import DATA
from tests.sprint_ctl.sprint_data import CONTROL, ENVIRONMENT, NAMES, STAND_IN

basic = pytest.importorskip("returnn.datasets.basic", reason="RETURNN is not installed")
pytest.importorskip("tree", reason="RETURNN makes datasets with dm-tree, which is not installed")

from sprint_ctl.returnn import ExternSprintDataset  # noqa: E402  # needs RETURNN

pytestmark = pytest.mark.filterwarnings("ignore")

Make = Callable[..., Any]
NAME = "sprint_ctl.returnn.ExternSprintDataset"
OPTIONS: dict[str, Any] = {
    "sprintTrainerExecPath": STAND_IN,
    "sprintConfigStr": CONTROL,
    "start_timeout": 60,
    "data_timeout": 60,
    "exit_timeout": 10,
}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    made: list[Any] = []

    def make_(**options: Any) -> Any:
        made.append(basic.init_dataset({"class": ExternSprintDataset, **OPTIONS, **options}))
        return made[-1]

    yield make_
    for dataset in made:
        dataset.close()


def tags(dataset: Any, epoch: int = 1, **options: Any) -> list[str]:
    dataset.init_seq_order(epoch=epoch, **options)
    actual: list[str] = []
    while dataset.is_less_than_num_seqs(len(actual)):
        dataset.load_seqs(len(actual), len(actual) + 1)
        actual.append(dataset.get_tag(len(actual)))
    return actual


def test_an_estimate_before_sprint_has_started() -> None:
    dataset = ExternSprintDataset(**OPTIONS, estimated_num_seqs=20)
    assert dataset.estimated_num_seqs == 20
    dataset.close()


def test_sequences_and_batches_of_returnn(make: Make) -> None:
    dataset = make(name="train", estimated_num_seqs=20, unique_seq_tags=False, chunking="0")
    assert isinstance(dataset, basic.Dataset)
    assert dataset.num_outputs["data"] == (16, 2)
    assert dataset.get_data_shape("data") == [16]
    assert dataset.labels["orth"][65] == "A"
    dataset.init_seq_order(epoch=1)
    generator = dataset.generate_batches(
        recurrent_net=True, batch_size=1200, max_seqs=5, used_data_keys=["data", "classes"]
    )
    seen = []
    with sprintcache.open_archive(DATA / "features.bundle") as archive:
        while generator.has_more():
            (batch,) = generator.peek_next_n(1)
            frames = []
            for part in batch.seqs:
                dataset.load_seqs(part.seq_idx, part.seq_idx + 1)
                tag = dataset.get_tag(part.seq_idx)
                expected = archive.read_features(tag)
                assert np.array_equal(dataset.get_data(part.seq_idx, "data"), expected)
                lengths = dataset.get_seq_length(part.seq_idx)
                assert (lengths["data"], part.frame_length["data"]) == (
                    len(expected),
                    len(expected),
                )
                frames.append(len(expected))
                seen.append(tag)
            assert len(frames) <= 5
            assert len(frames) == 1 or max(frames) * len(frames) <= 1200
            generator.advance(1)
    assert seen == NAMES
    assert dataset.num_seqs == dataset.estimated_num_seqs == 24
    assert dataset.get_num_timesteps()["data"] == 7465
    assert "data" not in dataset.get_target_list()


def test_a_string_names_the_class(make: Make) -> None:
    dataset = make(**{"class": NAME}, partition_epoch=2)
    assert type(dataset) is ExternSprintDataset
    parts = [tags(dataset, epoch) for epoch in (1, 2)]
    assert sorted(parts[0] + parts[1]) == sorted(NAMES)
    assert basic.get_dataset_class("HDFDataset") is not None
    text = repr({"class": NAME, "sprintTrainerExecPath": STAND_IN, "sprintConfigStr": CONTROL})
    from_text = basic.init_dataset(text)
    assert type(from_text) is ExternSprintDataset
    from_text.close()


def test_orders_of_returnn(make: Make) -> None:
    dataset = make(seq_ordering=lambda epoch, **_: ("reverse", "random")[epoch - 1])
    assert tags(dataset) == NAMES[::-1]
    expected = [NAMES[i] for i in np.random.RandomState(2).permutation(24)]
    assert tags(dataset, 2) == expected
    assert tags(dataset, seq_list=NAMES[4:1:-1]) == NAMES[4:1:-1]
    with pytest.raises(NotImplementedError, match="no corpus index"):
        dataset.init_seq_order(epoch=1, seq_order=[1, 0])
    dataset.set_sharding(num_shards=2, shard_index=1)
    half = tags(dataset, 1)
    dataset.set_sharding(num_shards=2, shard_index=0)
    assert sorted(half + tags(dataset, 1)) == sorted(NAMES)
    dataset.finish_epoch(free_resources=True)


def test_it_travels_by_pickle(make: Make) -> None:
    dataset = make(seq_ordering="random", random_seed_offset=4)
    copy = pickle.loads(pickle.dumps(dataset))
    assert tags(copy, 3) == [NAMES[i] for i in np.random.RandomState(7).permutation(24)]
    copy.close()


@pytest.mark.parametrize("kind", [PlainDataset, ExternSprintDataset])
def test_options_of_every_dataset_of_returnn(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    neutral = {
        "estimated_num_seqs": 6, "unique_seq_tags": False, "shuffle_frames_of_nseqs": 0,
        "chunking": "0", "min_chunk_size": 0, "chunking_variance": 0, "context_window": None,
        "seq_order_seq_lens_file": None, "_num_shards": 2, "_shard_index": 1, "window": 1,
        "suppress_load_seqs_print": True, "orth_vocab": None, "input_stddev": 3.0,
        "random_seed_offset": None, "repeat_epoch": None,
    }  # fmt: skip
    kind(STAND_IN, CONTROL, partition_epoch=4, **neutral).close()
    assert not caplog.records
    with pytest.raises((ValueError, AssertionError), match=r"shuffle_frames|^$"):
        PlainDataset(STAND_IN, CONTROL, shuffle_frames_of_nseqs=5)
    with pytest.raises(TypeError, match="estimated_num_seq"):
        kind(STAND_IN, CONTROL, estimated_num_seq=5)


def test_options_without_effect_are_named(caplog: pytest.LogCaptureFixture) -> None:
    PlainDataset(STAND_IN, CONTROL, name="train", chunking="50:25", context_window=5).close()
    assert "train: without effect" in caplog.text
    assert "chunking, context_window" in caplog.text
    PlainDataset(STAND_IN, CONTROL, unique_seq_tags=True).close()
    assert "unique_seq_tags has no effect" in caplog.text


def test_lists_that_sprint_cannot_read(tmp_path: Path) -> None:
    for name in ("list.pkl", "list.pkl.gz"):
        with pytest.raises(ValueError, match=f"{name}: Sprint reads text files"):
            PlainDataset(STAND_IN, CONTROL, seq_list_filter_file=str(tmp_path / name))
    with pytest.raises(ValueError, match="Sprint orders by the lengths it knows"):
        PlainDataset(STAND_IN, CONTROL, seq_order_seq_lens_file=str(tmp_path / "lengths"))
